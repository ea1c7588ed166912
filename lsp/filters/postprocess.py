"""From what the engine wrote to what is worth showing: an ordered list of small filters.

Each filter takes the text and its surroundings and gives the text to go on with, or None when nothing is left worth
showing; the filter's name is then the reason. Pure; lines end at "\\n" here.

The order is an argument. First what is no code goes (broken characters, a fence), then what stands left of the cursor,
since where the text begins decides how its first line is indented. Then its shape: one line, or lines indented as the
file is; a dedent can only be seen once the indentation is the file's. What may not appear ends the text before it is
compared with what stands around it, right, below, above, in that order: the rest of the line is nearer than the lines
below. Blanks at the ends are cut last, for every filter may leave some; whether anything new is left is asked of the
result.
"""

import re

from .margins import first_margin, leading_blank_lines, own_indentation, within_block
from .repetition import (
    repeated_closers,
    repeated_lines,
    repeated_neighbours,
    repeated_rest,
    retyped_prefix,
    stutter,
)
from .surroundings import Filter, Surroundings

__all__ = ["FILTERS", "Surroundings", "postprocess"]

_FENCE = re.compile(r"^[ \t]*```[^\n`]*(?:\n|\Z)", re.MULTILINE)


def undecodable(text: str, around: Surroundings) -> str | None:
    """Stop before the first character that is not text: half a character's bytes, or a control character."""
    match = re.search("[\ufffd\x00-\x08\x0b\x0e-\x1f\x7f]", text)
    return text[: match.start()] if match else text


def fence(text: str, around: Surroundings) -> str | None:
    """Take code out of the fence that a chat model puts around it. A document with fences of its own keeps them."""
    if "```" in around.above + around.before + around.rest + around.following:
        return text
    opening = _FENCE.match(text)
    body = text[opening.end() :] if opening else text
    closing = _FENCE.search(body)
    return body[: closing.start()].removesuffix("\n") if closing else body


def one_line(text: str, around: Surroundings) -> str | None:
    """A single-line span is filled by one line."""
    return text.split("\n", 1)[0] if around.single_line else text


def forbidden(text: str, around: Surroundings) -> str | None:
    """Stop before what would end the comment, string or line that the span is in."""
    found = [at for part in around.forbidden if (at := text.find(part)) >= 0]
    return text[: min(found)] if found else text


def trailing_space(text: str, around: Surroundings) -> str | None:
    """No line of the text ends in blanks and no blank line ends it, unless the line goes on after it."""
    lines = [line.rstrip(" \t") for line in text.split("\n")]
    if around.rest.strip():
        lines[-1] = text.rsplit("\n", 1)[-1]
        return "\n".join(lines)
    return "\n".join(lines).rstrip("\n")


def blank(text: str, around: Surroundings) -> str | None:
    """Nothing but blanks is nothing."""
    return text if text.strip() else None


def unchanged(text: str, around: Surroundings) -> str | None:
    """What is there already is no suggestion."""
    return None if text == around.replaced else text


FILTERS: tuple[Filter, ...] = (
    undecodable,
    fence,
    retyped_prefix,
    leading_blank_lines,
    first_margin,
    one_line,
    own_indentation,
    within_block,
    forbidden,
    stutter,
    repeated_rest,
    repeated_lines,
    repeated_closers,
    repeated_neighbours,
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
