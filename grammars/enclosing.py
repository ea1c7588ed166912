"""What stands around statements taken out of a file, so that they parse alone as they do there.

In Python a plain header for every block; in a language of braces the file's own text from each enclosing statement's
first line to its brace, and from the closing brace to that statement's end. Knows nothing of edits or of errors.
"""

from __future__ import annotations

from tree_sitter import Node

from .indentation import margin
from .syntax import Syntax, ancestors

MOST = 512
"""Bytes of one enclosing statement that are taken along on either side of its braces."""

REST = 16
"""Bytes behind an enclosing statement's end, to the end of its line: a semicolon that is no part of it, a bracket."""

_HEADERS = {
    "function_definition": "def _():",
    "class_definition": "class _:",
    "for_statement": "while 1:",
    "while_statement": "while 1:",
}


def headers(before: Syntax, block: Node) -> str:
    """Python: a header for every block around the statements of `block`, outermost first."""
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


def opened(before: Syntax, block: Node | None) -> str | None:
    """Braces: what opens the blocks around the statements of `block`, outermost first; None where that is long."""
    found: list[str] = []
    for opener, _, statement in _braced(before, block):
        first = before.data.rfind(b"\n", 0, statement.start_byte) + 1
        if opener.start_byte - first > MOST:
            return None
        found.append(_text(before, first, opener.end_byte) + "\n")
    return "".join(reversed(found))


def closed(before: Syntax, block: Node | None, first: int, last: int) -> str | None:
    """Braces: what closes the blocks around the statements of `block`, innermost first; None where that is long, or
    where an edit of bytes [first, last) changes what a block is a block of."""
    found: list[str] = []
    for opener, closer, statement in _braced(before, block):
        if statement.end_byte - closer.end_byte > MOST or (first < opener.end_byte and statement.start_byte <= last):
            return None
        end = before.data.find(b"\n", statement.end_byte, statement.end_byte + REST)
        found.append(_text(before, closer.start_byte, max(end, statement.end_byte)) + "\n")
    return "".join(found)


def _braced(before: Syntax, block: Node | None) -> list[tuple[Node, Node, Node]]:
    """The blocks in braces around, `block` first: the opening brace, the closing one, and the statement of an outer
    block that they are part of."""
    found: list[tuple[Node, Node, Node]] = []
    waiting: list[tuple[Node, Node]] = []
    for node in ancestors(block):
        inside = node.parent
        if node.type in before.language.blocks and (braces := _braces(before, node)):
            waiting.append(braces)
        if inside is not None and inside.type in before.language.blocks:
            found += [(*braces, node) for braces in waiting]
            waiting = []
    return found


def _braces(before: Syntax, block: Node) -> tuple[Node, Node] | None:
    """The braces that a block begins and ends with, or stands between."""
    first, last = block.child(0), block.child(block.child_count - 1)
    if first is None or last is None or first.type != "{":
        if block.parent is not None and block.parent.type in before.language.blocks:
            return None
        first, last = block.prev_sibling, block.next_sibling
    return (first, last) if first is not None and last is not None and (first.type, last.type) == ("{", "}") else None


def _text(before: Syntax, start: int, end: int) -> str:
    return before.text[before.point(start) : before.point(end)]
