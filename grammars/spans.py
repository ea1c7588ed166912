"""Which span to fill at a cursor: its kind, its bounds, its indentation, how long it may be and what must not be in it.

Knows nothing of models beyond the gap sizes they are asked for, nothing of editors. What a span replaces is blank
space to the end of the line, or the tail of the word the cursor stands in; never any other text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tree_sitter import Node

from .balance import CLOSERS, Balance, balance, line_end, line_start
from .blank_line import BlankLine, blank_line, line_below
from .indentation import margin
from .prose import Prose, code_start, prose_at
from .roles import prose_end, prose_role, role_at
from .syntax import Syntax, ancestors
from .window import near

_REST_OF_WORD = re.compile(r"(?<=[\w$])[\w$]+")
_VALUE_MISSING = re.compile(r"(?:[^=<>!]=|\breturn|\bawait|\bthrow|=>|:=|<-)[ \t]*\Z")
_ONLY_CLOSERS = re.compile(r"[\s)\]}\"'`;]*\Z")

LINE_BREAKS = ("\n", "\r")


@dataclass(frozen=True)
class Span:
    """A place to fill. `start` and `end` are code points; text[start:end] is what the fill replaces."""

    kind: str  # "rest_of_line" | "hole" | "line" | "block" | "comment" | "string"
    start: int  # the cursor
    end: int
    indent: str  # what the line begins with; on a blank line, what the filled line is expected to begin with
    max_tokens: int  # 16 | 32 | 64 | 128
    single_line: bool  # no line break may appear in the fill
    role: str = (
        ""  # what stands there, as `roles` names it: "argument" … "statement", "body", "function", "docstring" …
    )
    forbidden: tuple[str, ...] = ()  # what must not appear in the fill: it would end the line, comment or string
    lead: str = ""  # what is to stand before the fill: a line break, where the cursor is at the end of a header


@dataclass(frozen=True)
class _Line:
    """The cursor's line, without its line break."""

    end: int
    before: str
    after: str
    indent: str


def choose_span(syntax: Syntax, offset: int, *, prose: bool = False) -> Span | None:
    """The span to fill with the cursor at code point `offset`.

    None where nothing sensible can be offered: inside a comment or string (unless `prose`), inside an operator, a
    line break or a surrogate pair, and for an offset outside the text. Never raises, whatever the text.
    """
    if not 0 <= offset <= len(syntax.text) or _splits(syntax.text, offset):
        return None
    place = near(syntax, offset)
    span = _choose(place.syntax, offset - place.shift, prose)
    return span and replace(span, start=span.start + place.shift, end=span.end + place.shift)


def _choose(syntax: Syntax, offset: int, prose: bool) -> Span | None:
    text = syntax.text
    start, end = line_start(text, offset), line_end(text, offset)
    line = _Line(end, text[start:offset], text[offset:end], margin(text, offset))
    inside = prose_at(syntax, offset)
    if inside is not None:
        return _in_prose(syntax, inside, offset, line) if prose else None
    seen = balance(text, code_start(syntax, offset), offset, syntax.language)
    if seen.inside == "string":
        seen = _in_string(syntax, offset, seen)
    if not line.before.strip() and not line.after.strip():
        blank = blank_line(syntax, offset, end, line.indent[: len(line.before)], seen)
        if blank.opens:
            return _block(offset, end, blank)
        role = role_at(syntax, offset, line.before, seen)
        return Span("line", offset, end, blank.indent, 32, True, role, LINE_BREAKS)
    return _in_line(syntax, offset, line, seen)


def _block(offset: int, end: int, blank: BlankLine, lead: str = "") -> Span:
    size = 128 if blank.opens == "function" else 64
    return Span("block", offset, end, blank.indent, size, False, blank.opens, lead=lead)


def _splits(text: str, offset: int) -> bool:
    pair = text[max(0, offset - 1) : offset + 1]
    return pair == "\r\n" or (len(pair) == 2 and "\ud800" <= pair[0] <= "\udbff" and "\udc00" <= pair[1] <= "\udfff")


def _in_string(syntax: Syntax, offset: int, seen: Balance) -> Balance:
    """What holds at a cursor in a string that is no prose: in code embedded in it, or where strings are the code."""
    opener = syntax.language.interpolation
    at = syntax.text.rfind(opener, seen.inside_start, offset) if opener else -1
    return balance(syntax.text, at + len(opener) - 1, offset, syntax.language) if at >= 0 else seen


def _in_prose(syntax: Syntax, inside: Prose, offset: int, line: _Line) -> Span:
    end = offset if line.after.strip() else line.end
    closer = prose_end(syntax, inside)
    forbidden = (*LINE_BREAKS, closer) if closer else LINE_BREAKS
    return Span(inside.kind, offset, end, line.indent, 32, True, prose_role(syntax, inside), forbidden)


def _in_line(syntax: Syntax, offset: int, line: _Line, seen: Balance) -> Span | None:
    text, after = syntax.text, line.after
    role = role_at(syntax, offset, line.before, seen)

    def span(kind: str, end: int, size: int) -> Span:
        return Span(kind, offset, end, line.indent, size, True, role, LINE_BREAKS)

    around = _around(syntax, offset)
    word = _REST_OF_WORD.match(text, offset)
    if not after.strip():
        below = line_below(syntax, offset, line.end, seen)
        if below.opens:
            return _block(offset, line.end, below, lead="\n")
        return span("rest_of_line", line.end, 16 if _ends_statement(syntax, offset) else 32)
    if word:
        end = word.end() if text[word.end() : line.end].strip() else line.end
        return span("rest_of_line", end, 16 if end < line.end else 32)
    if around is not None and not around.is_named and not around.child_count:
        return None  # between the characters of one operator
    in_block = around is None or around.type in syntax.language.blocks
    whole = not line.before.strip() or (in_block and line.before.rstrip()[-1] in "{};")
    size = 32 if whole else 16
    if seen.inside != "string" and _ONLY_CLOSERS.match(after) and not _closes(text, offset, seen):
        missing = _VALUE_MISSING.search(line.before) is not None
        return span("rest_of_line", offset, 32 if missing else size)
    return span("hole", offset, size)


def _ends_statement(syntax: Syntax, offset: int) -> bool:
    """Whether a statement that closes a bracket or quote or has its semicolon ends right at the cursor."""
    if syntax.text[offset - 1 : offset] not in (*CLOSERS, ";", '"', "'", "`"):
        return False
    at = syntax.byte(offset)
    for node in ancestors(syntax.node_over(at - 1, at) if at else None):
        if node.end_byte != at or node.has_error:
            return False
        if node.type in syntax.language.statements:
            return True
    return False


def _closes(text: str, offset: int, seen: Balance) -> bool:
    """Whether the first closing bracket to the right belongs to the innermost bracket open at the cursor."""
    closer = next((char for char in text[offset : line_end(text, offset)] if char in CLOSERS), "")
    return bool(closer and seen.open) and text[seen.open[-1]] == CLOSERS[closer]


def _around(syntax: Syntax, offset: int) -> Node | None:
    """The smallest node that holds what stands on both sides of the cursor."""
    at = syntax.byte(offset)
    return syntax.node_over(at - 1, at + 1) if 0 < at < len(syntax.data) else None
