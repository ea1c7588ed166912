"""A missing parameter: what the body of the function uses, and nothing declares."""

from __future__ import annotations

import re

from . import names
from .line import MissingLine, Opening, margin

PARAMETER = "parameter"
LONGEST_HEADER = 40  # lines above the gap
LONGEST_BODY = 200  # lines

_HEADER = re.compile(r"^[ \t]*(?:[a-z]+[ \t]+)*(?:def|function|func|fn|fun)\b[^(\n]*\(", re.MULTILINE)
_USED = re.compile(r"(?<![\w.])([A-Za-z_]\w*+)(?![\"']|\s*=(?!=))")
_OUTERMOST = re.compile(r"^(?:async[ \t]+)?(?:(?:def|class|function|const|let|var)[ \t]+)?([A-Za-z_]\w*)", re.MULTILINE)


def parameters(line: MissingLine, limit: int = 2) -> list[Opening] | None:
    """The names of parameters that are missing where the gap is a line of a function's header; None where it is not."""
    if not line.up.endswith(("(", ",")):
        return None
    above = names.code("\n".join(line.above[-LONGEST_HEADER:]))
    headers = list(_HEADER.finditer(above))
    if not headers or names.closing(above, headers[-1].end()) >= 0:
        return None
    begun = above[headers[-1].end() :]
    below = names.code("\n".join(line.below[:LONGEST_BODY]))
    end = names.closing(below)
    if end < 0:
        return None
    body = _body(below[end:], margin(headers[-1][0].lstrip("\n")))
    seen = names.WORDS | set(names.items(begun)) | set(names.items(below[:end]))
    seen |= names.declared(body) - set(re.findall(r"[(,]\s*(\w+)\s*=(?!=)", body))
    seen |= set(_OUTERMOST.findall(line.code)) | names.imported(line.code)
    free = dict.fromkeys(name for name in _USED.findall(body) if name not in seen)
    return [Opening(PARAMETER, line.blank + name) for name in list(free)[:limit]]


def _body(below: str, outer: int) -> str:
    """What stands deeper than the header, behind its end."""
    found = []
    for one in below.split("\n")[1:]:
        if one.strip() and margin(one) <= outer:
            break
        found.append(one)
    return "\n".join(found)
