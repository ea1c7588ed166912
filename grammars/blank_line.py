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
from .syntax import Syntax

_HEADER = re.compile(r"[ \t]*(?:async|case|class|def|elif|else|except|finally|for|if|match|try|while|with)\b", re.ASCII)
_LABEL = re.compile(r"[ \t]*(?:case\b.*|default[ \t]*|(?:public|private|protected)\b[\w \t]*):\Z")


@dataclass(frozen=True)
class BlankLine:
    opens_body: bool  # the code above is a header (or brace, or label) whose body is still blank
    indent: str  # what a line filled in here is expected to begin with


def blank_line(syntax: Syntax, offset: int, end: int, typed: str, seen: Balance) -> BlankLine:
    """The blank line that ends at `end`, with the cursor at `offset` after `typed` blanks.

    `seen` is the balance of a run of code that ends at the cursor.
    """
    text, language = syntax.text, syntax.language
    last = _last_code(text, offset, seen)
    if last < 0:
        return BlankLine(False, typed)
    ahead = skip_blank(text, end, min(len(text), end + WINDOW), language)
    following = text[ahead : ahead + 1]
    inward = unit(text, offset, language)
    header = _header(syntax, last, seen)
    if header >= 0:
        outer = margin(text, _statement_line(text, header, seen))
        has_body = following and following not in CLOSERS and width(margin(text, ahead)) > width(outer)
        deeper = width(typed) > width(outer)
        if not has_body and (deeper or not typed or not language.indented):
            return BlankLine(True, typed if deeper else outer + inward)
        return BlankLine(False, typed or outer + inward)
    outer = margin(text, _statement_line(text, last, seen))
    if text[last] in "([{":
        expected = outer + inward
    elif language.indented:
        # At the margin between two statements, the outer of the two goes on.
        expected = min(outer, margin(text, ahead) if following else "", key=width)
    else:
        expected = outer
    return BlankLine(False, typed or expected)


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
    if text[last] == ":":
        if language.known and not language.indented:
            return _LABEL.match(text[line_start(text, last) : last + 1]) is not None
        first = _statement_line(text, last, seen)
        in_brackets = any(first <= bracket < last for bracket in seen.open)
        return not in_brackets and (not language.known or _HEADER.match(text, first) is not None)
    if text[last] != "{" or language.indented:
        return False
    brace = syntax.node_over(syntax.byte(last), syntax.byte(last + 1))
    holder = brace.parent if brace and not brace.is_error else None
    return holder is None or holder.is_error or holder.type in language.blocks


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
