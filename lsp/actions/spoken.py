"""An instruction that stands in the code: the comment that a selection begins with, or that stands right above it.

An editor's code action has no place to type in; a comment is one. Pure; knows nothing of models.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..lines import line_end, line_start

if TYPE_CHECKING:
    from ...grammars import Syntax

_LETTERS = re.compile(r"[^\W\d_]{2}")


@dataclass(frozen=True)
class Spoken:
    """What the comment says, and where the code it is about begins and ends; the comment itself stays."""

    instruction: str
    start: int
    end: int


def spoken(syntax: "Syntax", start: int, end: int) -> Spoken | None:
    """None where there is no comment, or nothing after it."""
    text = syntax.text
    head = end - len(text[start:end].lstrip())
    end = start + len(text[start:end].rstrip())
    if head >= end:
        return None
    said: list[str] = []
    at = head
    while at < end and (words := _comment(syntax, at)) is not None:
        said.append(words)
        at = _next_code(text, line_end(text, at))
    if not said:
        above = line_start(text, head) - 1
        while above > 0 and (words := _comment(syntax, _first(text, above))) is not None:
            said.insert(0, words)
            above = line_start(text, above) - 1
    instruction = "\n".join(said).strip()
    return Spoken(instruction, at, end) if at < end and _LETTERS.search(instruction) else None


def _comment(syntax: "Syntax", at: int) -> str | None:
    """What a whole line of comment that begins at `at` says."""
    line = syntax.text[at : line_end(syntax.text, at)].rstrip()
    for marker in syntax.language.line_comments:
        if line.startswith(marker):
            return line[len(marker) :].strip("/!#-;% \t")
    block = syntax.language.block_comment
    if block and line.startswith(block[0]) and line.endswith(block[1]) and len(line) >= len("".join(block)):
        return line[len(block[0]) : -len(block[1])].strip("*! \t")
    return None


def _first(text: str, offset: int) -> int:
    """Where the code of the line of `offset` begins."""
    start = line_start(text, offset)
    line = text[start : line_end(text, start)]
    return start + len(line) - len(line.lstrip())


def _next_code(text: str, offset: int) -> int:
    rest = text[offset:]
    return offset + len(rest) - len(rest.lstrip())
