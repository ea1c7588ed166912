"""A missing attribute: what the class reads and nowhere sets."""

from __future__ import annotations

import re

from . import names
from .line import MissingLine, Opening

ATTRIBUTE = "attribute"

_SET = re.compile(r"(self|this)\.([A-Za-z_]\w*)\s*(?::[^=]+)?=(?!=)")
_CLASS = re.compile(r"^[ \t]*(?:export[ \t]+)?(?:default[ \t]+)?(?:abstract[ \t]+)?class\b", re.MULTILINE)
_FIELD = re.compile(r"^[ \t]+([A-Za-z_]\w*)\s*(?::[^=\n]+)?=(?!=)", re.MULTILINE)
_METHOD = re.compile(r"\bdef\s+([A-Za-z_]\w*)")


def attributes(line: MissingLine, limit: int = 2) -> list[Opening]:
    """`self.name` beside a line that sets an attribute, for those that are read first."""
    beside = [match for match in (_SET.match(line.up), _SET.match(line.down)) if match]
    if not beside:
        return []
    me, own = beside[0][1], _class(line)
    is_set = {match[2] for match in _SET.finditer(own)} | set(_FIELD.findall(own)) | set(_METHOD.findall(own))
    read = dict.fromkeys(re.findall(rf"\b{me}\.(?!__)([A-Za-z_]\w*)\b(?!\s*\()", own))
    missing = [name for name in read if name not in is_set]
    return [Opening(ATTRIBUTE, f"{line.blank}{me}.{name}") for name in missing[:limit]]


def _class(line: MissingLine) -> str:
    """Code of the class around the gap, as far as its neighbours' headers tell."""
    before, below = "\n".join(line.above), "\n".join(line.below)
    starts = [match.start() for match in _CLASS.finditer(before)]
    end = _CLASS.search(below)
    return names.code(before[starts[-1] if starts else 0 :] + "\n\n" + below[: end.start() if end else None])
