"""Filters for how the lines of a text begin: leading blank lines, the file's own indentation, the end of its block.

Each is a `Filter`. Pure; knows nothing of languages: what a level of indentation is, is read off the surroundings.
"""

import re
from collections import Counter
from itertools import pairwise

from .surroundings import Surroundings, filled_lines, leading, width

_OPENS = re.compile(r"(?:[:({\[]|=>|->|\b(?:do|then|else|begin))\s*\Z")
_UNINDENTED = re.compile(r"#[ \t]*(?:if|else|elif|end|define|undef|include|pragma|region|error|line)|<<<|=======|>>>")
_LONG_QUOTES = ('"""', "'''", "`")
NEIGHBOURS = 60  # lines on either side that the step of the file is read off
USUAL_STEP = 4  # spaces


def leading_blank_lines(text: str, around: Surroundings) -> str | None:
    """On a blank line the text begins at once."""
    if around.single_line or not around.on_blank_line:
        return text
    return re.sub(r"\A(?:[ \t]*\n)+", "", text)


def first_margin(text: str, around: Surroundings) -> str | None:
    """On a blank line the first line begins where the syntax expects it: what is missing before it is added, what is
    too much (an indentation typed once by the user and once more by the model) is taken off, and the lines below move
    along if they were indented with it. What goes back to the margin of an enclosing block ends this one, and stays
    there: `else:`, `return`. So does, on an empty line, what goes on with a deeper block above. Either is indented in
    that block's own tabs or spaces."""
    indent = around.indent
    if indent is None or around.before.strip() or not indent.startswith(around.before) or not text.strip():
        return text
    first, *others = text.split("\n")
    missing = indent[len(around.before) :]
    surplus = width(around.before + leading(first)) - width(indent)
    below = [line for line in others if line.strip()]
    if surplus < 0 or (surplus > 0 and not around.before):
        margin = _open_margin(first, around)
        if margin is not None:
            return "\n".join(_respelled([first, *others], around.before, margin))
    if surplus > 0 and all(width(leading(line)) >= width(indent) + surplus for line in below):
        others = [_outdented(line, surplus) for line in others]
    elif surplus < 0 and not leading(first) and _without_margin(first, below, indent):
        others = [missing + line if line.strip() else line for line in others]
    return "\n".join([missing + first.lstrip(" \t"), *others])


def own_indentation(text: str, around: Surroundings) -> str | None:
    """Every line after the first is indented as the file is: with tabs or spaces, and by its step."""
    first, *others = text.split("\n")
    if not any(leading(line) for line in others):
        return text
    step = _step(around)
    if step == "\t":
        return "\n".join([first, *_with_tabs(others, around)])
    if "\t" in around.margin:
        return text
    others = [leading(line).replace("\t", step or " " * USUAL_STEP) + line.lstrip(" \t") for line in others]
    written = _written_step(around.margin + first, others)
    if step and written and written != len(step):
        others = _rescaled(others, len(around.margin), written, len(step))
    return "\n".join([first, *others])


def within_block(text: str, around: Surroundings) -> str | None:
    """Stop at a dedent: a line that begins left of the first belongs to what the span's block stands in."""
    lines = text.split("\n")
    least = width(around.margin)
    if not around.before.strip() and _open_margin(lines[0], around) is not None:
        least = width(around.before + leading(lines[0]))
    for i, line in enumerate(lines[1:], 1):
        if line.strip() and width(leading(line)) < least and not _UNINDENTED.match(line):
            before = "\n".join(lines[:i])
            if all(before.count(quote) % 2 == 0 for quote in _LONG_QUOTES):
                return before.rstrip("\n")
    return text


def _open_margin(first: str, around: Surroundings) -> str | None:
    """The margin of the block open above that a first line, written with a margin of its own, stands in; None if it
    stands in none."""
    if not leading(first):
        return None
    column = width(around.before + leading(first))
    for line in reversed(filled_lines(around.above)):
        margin = leading(line)
        if width(margin) <= column:
            return margin if width(margin) == column else None
    return None


def _respelled(lines: list[str], before: str, margin: str) -> list[str]:
    """The lines with `margin` for what the first begins with, and for the same blanks in the others."""
    written = before + leading(lines[0])
    if not margin.startswith(before):
        return lines
    first, *others = lines
    return [
        margin[len(before) :] + first.lstrip(" \t"),
        *(margin + line.removeprefix(written) if line.startswith(written) else line for line in others),
    ]


def _without_margin(first: str, below: list[str], indent: str) -> bool:
    """Whether the lines are written as if the text stood at the margin."""
    if any(width(leading(line)) < width(indent) for line in below):
        return True
    return bool(below and _OPENS.search(first) and width(leading(below[0])) <= width(indent))


def _step(around: Surroundings) -> str:
    """One level of indentation around the text; "" if that does not show."""
    lines = [
        *filled_lines(around.above)[-NEIGHBOURS:],
        around.margin + "x",
        *filled_lines(around.following)[:NEIGHBOURS],
    ]
    margins = [leading(line) for line in lines]
    if sum("\t" in margin for margin in margins) * 2 > sum(bool(margin) for margin in margins):
        return "\t"
    inwards = (width(inner) - width(outer) for outer, inner in pairwise(margins))
    steps = Counter(step for step in inwards if 2 <= step <= 8)
    return " " * steps.most_common(1)[0][0] if steps else ""


def _with_tabs(lines: list[str], around: Surroundings) -> list[str]:
    spaces = [leading(line).removeprefix(around.margin).count(" ") for line in lines if line.strip()]
    written = min((count for count in spaces if count >= 2), default=USUAL_STEP)
    done = []
    for line in lines:
        margin = leading(line)
        kept = around.margin if margin.startswith(around.margin) else ""
        levels, odd = divmod(margin[len(kept) :].count(" "), written)
        done.append(kept + "\t" * (margin[len(kept) :].count("\t") + levels) + " " * odd + line.lstrip(" \t"))
    return done


def _written_step(first: str, lines: list[str]) -> int:
    """The step that the text itself takes after each line that opens a block; 0 if it takes none, or several."""
    written = [line for line in (first, *lines) if line.strip()]
    steps = {len(leading(inner)) - len(leading(outer)) for outer, inner in pairwise(written) if _OPENS.search(outer)}
    steps = {step for step in steps if step > 0}
    return steps.pop() if len(steps) == 1 else 0


def _rescaled(lines: list[str], base: int, old: int, new: int) -> list[str]:
    deeper = [len(leading(line)) - base for line in lines if line.strip()]
    if any(depth > 0 and depth % old for depth in deeper):
        return lines  # something is aligned rather than indented
    return [
        " " * (base + (len(leading(line)) - base) // old * new) + line.lstrip(" ")
        if len(leading(line)) > base
        else line
        for line in lines
    ]


def _outdented(line: str, columns: int) -> str:
    margin = leading(line)
    while margin and columns > 0:
        columns -= 1 if margin[-1] == " " else 8
        margin = margin[:-1]
    return margin + line.lstrip(" \t")
