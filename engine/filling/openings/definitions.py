"""A missing header: of a function, method or class that is used and nowhere defined."""

from __future__ import annotations

import re

from . import names
from .line import MissingLine, Opening

DEFINITION = "definition"

_DEFINED = re.compile(r"\b(?:def|class|function|func|fn)\s+([A-Za-z_]\w*)")
_SET = re.compile(r"(?:\b(?:self|this)\.|^[ \t]+)([A-Za-z_]\w*)\s*(?::[^=\n]+)?=(?!=)", re.MULTILINE)
_CALLED = re.compile(r"(await\s+)?\b(?:self|cls|this)\.([A-Za-z_]\w*)\s*\(")
_OUTER_CALL = re.compile(r"(await\s+)?(?<![\w.])([A-Za-z_]\w*)\s*\(")
_CLASS_USED = re.compile(r"(?<![\w.])()([A-Z]\w*[a-z]\w*)")
_BY_DEF = re.compile(r"^[ \t]*(?:async[ \t]+)?def ", re.MULTILINE)


def definitions(line: MissingLine, limit: int = 2) -> list[Opening]:
    """`def name(`, or `class Name`, above lines that are further in, for what is called nearest to the gap. Only in a
    file that defines by `def`."""
    if line.inner <= line.margin or line.header is not None or line.up.endswith((",", "(", "[", "{")):
        return []
    code = line.code
    if not _BY_DEF.search(code):
        return []
    defined = set(_DEFINED.findall(code)) | names.WORDS
    if line.margin:
        known = defined | set(_SET.findall(code))
        used = [(match, "def") for match in _CALLED.finditer(code) if not match[2].startswith("__")]
    else:
        known = defined | names.bound(code) | names.imported(code)
        used = [(match, "def") for match in _OUTER_CALL.finditer(code) if not match[2][0].isupper()]
        used += [(match, "class") for match in _CLASS_USED.finditer(code)]
    at = len(names.code(line.before))
    found = dict.fromkeys(
        f"{'async ' if match[1] and word == 'def' else ''}{word} {match[2]}{'(' if word == 'def' else ''}"
        for match, word in sorted(used, key=lambda one: abs(one[0].start() - at))
        if match[2] not in known
    )
    return [Opening(DEFINITION, line.blank + text) for text in list(found)[:limit]]
