"""A missing line that does with a parameter what the line beside it does with another: keeps it, hands it on."""

from __future__ import annotations

from .line import MissingLine, Opening, swapped
from .scope import scope

KEPT = "kept"


def kept(line: MissingLine, limit: int = 2) -> list[Opening]:
    """The line above or below with its parameter changed for one that the body does not mention."""
    function = scope(line)
    forgotten = function.forgotten if function else []
    if function is None or not forgotten:
        return []
    busy = [name for name in function.given if name not in forgotten]
    found: list[str] = []
    for beside in (line.up, line.down):
        own = next((name for name in busy if swapped(beside, name, "") != beside), None)
        found += [swapped(beside, own, name) for name in forgotten] if own else []
    return [Opening(KEPT, "", line.blank + text) for text in list(dict.fromkeys(found))[:limit]]
