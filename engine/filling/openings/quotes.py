"""A missing line in which a text over several lines begins or ends: only then do its marks come in pairs."""

from __future__ import annotations

from .line import Opening, margin

QUOTE = "quote"
MARKS = ('"""', "'''")


def unpaired(prefix: str, suffix: str) -> list[str]:
    """Marks that the text between the two must have once, or three times."""
    return [mark for mark in MARKS if (prefix.count(mark) + suffix.count(mark)) % 2]


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
            last = next((line for line in reversed(prefix.split("\n")[-20:]) if line.strip()), "")
            below = next((line for line in suffix.split("\n")[1:] if line.strip()), "")
            blank = "" if head else (below if last.rstrip().endswith(":") else last)
            found.append(Opening(QUOTE, blank[: margin(blank)] + mark))
    return found
