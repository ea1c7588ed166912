"""A syntax error and what could mend it: the lines to blame, and every edit of one token there.

An error's node is where a parser gave up; mostly a bracket, comma or colon is missing near where it begins or at the
end of its line, and the parser itself is the judge of that. What is more than one token is the model's. Pure.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..lines import line_end, line_start

if TYPE_CHECKING:
    from ...grammars import Syntax

LINES_ABOVE = 2  # of code, that an error may come from although the parser saw it only later
CLOSERS = (")", "]", "}")
BETWEEN = (", ", ": ", "; ", " = ")
AT_END = (":", ";", ",", '"', "'", "{", " {")
BETWEEN_AT_MOST = 240  # code points of a line in which places between words are tried
_WORD_GAP = re.compile(r"(?<=[\w\])}\"'])[ \t]+(?=[\w(\[{\"'])")
_BRACKET = re.compile(r"[()\[\]{}]")
_END = re.compile(r"[ \t]*(?=[)\]}:;,{ \t]*\Z)")


@dataclass(frozen=True)
class Edit:
    """Replace text[start:end], code points, by `text`."""

    start: int
    end: int
    text: str

    def applied(self, syntax: "Syntax") -> "Syntax":
        return syntax.edited(self.start, self.end, self.text)


def damage(syntax: "Syntax") -> tuple[int, int]:
    """How broken a text is: ERROR and MISSING nodes, and the bytes they cover."""
    return len(syntax.flaws), sum(flaw.end - flaw.start for flaw in syntax.flaws)


def mends(before: "Syntax", after: "Syntax") -> bool:
    """Whether there are fewer errors than there were. A text that was not parsed to its end has none to count."""
    return after.tree is not None and len(after.flaws) < len(before.flaws)


def broken_lines(syntax: "Syntax", start: int, end: int) -> tuple[int, int] | None:
    """Of the lines of [start, end) and the errors on them, the smallest error's extent, kept within these lines; None
    where nothing is broken. An error that only reaches over these lines from above belongs to where it begins."""
    text = syntax.text
    if not syntax.flaws:
        return None
    low, high = line_start(text, start), line_end(text, max(start, end))
    spans = [(syntax.point(flaw.start), syntax.point(flaw.end)) for flaw in syntax.flaws]
    touching = [(first, last) for first, last in spans if low <= first <= high or first < low < last <= high]
    if not touching:
        # A header without its colon, a line without its semicolon: parsers see it a line of code later, or earlier.
        beside = [*([_line_above(text, low)] if low else []), *_line_below(text, high)]
        touching = [(first, last) for first, last in spans for at in beside if at <= first <= line_end(text, at)]
    if not touching:
        return None
    first, last = min(touching, key=lambda span: (span[1] - span[0], span[0]))
    return (first, min(last, line_end(text, max(first, high if first <= high else first))))


def suspects(text: str, broken: tuple[int, int]) -> list[tuple[int, int]]:
    """Lines, without their margins, to write anew: the error's own first, then the code lines above it."""
    first, last = broken
    own = line_start(text, first)
    lines = [own]
    if line_start(text, last) != own:
        lines.append(line_start(text, last))
    lines += _lines_above(text, own, LINES_ABOVE)
    return [span for at in dict.fromkeys(lines) if (span := _content(text, at))[0] < span[1]]


def token_edits(syntax: "Syntax", line: tuple[int, int], broken: tuple[int, int]) -> Iterator[Edit]:
    """Edits of one token in a line, the likelier first: what the parser misses, a closer, a separator, a quote; or a
    bracket taken out."""
    text = syntax.text
    first, last = line
    for flaw in syntax.flaws:
        at = syntax.point(flaw.start)
        if flaw.missing and first <= at <= last and not flaw.missing.replace("_", "").isalnum():
            yield Edit(at, at, flaw.missing)
    code = text[first:last]
    tail = _END.search(code)
    ends = dict.fromkeys((last, first + tail.start() if tail else last))
    for token in (*CLOSERS, *AT_END):
        yield from (Edit(at, at, token) for at in ends)
    if last - first > BETWEEN_AT_MOST:
        return
    gaps = [(first + gap.start(), first + gap.end()) for gap in _WORD_GAP.finditer(code)]
    gaps.sort(key=lambda gap: not broken[0] - 1 <= gap[1] <= broken[1] + 1)
    yield from (Edit(*gap, token) for token in BETWEEN for gap in gaps)
    yield from (Edit(at, at, token) for token in CLOSERS for at, _ in gaps)
    for bracket in _BRACKET.finditer(code):
        yield Edit(first + bracket.start(), first + bracket.end(), "")


def _lines_above(text: str, offset: int, most: int) -> list[int]:
    """Where the nearest lines above that are not blank begin, the nearest first."""
    found: list[int] = []
    at = line_start(text, offset)
    while at > 0 and len(found) < most:
        at = _line_above(text, at)
        if text[at : line_end(text, at)].strip():
            found.append(at)
    return found


def _line_above(text: str, at: int) -> int:
    """Where the line above begins, for a line that begins at `at` and is not the first."""
    return line_start(text, at - (2 if text[at - 2 : at] == "\r\n" else 1))


def _line_below(text: str, offset: int) -> list[int]:
    """Where the line below begins, if there is one."""
    at = line_end(text, offset)
    at += 2 if text.startswith("\r\n", at) else 1
    return [at] if at <= len(text) else []


def _content(text: str, at: int) -> tuple[int, int]:
    line = text[at : line_end(text, at)]
    return at + len(line) - len(line.lstrip()), at + len(line.rstrip())
