"""Which span to fill at a cursor: its kind, its bounds, its indentation and how many tokens it may take.

Knows nothing of models beyond the gap sizes they are asked for, nothing of editors. What a span replaces is blank
space to the end of the line, or the tail of the word the cursor stands in; never any other text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tree_sitter import Node

from .balance import CLOSERS, Balance, balance, line_end, line_start
from .blank_line import blank_line
from .indentation import margin
from .prose import Prose, code_start, prose_at
from .syntax import Syntax, ancestors

_REST_OF_WORD = re.compile(r"(?<=[\w$])[\w$]+")
_ONLY_CLOSERS = re.compile(r"[\s)\]}\"'`;]*\Z")


@dataclass(frozen=True)
class Span:
    """A place to fill. `start` and `end` are code points; text[start:end] is what the fill replaces."""

    kind: str  # "rest_of_line" | "hole" | "line" | "block" | "comment" | "string"
    start: int  # the cursor
    end: int
    indent: str  # what the line begins with; on a blank line, what the filled line is expected to begin with
    max_tokens: int  # 16 | 32 | 64 | 128
    single_line: bool  # no line break may appear in the fill


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
    text = syntax.text
    if not 0 <= offset <= len(text) or _splits(text, offset):
        return None
    start, end = line_start(text, offset), line_end(text, offset)
    line = _Line(end, text[start:offset], text[offset:end], margin(text, offset))
    inside = prose_at(syntax, offset)
    if inside is not None:
        return _in_prose(inside, offset, line) if prose else None
    seen = balance(text, code_start(syntax, offset), offset, syntax.language)
    if not line.before.strip() and not line.after.strip():
        blank = blank_line(syntax, offset, end, line.indent[: len(line.before)], seen)
        if blank.opens_body:
            return Span("block", offset, end, blank.indent, 64, False)
        return Span("line", offset, end, blank.indent, 32, True)
    return _in_line(syntax, offset, line, seen)


def _splits(text: str, offset: int) -> bool:
    pair = text[max(0, offset - 1) : offset + 1]
    return pair == "\r\n" or (len(pair) == 2 and "\ud800" <= pair[0] <= "\udbff" and "\udc00" <= pair[1] <= "\udfff")


def _in_prose(inside: Prose, offset: int, line: _Line) -> Span:
    end = offset if line.after.strip() else line.end
    return Span(inside.kind, offset, end, line.indent, 32, True)


def _in_line(syntax: Syntax, offset: int, line: _Line, seen: Balance) -> Span | None:
    text, after = syntax.text, line.after
    around = _around(syntax, offset)
    word = _REST_OF_WORD.match(text, offset)
    if not after.strip():
        size = 16 if _ends_statement(syntax, offset) else 32
        return Span("rest_of_line", offset, line.end, line.indent, size, True)
    if word:
        end = word.end() if text[word.end() : line.end].strip() else line.end
        return Span("rest_of_line", offset, end, line.indent, 16 if end < line.end else 32, True)
    if around is not None and not around.is_named and not around.child_count:
        return None  # between the characters of one operator
    in_block = around is None or around.type in syntax.language.blocks
    size = 32 if not line.before.strip() or (in_block and line.before.rstrip()[-1] in "{};") else 16
    if _ONLY_CLOSERS.match(after) and not _closes(text, offset, seen):
        return Span("rest_of_line", offset, offset, line.indent, size, True)
    return Span("hole", offset, offset, line.indent, size, True)


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
