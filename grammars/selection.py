"""What a selection means: the whole nodes it touches, so that they can be written anew and nothing beside them.

Knows nothing of models or editors. A selection only ever grows, blanks at its ends aside; what it grows to begins and
ends with code: the indentation before its first line and the line break after its last stay where they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tree_sitter import Node

from .balance import line_end, line_start
from .indentation import margin
from .syntax import MAX_CLIMB, Syntax, ancestors

_WORD = re.compile(r"[\w$]+")
_BRACKETS = frozenset("()[]{}<>")


@dataclass(frozen=True)
class Selection:
    """A place to rewrite: text[start:end], in code points."""

    kind: str  # "expression" | "list" (neighbours in one) | "statements" | "comment" | "string" | "lines"
    start: int
    end: int
    indent: str  # of the line it begins on


def choose_selection(syntax: Syntax, start: int, end: int) -> Selection:
    """The whole nodes that code points [start, end) touch; with nothing selected, the innermost statement.

    A selection within one statement grows to the smallest node around it, one of several lines to whole statements.
    Where the code is broken, or without a tree, it is whole lines. Offsets are clamped and may come in either order;
    a code point, a surrogate pair or a line break is never cut. Never raises.
    """
    text = syntax.text
    start, end = sorted((min(max(start, 0), len(text)), min(max(end, 0), len(text))))
    start, end = _uncut(text, start, end)
    bare = not text[start:end].strip()
    first, last = (start, start) if bare else _stripped(text, start, end)
    if bare and not text[line_start(text, first) : line_end(text, first)].strip():
        return Selection("lines", first, first, margin(text, first))
    grown = _at_cursor(syntax, first) if bare else _grown(syntax, first, last)
    if grown is None:
        return _lines(text, first, last)
    kind, begin, finish = grown
    begin, finish = _stripped(text, *_uncut(text, begin, finish))
    if not bare:
        begin, finish = min(begin, first), max(finish, last)
    return Selection(kind, begin, finish, margin(text, begin))


def _at_cursor(syntax: Syntax, offset: int) -> tuple[str, int, int] | None:
    """The innermost statement around or beside the cursor."""
    if syntax.tree is None:
        return None
    text = syntax.text
    first, last = _stripped(text, line_start(text, offset), line_end(text, offset))
    offset = min(max(offset, first), last - 1)  # in the indentation: what begins there; at the end: what ends there
    leaf = syntax.node_over(syntax.byte(offset), syntax.byte(offset + 1))
    for node in ancestors(leaf):
        if node.is_error:
            return None
        if _is_item(node, syntax):
            return None if node.has_error else _as_kind("statements", [node], syntax)
    return None


def _grown(syntax: Syntax, start: int, end: int) -> tuple[str, int, int] | None:
    if syntax.tree is None:
        return _words(syntax.text, start, end)
    low, high = syntax.byte(start), syntax.byte(end)
    node = syntax.node_over(low, high)
    several = "\n" in syntax.text[start:end] or "\r" in syntax.text[start:end]
    for _ in range(MAX_CLIMB):
        if node is None or node.is_error:
            return None
        if node.type in syntax.language.comments:
            return _as_kind("comment", [node], syntax)
        if (string := _string_around(node, syntax)) is not None:
            return _as_kind("string", [string], syntax)
        chosen = _touched(node, low, high)
        if any(child.is_error or child.is_missing for child in chosen):
            return None
        whole = not chosen or not _separates(node, chosen, syntax) or any(child.type in _BRACKETS for child in chosen)
        if whole:
            node = _outermost(node, syntax)
            chosen = [node]
        holds_items = node.type in syntax.language.blocks or node.parent is None
        item = _is_item(node, syntax) if whole else holds_items
        if several and whole and not item and node.parent is not None:
            node = node.parent
            continue
        if any(child.has_error for child in chosen):
            return None
        if item and (after := chosen[-1].next_sibling) is not None and after.type == ";":
            chosen.append(after)
        kind = "statements" if item else "expression" if whole else "list"
        return _as_kind(kind, chosen, syntax)
    return None


def _touched(node: Node, low: int, high: int) -> list[Node]:
    """The children from the one that byte `low` is in to the one that ends at or after byte `high`."""
    cursor = node.walk()
    if cursor.goto_first_child_for_byte(low) is None or cursor.node is None:
        return []
    found = [cursor.node]
    while found[-1].end_byte < high and cursor.goto_next_sibling() and cursor.node is not None:
        found.append(cursor.node)
    return found if found[0].start_byte <= low and found[-1].end_byte >= high else []


def _separates(node: Node, chosen: list[Node], syntax: Syntax) -> bool:
    """Whether the chosen children are neighbours (statements, arguments) rather than parts of one thing."""
    if node.type in syntax.language.blocks or node.parent is None:
        return True
    beside = (chosen[0].prev_sibling, chosen[-1].next_sibling, *chosen)
    return any(child is not None and child.type in (",", ";") for child in beside)


def _is_item(node: Node, syntax: Syntax) -> bool:
    """Whether the node is a statement or member: a named child of a block, or of the whole document."""
    outer = node.parent
    if outer is None or not node.is_named or node.type in syntax.language.blocks:
        return False
    return outer.type in syntax.language.blocks or outer.parent is None


def _string_around(node: Node, syntax: Syntax) -> Node | None:
    """The string that the node is, or is the text of."""
    for outer in ancestors(node, 3):
        if outer.type in syntax.language.embedded:
            return None
        if outer.type in syntax.language.strings:
            return outer
    return None


def _outermost(node: Node, syntax: Syntax) -> Node:
    """The outermost node over the same text: a call that is a statement is the statement."""
    for outer in ancestors(node.parent):
        same = (outer.start_byte, outer.end_byte) == (node.start_byte, node.end_byte)
        if not same or outer.parent is None or outer.type in syntax.language.blocks:
            break
        node = outer
    return node


def _as_kind(kind: str, nodes: list[Node], syntax: Syntax) -> tuple[str, int, int]:
    return kind, syntax.point(nodes[0].start_byte), syntax.point(nodes[-1].end_byte)


def _words(text: str, start: int, end: int) -> tuple[str, int, int] | None:
    """Without a tree: within one line, whole words."""
    if re.search(r"[\r\n]", text[start:end]):
        return None
    for word in _WORD.finditer(text, line_start(text, start), line_end(text, end)):
        if word.start() < start < word.end():
            start = word.start()
        if word.start() < end < word.end():
            end = word.end()
    return "expression", start, end


def _lines(text: str, start: int, end: int) -> Selection:
    start, end = line_start(text, start), line_end(text, end)
    if text[start:end].strip():
        start, end = _stripped(text, start, end)
    return Selection("lines", start, end, margin(text, start))


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    inner = text[start:end]
    return start + len(inner) - len(inner.lstrip()), start + len(inner.rstrip())


def _uncut(text: str, start: int, end: int) -> tuple[int, int]:
    """The bounds moved outwards so that neither cuts "\\r\\n" or a surrogate pair; an empty range stays empty."""
    bare = start == end
    start -= _cuts(text, start)
    return (start, start) if bare else (start, end + _cuts(text, end))


def _cuts(text: str, offset: int) -> int:
    pair = text[max(0, offset - 1) : offset + 1]
    return int(
        pair == "\r\n" or (len(pair) == 2 and "\ud800" <= pair[0] <= "\udbff" and "\udc00" <= pair[1] <= "\udfff")
    )
