"""What stands around a text that is to be inserted: all that the filters of `postprocess` may look at.

Pure; lines end at "\\n" here.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Surroundings:
    """What stands around the text to be inserted."""

    before: str  # the cursor's line, up to the cursor
    replaced: str  # what the text takes the place of
    rest: str  # the cursor's line after that
    following: str  # the lines below
    single_line: bool
    above: str = ""  # the lines above the cursor's
    indent: str | None = None  # what the first line is expected to begin with, where the cursor's line is blank
    forbidden: tuple[str, ...] = ()  # what must not appear in the text

    @property
    def on_blank_line(self) -> bool:
        return not (self.before.strip() or self.rest.strip())

    @property
    def margin(self) -> str:
        """The blanks that the text's first line begins with in the document."""
        if not self.before.strip() and self.indent is not None:
            return self.indent
        return leading(self.before)


Filter = Callable[[str, Surroundings], str | None]


def leading(line: str) -> str:
    """The blanks and tabs that a line begins with."""
    return line[: len(line) - len(line.lstrip(" \t"))]


def width(blank: str) -> int:
    """Columns, with tab stops at every eighth."""
    return len(blank.expandtabs(8))


def filled_lines(text: str) -> list[str]:
    """The lines that are not blank."""
    return [line for line in text.split("\n") if line.strip()]
