"""Whether a cursor stands in prose: inside a comment or a string, and not in code embedded in one.

The tree answers where it is whole. Where the line has a syntax error a quote or comment may never be closed, and the
brackets-and-quotes reading of the text answers as well. Knows nothing of spans.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tree_sitter import Node

from .balance import WINDOW, balance, line_end, line_start
from .syntax import Syntax, ancestors

_MARKED = re.compile(r"[$fFtT][@rR]?[\"']|@?\$+@?\"")

LOOK_BACK = 16
"""ERROR nodes before the cursor searched for a quote or comment that is never closed."""


@dataclass(frozen=True)
class Prose:
    """`kind` is "comment" or "string"; `start` is the code point offset where it begins."""

    kind: str
    start: int


def prose_at(syntax: Syntax, offset: int) -> Prose | None:
    """The comment or string that `offset` stands in; None in code."""
    if syntax.tree is None:
        return _by_text(syntax, offset, code_start(syntax, offset))
    at = syntax.byte(offset)
    length = syntax.tree.root_node.end_byte
    around = syntax.node_over(at - 1, at + 1) if 0 < at < length else None
    for node in ancestors(around):
        if node.type in syntax.language.embedded:
            return None
        if node.type in syntax.language.strings and node.start_byte < at < node.end_byte:
            start = syntax.point(node.start_byte)
            return None if node.has_error and _interpolated(syntax, start, offset) else Prose("string", start)
        if node.type in syntax.language.comments:
            return Prose("comment", syntax.point(node.start_byte))
    if at > 0 and (comment := _line_comment_ending_at(syntax, at)) is not None:
        return Prose("comment", syntax.point(comment.start_byte))
    return _in_broken_code(syntax, offset, at)


def code_start(syntax: Syntax, offset: int) -> int:
    """Where, at most a window before `offset` the text can be read as code: never inside a string
    or a comment as far as the tree knows, and inside the embedded code if `offset` is."""
    text = syntax.text
    start = max(0, offset - WINDOW)
    if 0 < start < line_start(text, offset):  # else the cursor's line is longer than the window
        start = line_end(text, start) + 1
    if syntax.tree is None:
        return start
    at, low = syntax.byte(offset), syntax.byte(start)
    for node in ancestors(syntax.node_over(max(0, at - 1), at + 1)):
        if node.type in syntax.language.embedded:
            return max(start, syntax.point(node.start_byte))
    for node in ancestors(syntax.node_over(low, low + 1)):
        if (node.type in syntax.language.strings or node.type in syntax.language.comments) and node.start_byte < low:
            end = syntax.point(node.end_byte)
            return end if end <= offset else start
    return start


def _line_comment_ending_at(syntax: Syntax, at: int) -> Node | None:
    """The end of a line comment is still in it; the end of a block comment is not."""
    prefixes = tuple(marker.encode() for marker in syntax.language.line_comments)
    data = syntax.data
    if not prefixes:
        return None
    for node in ancestors(syntax.node_over(at - 1, at), 3):
        if node.type in syntax.language.comments:
            # Some grammars end a documentation comment after its line break.
            ended = data[at - 1 : at] in (b"\n", b"\r") or not data.startswith(prefixes, node.start_byte)
            return None if ended else node
    return None


def _in_broken_code(syntax: Syntax, offset: int, at: int) -> Prose | None:
    if unclosed := _never_closed(syntax, at):
        return unclosed
    start, end = line_start(syntax.text, offset), line_end(syntax.text, offset)
    first = syntax.byte(start)
    line = syntax.node_over(first, max(syntax.byte(end), first + 1))
    if line is not None and not line.has_error:
        return None
    return _by_text(syntax, offset, max(start, code_start(syntax, offset)))


def _never_closed(syntax: Syntax, at: int) -> Prose | None:
    """A string or comment of several lines, opened within an ERROR before byte `at` and never closed."""
    language, data = syntax.language, syntax.data
    delimiters = [(quote, quote, "string") for quote in language.long_quotes]
    if language.block_comment:
        delimiters.append((*language.block_comment, "comment"))
    before = [flaw for flaw in syntax.flaws if flaw.start < at and not flaw.missing]
    for flaw in before[-LOOK_BACK:]:
        end = min(at, flaw.end)
        for opener, closer, kind in delimiters:
            begin = data.rfind(opener.encode(), flaw.start, end)
            if begin < 0 or data.find(closer.encode(), begin + len(opener), at) >= 0:
                continue
            if opener == closer and data.count(opener.encode(), flaw.start, end) % 2 == 0:
                continue
            holder = syntax.node_over(begin, begin + len(opener))
            if not any(node.type in language.strings | language.comments for node in ancestors(holder, 3)):
                return Prose(kind, syntax.point(begin))
    return None


def _by_text(syntax: Syntax, offset: int, start: int) -> Prose | None:
    seen = balance(syntax.text, start, offset, syntax.language)
    if not seen.inside or (seen.inside == "string" and _interpolated(syntax, seen.inside_start, offset)):
        return None
    return Prose(seen.inside, seen.inside_start)


def _interpolated(syntax: Syntax, start: int, offset: int) -> bool:
    """Whether code inside the string that begins at `start` is still open at `offset`."""
    text, opener = syntax.text, syntax.language.interpolation
    if not opener or (opener == "{" and not _MARKED.search(text, max(0, start - 3), start + 3)):
        return False
    at = text.rfind(opener, start, offset)
    return at >= 0 and not any(closer in text[at:offset] for closer in '})"')
