"""From what the engine wrote to what is worth showing: an ordered list of small filters.

Each filter takes the text and its surroundings and gives the text to go on with, or None when nothing is left worth
showing; the filter's name is then the reason. Pure; lines end at "\\n" here.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

_PAIRS = {")": "(", "]": "[", "}": "{"}
_QUOTES = "\"'`"


@dataclass(frozen=True)
class Surroundings:
    """What stands around the text to be inserted."""

    before: str  # the cursor's line, up to the cursor
    replaced: str  # what the text takes the place of
    rest: str  # the cursor's line after that
    following: str  # the lines below
    single_line: bool


Filter = Callable[[str, Surroundings], str | None]


def undecodable(text: str, around: Surroundings) -> str | None:
    """Stop before the first character that is not text: half a character's bytes, or a control character."""
    match = re.search("[\ufffd\x00-\x08\x0b\x0e-\x1f\x7f]", text)
    return text[: match.start()] if match else text


def one_line(text: str, around: Surroundings) -> str | None:
    """A single-line span is filled by one line."""
    return text.split("\n", 1)[0] if around.single_line else text


def repeated_rest(text: str, around: Surroundings) -> str | None:
    """Drop an ending that the rest of the line already says: `a, b)` before `):` becomes `a, b`.

    A closing bracket or quote is dropped only where the text has no opening one for it: `f(a)` before `)` stays.
    """
    rest = around.rest
    for length in range(min(len(text), len(rest)), 0, -1):
        tail = rest[:length]
        if tail.strip() and text.endswith(tail) and _superfluous(text, tail):
            return text[:-length]
    return text


def repeated_lines(text: str, around: Surroundings) -> str | None:
    """Drop last lines that stand below already; a whole line equal to the next one is no suggestion."""
    below = [line.strip() for line in around.following.split("\n") if line.strip()][:8]
    lines = (around.before + text).split("\n")
    for length in range(min(len(lines), len(below)), 0, -1):
        tail = [line.strip() for line in lines[-length:]]
        if tail == below[:length] and any(char.isalnum() for char in "".join(tail)):
            kept = lines[:-length]
            return "\n".join(kept)[len(around.before) :] if kept else None
    return text


def trailing_space(text: str, around: Surroundings) -> str | None:
    """No line of the text ends in blanks, unless the line goes on after it."""
    lines = [line.rstrip(" \t") for line in text.split("\n")]
    if around.rest.strip():
        lines[-1] = text.rsplit("\n", 1)[-1]
    return "\n".join(lines)


def blank(text: str, around: Surroundings) -> str | None:
    """Nothing but blanks is nothing."""
    return text if text.strip() else None


def unchanged(text: str, around: Surroundings) -> str | None:
    """What is there already is no suggestion."""
    return None if text == around.replaced else text


FILTERS: tuple[Filter, ...] = (
    undecodable,
    one_line,
    repeated_rest,
    repeated_lines,
    trailing_space,
    blank,
    unchanged,
)


def postprocess(text: str, around: Surroundings) -> tuple[str | None, str]:
    """The text to show and "", or None and the name of the filter that left nothing."""
    for step in FILTERS:
        kept = step(text, around)
        if kept is None:
            return None, step.__name__
        text = kept
    return text, ""


def _superfluous(text: str, tail: str) -> bool:
    """Whether `text` is better balanced without its ending `tail`."""
    for closing, opening in _PAIRS.items():
        if closing in tail and text.count(closing) <= text.count(opening):
            return False
    return not any(quote in tail and text.count(quote) % 2 == 0 for quote in _QUOTES)
