"""A missing line in which a text over several lines begins or ends: only then do its marks come in pairs."""

from __future__ import annotations

import re

from . import names
from .line import Opening, margin, nearest

QUOTE = "quote"
LONGEST = 40  # lines between a mark and the gap; what is left open further away, is so for another reason
_BEFORE_TEXT = (":", "(", "[", "{", ",", "=")  # what the line above ends with where a text may begin
_OUTER = re.compile(r"\s*(?:@|(?:def|class|async|import|from|return)\b)")


def unpaired(prefix: str, suffix: str) -> list[str]:
    """Marks that the text between the two must have once, or three times: those without a pair, if it is here that
    they would have it."""
    found = []
    for mark in names.MARKS:
        n_before = prefix.count(mark)
        if (n_before + suffix.count(mark)) % 2:
            here = _ends_here(prefix, mark) if n_before % 2 else _begins_here(prefix, suffix, mark)
            found += [mark] if here else []
    return found


def _ends_here(prefix: str, mark: str) -> bool:
    """Whether the text that begins with the prefix' last mark goes on up to the gap."""
    at = prefix.rfind(mark)
    first, *more = prefix[prefix.rfind("\n", 0, at) + 1 :].split("\n")
    text = [line for line in more[:-1] if line.strip()]
    return len(more) <= LONGEST and all(margin(line) >= margin(first) and not _OUTER.match(line) for line in text)


def _begins_here(prefix: str, suffix: str, mark: str) -> bool:
    """Whether a text can begin in the gap, and ends soon."""
    if suffix[: suffix.find(mark)].count("\n") > LONGEST:
        return False
    head, _, begun = prefix.rpartition("\n")
    return bool(begun.strip()) or not head.strip() or head.rstrip().endswith(_BEFORE_TEXT)


def quotes(prefix: str, suffix: str) -> list[Opening]:
    """The mark as the whole line where it ends a text, as its beginning where it begins one."""
    head = prefix[prefix.rfind("\n") + 1 :]
    if head.strip() or suffix.partition("\n")[0].strip():
        return []
    found = []
    for mark in unpaired(prefix, suffix):
        if prefix.count(mark) % 2:
            opener = prefix[prefix.rfind("\n", 0, prefix.rfind(mark)) + 1 :]
            blank = "" if head else opener[: margin(opener)]
            found.append(Opening(QUOTE, "", blank + mark))
        else:
            last = nearest(reversed(prefix.split("\n")[-20:]))
            below = nearest(suffix.split("\n")[1:])
            blank = "" if head else (below if last.rstrip().endswith(":") else last)
            found.append(Opening(QUOTE, blank[: margin(blank)] + mark))
    return found
