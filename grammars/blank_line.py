"""What a blank line waits for: the body of a header above it, or one more line, and at which indentation.

Works from the brackets and comments of the text around it, since the tree of a header without its body differs from
grammar to grammar; the tree is asked only what kind of braces a brace belongs to and where a documentation string
begins. Knows nothing of spans.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .balance import CLOSERS, WINDOW, Balance, line_start, skip_blank
from .indentation import margin, unit, width
from .roles import begins_statement, body_role, holds_statements
from .syntax import Syntax

MAX_HEADER = 2048
"""Code points of a statement that are tried as a header."""

MAX_BRANCHES = 4

HEADER_ENDS = (":", "{")
"""What a header ends with beyond doubt; others, as Ruby's, may go on."""

# A statement that is not over: a value is to follow, or the one statement of a branch without braces.
_GOES_ON = re.compile(
    r"(?:[^=<>!:]=|=>|->)\Z|\A[ \t]*(?:\}[ \t]*)?(?:(?:else[ \t]+)?(?:if|for|while|foreach)\b[^\r\n]*\)|else)\Z"
)


@dataclass(frozen=True)
class BlankLine:
    opens: str  # "function" or "body", if the code above is a header (or brace, or label) whose body is still blank
    indent: str  # what a line filled in here is expected to begin with


def blank_line(syntax: Syntax, offset: int, end: int, typed: str, seen: Balance) -> BlankLine:
    """The blank line that ends at `end`, with the cursor at `offset` after `typed` blanks.

    `seen` is the balance of a run of code that ends at the cursor.
    """
    text, language = syntax.text, syntax.language
    last = _last_code(text, offset, seen)
    if last < 0:
        return BlankLine("", typed)
    ahead = skip_blank(text, end, min(len(text), end + WINDOW), language)
    following = text[ahead : ahead + 1]
    inward = unit(text, offset, language)
    header = _header(syntax, last, seen)
    if header >= 0:
        first = _statement_line(text, header, seen)
        outer = margin(text, first)
        if language.flat:
            return BlankLine("" if following and following != text[first] else "body", typed or outer)
        has_body = following and following not in CLOSERS and width(margin(text, ahead)) > width(outer)
        if has_body:
            return BlankLine("", typed or outer + inward)
        deeper = width(typed) > width(outer)
        # Where indentation makes the block, a cursor that was left at the header's own margin still means its body.
        indent = typed if deeper or (typed and not language.indented) else outer + inward
        return BlankLine(body_role(_header_text(text, header, seen)), indent)
    first = _statement_line(text, last, seen)
    outer = margin(text, first)
    if text[last] in "([{" or (not language.indented and _GOES_ON.search(text[max(first, last - WINDOW) : last + 1])):
        expected = outer + inward
    elif text[last] == "," and seen.open and first <= seen.open[-1] and text[seen.open[-1] + 1] not in "\r\n":
        # What follows its bracket on the same line goes on under it.
        column = seen.open[-1] + 1 - line_start(text, seen.open[-1])
        expected = outer + (inward if "\t" in outer else " " * (column - len(outer)))
    elif language.indented:
        # At the margin between two statements, the outer of the two goes on; what follows a dash may be deeper.
        below = margin(text, ahead) if following else ""
        in_item = text.startswith("- ", first + len(outer)) and width(below) > width(outer)
        expected = below if in_item else min(outer, below, key=width)
    else:
        expected = _after_branch(text, first, outer, seen)
    return BlankLine("", typed or expected)


def line_below(syntax: Syntax, offset: int, end: int, seen: Balance) -> BlankLine:
    """What a line begun below this one would wait for, if this one ends a header beyond doubt: with a brace, or with
    the colon of a statement that a word begins. It ends at `end`, and no code stands behind `offset`."""
    if syntax.text[offset - 1 : offset] not in HEADER_ENDS:
        return BlankLine("", "")
    below = blank_line(syntax, offset, end, "", seen)
    header = syntax.text[_statement_line(syntax.text, offset - 1, seen) : offset]
    return below if header.endswith("{") or begins_statement(header) else BlankLine("", "")


def _after_branch(text: str, first: int, indent: str, seen: Balance) -> str:
    """The indentation after a statement that begins on the line at `first`: if it is the one statement of a branch
    without braces, the branch's own."""
    for _ in range(MAX_BRANCHES):
        last = _last_code(text, first, seen)
        if last < 0 or text[last] not in ")e":
            return indent
        above = _statement_line(text, last, seen)
        outer = margin(text, above)
        if width(outer) >= width(indent) or not _GOES_ON.search(text[max(above, last - WINDOW) : last + 1]):
            return indent
        first, indent = above, outer
    return indent


def _header(syntax: Syntax, last: int, seen: Balance) -> int:
    """The colon or brace that begins a body of which nothing, or only its documentation, is written; else -1."""
    if _opens_body(syntax, last, seen):
        return last
    if not syntax.language.indented:
        return -1
    node = syntax.node_over(syntax.byte(last), syntax.byte(last + 1))
    if node is not None and node.type not in syntax.language.strings:
        node = node.parent
    if node is None or node.type not in syntax.language.strings:
        return -1
    before = _last_code(syntax.text, syntax.point(node.start_byte), seen)
    return before if before >= 0 and _opens_body(syntax, before, seen) else -1


def _opens_body(syntax: Syntax, last: int, seen: Balance) -> bool:
    text, language = syntax.text, syntax.language
    if text[last] == "{" and not language.indented:
        return holds_statements(syntax, last)
    first = _statement_line(text, last, seen)
    if last - first > MAX_HEADER or any(first <= bracket < last for bracket in seen.open):
        return False
    return re.search(language.header, text[first : last + 1]) is not None


def _header_text(text: str, header: int, seen: Balance) -> str:
    """The statement up to the colon or brace at `header`, which may have a line of its own."""
    last = header if text[line_start(text, header) : header].strip() else _last_code(text, header, seen)
    return text[max(_statement_line(text, last, seen), header - MAX_HEADER) : header] if last >= 0 else ""


def _last_code(text: str, end: int, seen: Balance) -> int:
    """The last code character before `end`, past blank space and comments; -1 if there is none."""
    comments = [comment for comment in seen.comments if comment[0] < end]
    while True:
        low = max(0, end - WINDOW)
        blank_from = low + len(text[low:end].rstrip())
        while comments and comments[-1][0] >= blank_from:
            comments.pop()
        if blank_from == low or not comments or comments[-1][1] < blank_from:
            return blank_from - 1 if blank_from > low else -1
        end = comments.pop()[0]


def _statement_line(text: str, last: int, seen: Balance) -> int:
    """Where the line begins on which the code that ends at `last` began: past all the brackets it closes."""
    first = line_start(text, last)
    for closer in sorted(seen.pairs, reverse=True):
        if first <= closer <= last:
            first = min(first, line_start(text, seen.pairs[closer]))
    return first
