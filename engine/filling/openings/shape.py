"""Whether a text can stand in its gap, by what stands around it: the next line's indentation, the marks of texts over
several lines, the lines above and below, names that nothing uses yet. Told without any one language's syntax."""

from __future__ import annotations

import re
from dataclasses import dataclass

from . import names
from .line import OPENERS, MissingLine, margin, nearest
from .quotes import unpaired
from .scope import scope

_GOES_ON = (*":{([,=>|&\\+-*/?", " and", " or", " not", " in", " do", " then", " extends")
_OPENS = (":", "{")
_LEAVES = re.compile(r"\s*(?:return|raise|throw|break|continue|pass)\b")
_COMMENT = re.compile(r"\s+(?:#|//).*$")


@dataclass(frozen=True)
class Surroundings:
    """begun: the gap's line up to it. ends_line: whether nothing stands behind it there. next_margin: of the next line
    with text. last: whether nothing of the line's block stands below. above, below: the nearest lines with text,
    stripped. marks: those that the gap must have an odd number of. prose: whether it stands in a text over several
    lines. idle: names of its function that nothing reads."""

    begun: str
    ends_line: bool
    next_margin: int
    last: bool
    above: str
    below: str
    marks: tuple[str, ...]
    prose: bool
    idle: frozenset[str]

    @classmethod
    def of(cls, prefix: str, suffix: str) -> Surroundings:
        line, begun = MissingLine.around(prefix, suffix)
        function = scope(line, begun)
        below = nearest(line.below)
        own = len(line.head)
        if not (own or begun):  # as far in as the line above, or further; unless two blank lines end what that is in
            up = nearest(reversed(line.above[-2:])).rstrip()
            own = margin(up) + up.endswith(OPENERS)
        return cls(
            begun=line.head + begun,
            ends_line=not line.after.partition("\n")[0].strip(),
            next_margin=margin(below),
            last=not below.strip() or margin(below) < own,
            above=line.up,
            below=line.down,
            marks=tuple(unpaired(prefix, suffix)),
            prose=any(prefix.count(mark) % 2 for mark in names.MARKS),
            idle=function.idle if function else frozenset(),
        )

    def misfit(self, text: str) -> bool:
        """Whether the next line stands further in without anything that it could belong to, or does not although a
        block was opened, or a mark is left without its pair."""
        if any(not ((self.begun + text).count(mark) - self.begun.count(mark)) % 2 for mark in self.marks):
            return True
        if self.prose or self.marks or not self.ends_line:
            return False
        line = _COMMENT.sub("", (self.begun + text).rpartition("\n")[2]).rstrip()
        if not line:
            return False
        return not line.endswith(_GOES_ON) if self.next_margin > margin(line) else line.endswith(_OPENS)

    def leaves(self, text: str) -> bool:
        """Whether nothing else of the gap's block would run behind it."""
        return _LEAVES.match(self.begun + text) is not None

    def repeats(self, text: str) -> bool:
        """Whether the gap's line would be the one above it or the one below it."""
        return (self.begun + text).strip() in (self.above, self.below)

    def busies(self, text: str) -> bool:
        """Whether it mentions a name that nothing else uses."""
        return not self.idle.isdisjoint(names.WORD.findall(text))
