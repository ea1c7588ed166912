"""The piece of a large text that decides whether an edit parses: whole statements around it, parsed on their own.

In Python a run of statements parses alone as it parses in its file, once headers stand above it for the blocks it is
in; so what a check costs does not grow with the file, and an unclosed bracket costs a window and not the rest of the
file. The outermost statements near enough are taken, so that a clause or a dedent of the edit finds the header it
belongs to. Where the tree is broken all around the edit, a few lines stand for the statements: both versions are cut
the same way, and only what differs counts. Other languages are quick to parse again. Knows nothing of errors.
"""

from __future__ import annotations

from dataclasses import dataclass

from tree_sitter import Node

from .balance import line_end, line_start
from .indentation import margin
from .syntax import Syntax, ancestors

LIMIT = 3072
"""Bytes of a window, about. A text that is no longer is its own window."""

LINES = 30
"""Lines on either side where there are no whole statements to take."""

_HEADERS = {
    "function_definition": "def _():",
    "class_definition": "class _:",
    "for_statement": "while 1:",
    "while_statement": "while 1:",
}


@dataclass(frozen=True)
class Window:
    """text[start:end] (code points) below a few headers is `syntax`; a position p of the text is p - shift there."""

    syntax: Syntax
    start: int
    end: int
    shift: int


def window(before: Syntax, start: int, end: int) -> Window | None:
    """The window for an edit of before.text[start:end]; None where the whole text has to be looked at.

    The same object for the same edit, so that several fills of one gap pay for it once.
    """
    windows = before.__dict__.setdefault("_windows", {})
    if (start, end) not in windows:
        windows[start, end] = _window(before, start, end)
    return windows[start, end]


def _window(before: Syntax, start: int, end: int) -> Window | None:
    if len(before.data) <= LIMIT:
        return Window(before, 0, len(before.text), 0)
    if before.tree is None or before.language.id != "python" or end - start > LIMIT:
        return None
    first, last = before.byte(start), before.byte(end)
    low, high = _low(before, first), _high(before, last)
    if low is not None and high is not None:
        return _cut(before, *low, high)
    if before.tree.root_node.has_error:
        return _lines(before, start, end)
    return None


def _low(before: Syntax, first: int) -> tuple[int, Node | None] | None:
    """(Byte at which the line of a statement above byte `first` begins, its block): of the outermost statement that is
    near enough, or of the one before it if that is near as well. (0, None): the top of the file."""
    nearest = first - LIMIT // 2
    if nearest <= 0:
        return 0, None
    data = before.data
    code_end = nearest + len(data[nearest:first].rstrip())
    if code_end == nearest:
        return None
    for node in reversed(list(ancestors(before.node_over(code_end - 1, code_end)))):
        near = [
            _line_byte(before, statement)
            for statement in (node.prev_sibling, node)
            if statement is not None and _is_statement(before, statement)
        ]
        if near and _is_statement(before, node) and near[-1] >= nearest:
            return near[0] if near[0] >= nearest else near[-1], node.parent
    return None


def _high(before: Syntax, last: int) -> int | None:
    """The byte at which the line of a statement below byte `last` begins: with whole statements in between where they
    are near enough, else the second one inside of the next."""
    data = before.data
    farthest = last + LIMIT // 2
    if farthest >= len(data):
        return len(data)
    code = farthest - len(data[last:farthest].lstrip())
    around = list(ancestors(before.node_over(code, code + 1)))
    for node in reversed(around):
        found: int | None = None
        following = node
        for _ in range(2):
            following = following.next_sibling if following is not None else None
            if following is not None and following.start_byte <= farthest and _is_statement(before, following):
                found = _line_byte(before, following)
        if found is not None and _is_statement(before, node):
            return found
    following = next((node for node in around if _is_statement(before, node)), None)
    inner = [child for child in following.named_children if child.type in before.language.blocks] if following else []
    second = inner[0].child(1) if inner and inner[0].child_count > 1 else None
    if second is None or not last < second.start_byte <= farthest or not _is_statement(before, second):
        return None
    return _line_byte(before, second)


def _is_statement(before: Syntax, node: Node) -> bool:
    """Whether a sound child of a block begins its line."""
    block = node.parent
    if block is None or block.type not in before.language.blocks or node.is_error:
        return False
    if block.parent is not None and block.parent.type == "match_statement":
        return False
    return not before.data[_line_byte(before, node) : node.start_byte].strip()


def _line_byte(before: Syntax, node: Node) -> int:
    return before.data.rfind(b"\n", 0, node.start_byte) + 1


def _headers(before: Syntax, block: Node) -> str:
    """A header for every block around the statements of `block`, outermost first."""
    found: list[str] = []
    for node in ancestors(block):
        owner = node.parent
        if owner is None or node.type not in before.language.blocks:
            continue
        header = _HEADERS.get(owner.type, "if 1:")
        if owner.type == "function_definition" and owner.children[0].type == "async":
            header = "async def _():"
        found.append(margin(before.text, before.point(owner.start_byte)) + header + "\n")
    if found:
        # A statement to begin with: the window may hold nothing but comments, and its block's margin is set by one.
        found.insert(0, margin(before.text, before.point(block.start_byte)) + "0\n")
    return "".join(reversed(found))


def _cut(before: Syntax, low: int, block: Node | None, high: int) -> Window:
    start, end = before.point(low), before.point(high)
    header = _headers(before, block) if block is not None else ""
    syntax = Syntax.of(header + before.text[start:end], before.language)
    return Window(syntax, start, end, start - len(header))


def _lines(before: Syntax, start: int, end: int) -> Window:
    text = before.text
    low, high = line_start(text, start), line_end(text, end)
    for _ in range(LINES):
        if start - low < LIMIT // 2 and low > 0:
            low = line_start(text, low - 1)
        if high - end < LIMIT // 2 and high < len(text):
            high = line_end(text, high + 1)
    blank = margin(text, low)
    header = f"if 1:\n{blank}0\n" if blank else ""
    return Window(Syntax.of(header + text[low:high], before.language), low, high, low - len(header))
