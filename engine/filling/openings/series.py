"""A missing line between two that say the same of different names: what stands between those names elsewhere."""

from __future__ import annotations

import re
from collections import Counter

from . import names
from .line import MissingLine, Opening, swapped

SERIES = "series"

_FIRST = re.compile(r"(?:[\"']|self\.|this\.|\*+|from \S+ import |import )?([A-Za-z_]\w*)")
_DETAILS = re.compile(r":[^,()\n]*|=[^,()\n]*")  # types and values of parameters


def series(line: MissingLine, limit: int = 2) -> list[Opening]:
    """The line above with the name that stands between its name and the one of the line below, in a list of
    parameters or in the beginnings of lines that follow each other."""
    first, last = _first(line.up), _first(line.down)
    if not first or not last or first == last or swapped(line.up, first, last) != line.down:
        return []
    found: Counter[str] = Counter()
    lists = [name for text in line.whole.split("\n") if (name := _first(text.strip()))]
    for listed in (lists, names.WORD.findall(_DETAILS.sub("", line.code))):
        for one, between, other in zip(listed, listed[1:], listed[2:], strict=False):
            if (one, other) == (first, last) and between not in names.WORDS and between not in (first, last):
                found[between] += 1
    return [Opening(SERIES, "", line.blank + swapped(line.up, first, name)) for name, _ in found.most_common(limit)]


def _first(text: str) -> str:
    """The name that a line is about; empty for a word that no line could be about."""
    match = _FIRST.match(text)
    return match[1] if match and match[1] not in names.WORDS else ""
