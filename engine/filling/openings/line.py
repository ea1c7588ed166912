"""A line that is missing, what stands around it, and how it may begin.

What is a block is told by indentation. Knows nothing of networks or tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from . import names

OPENERS = (":", "{", "(", "[")
REACH = 60_000  # characters on either side of the gap that are read
LINES_BELOW = 40  # of the gap's block, in which names may be used

_FUNCTION = re.compile(r"\b(?:def|function|func|fn|fun|sub|lambda)\b|=>|\)[^()]*\{\s*$")
_CONTROL = re.compile(r"\s*[})]*\s*(?:if|else|elif|for|while|switch|match|case|with|try|catch|except|do)\b")


@dataclass(frozen=True)
class Opening:
    """kind: one of `kinds.KINDS`. text: how the line begins; line: the whole of it, where what stands around it says
    what it is. One of them may be empty."""

    kind: str
    text: str
    line: str = ""

    def fits(self, text: str) -> bool:
        """Whether the line `text` is this one, or begins so."""
        text, begun = text.strip(), self.text.strip()
        if not begun:
            return text == self.line.strip()
        return text.startswith(begun) and not re.match(r"\w\w", begun[-1] + text[len(begun) :])


@dataclass(frozen=True)
class MissingLine:
    """before, after: the text on either side of it, in reach. head: the blanks it has already."""

    before: str
    after: str
    head: str

    @classmethod
    def between(cls, prefix: str, suffix: str) -> MissingLine | None:
        """None where the gap's line has text, or is prose."""
        line, begun = cls.around(prefix, suffix)
        return None if begun or line.after.partition("\n")[0].strip() or _in_prose(prefix, suffix) else line

    @classmethod
    def around(cls, prefix: str, suffix: str) -> tuple[MissingLine, str]:
        """The line of any gap, and the text it begins with, which then stands in neither side."""
        before = prefix[-REACH:]
        whole = before[before.rfind("\n") + 1 :]
        begun = whole.lstrip()
        head = whole[: len(whole) - len(begun)]
        return cls(before[: len(before) - len(begun)], suffix[:REACH], head), begun

    @cached_property
    def above(self) -> list[str]:
        return self.before.split("\n")[:-1]

    @cached_property
    def below(self) -> list[str]:
        return self.after.partition("\n")[2].split("\n")

    @cached_property
    def whole(self) -> str:
        """The text in reach, without the line."""
        return self.before + "\n" + self.after

    @cached_property
    def code(self) -> str:
        """`whole` without comments, its strings empty."""
        return names.code(self.whole)

    @cached_property
    def up(self) -> str:
        """The nearest line above that is not blank, without its margin; empty where there is none."""
        return nearest(reversed(self.above)).strip()

    @cached_property
    def down(self) -> str:
        """As `up`, below."""
        return nearest(self.below).strip()

    @cached_property
    def inner(self) -> int:
        """Indentation of the next line of code."""
        return margin(nearest(self.below))

    @cached_property
    def margin(self) -> int:
        """Indentation of the line, as far as it can be told."""
        if self.head or self.before.endswith("\n\n\n"):  # two blank lines end what was indented
            return len(self.head)
        last = nearest(reversed(self.above))
        return self.inner if last.rstrip().endswith(OPENERS) else min(margin(last), self.inner)

    @cached_property
    def blank(self) -> str:
        """The indentation that the line has to bring along, as a line beside it has it."""
        if self.head:
            return ""
        beside = (line for line in (*self.below, *reversed(self.above)) if line.strip() and margin(line) >= self.margin)
        return next(beside, "")[: self.margin]

    def block(self) -> Iterator[str]:
        """The lines below as far as the next line's block goes."""
        for line in self.below[:LINES_BELOW]:
            if line.strip() and margin(line) < self.inner:
                break
            yield line

    def split(self) -> tuple[str, str]:
        """What stands above as (outside of, inside of) the function around the line, its header inside."""
        at = self.header
        if at is None:
            return "", "\n".join(self.above)
        return "\n".join(self.above[:at]), "\n".join(self.above[at:])

    @cached_property
    def header(self) -> int | None:
        """Where above the function around the line begins."""
        narrowest = self.margin
        for i in range(len(self.above) - 1, -1, -1):
            line = self.above[i]
            if line.strip() and margin(line) < narrowest:
                narrowest = margin(line) + line.lstrip().startswith(")")  # what it closes is opened at its own margin
                if _FUNCTION.search(line) and not _CONTROL.match(line):
                    return i
        return None


def nearest(lines: Iterable[str]) -> str:
    """The first of them that is not blank; empty where all are."""
    return next((line for line in lines if line.strip()), "")


def margin(line: str) -> int:
    return len(line) - len(line.lstrip())


def swapped(text: str, name: str, other: str) -> str:
    """`text` with `other` wherever `name` stood."""
    return re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", other, text)


def _in_prose(before: str, below: str) -> bool:
    """Whether the gap is in a docstring or a block comment, as far as their marks say."""
    if any(text.count(mark) % 2 for text in (before, below) for mark in names.MARKS):
        return True
    end, start = below.find("*/"), below.find("/*")
    return end >= 0 and not 0 <= start < end
