"""The piece of a large text that decides what is to be filled in, or whether an edit parses: whole statements around
the place, parsed on their own.

In Python, and in languages of braces, a run of statements parses alone as it parses in its file, once what opens and
closes the blocks it is in stands around it; so what a check costs does not grow with the file, and an unclosed bracket
costs a window and not the rest of the file. The outermost statements near enough are taken, so that a clause or a
dedent of the edit finds the header it belongs to. Where the tree is broken all around the edit, in Python a few lines
stand for the statements: both versions are cut the same way, and only what differs counts. A cut that is broken where
its file is not was no run of statements, and the whole file is looked at, as it is in other languages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tree_sitter import Node

from .balance import balance, line_end, line_start
from .enclosing import closed, headers, opened
from .indentation import margin
from .syntax import Syntax, ancestors

LIMIT = 3072
"""Bytes of a window, about. A text that is no longer is its own window."""

LINES = 30
"""Lines on either side where there are no whole statements to take."""

STEPS = (0, 1, 1, 2, 4, 8, 16)
"""Lines from one place to the next where statements are looked for in the tree of a version before."""


@dataclass(frozen=True)
class Window:
    """text[start:end] (code points), and what encloses it, is `syntax`; a position p of the text is p - shift there."""

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
        windows[start, end] = _window(before.standing, start, end)
    return windows[start, end]


def near(syntax: Syntax, offset: int) -> Window:
    """Where to look for what stands at a place: in the whole text, or around the place where the text's tree takes
    longer than a request should wait."""
    found = window(syntax, offset, offset) if syntax.standing is not syntax else None
    return found or Window(syntax, 0, len(syntax.text), 0)


def _window(before: Syntax, start: int, end: int) -> Window | None:
    if len(before.data) <= LIMIT:
        return Window(before, 0, len(before.text), 0)
    language = before.language
    if before.tree is None or not language.divisible or end - start > LIMIT:
        return None
    first, last = before.byte(start), before.byte(end)
    low, high = _low(before, first), _high(before, last)
    if low is None or high is None:
        broken = language.id == "python" and before.tree.root_node.has_error
        return _lines(before, start, end) if broken else None
    return _braced(before, low, high, first, last) if language.braces else _cut(before, low, high)


Border = tuple[int, Node | None]
"""Byte at which the line of a statement begins, and the block it is in; None: the top or the end of the file."""


def _low(before: Syntax, first: int) -> Border | None:
    """Above byte `first`: the outermost statement that is near enough, or the one before it if that is near as well."""
    nearest = first - LIMIT // 2
    if nearest <= 0:
        return 0, None
    for code_end in _code_ends(before, nearest, first):
        around = list(ancestors(before.node_over(code_end - 1, code_end)))
        for node in reversed(around):
            near = [
                _line_byte(before, statement)
                for statement in (node.prev_sibling, node)
                if statement is not None and _is_statement(before, statement)
            ]
            if near and _is_statement(before, node) and near[-1] >= nearest:
                return near[0] if near[0] >= nearest else near[-1], node.parent
        if _is_broken(around):
            break
    return None


def _code_ends(before: Syntax, nearest: int, first: int) -> Iterator[int]:
    """Where the code above byte `first` ends, and where the tree may not know that code, lines above it."""
    end = nearest + len(before.data[nearest:first].rstrip())
    for n_lines in STEPS[: 1 if before.is_current else None]:
        for _ in range(n_lines):
            end = nearest + len(before.data[nearest : max(nearest, before.data.rfind(b"\n", 0, end))].rstrip())
        if end == nearest:
            return
        yield end


def _code_starts(before: Syntax, last: int, farthest: int) -> Iterator[int]:
    """Where the code below byte `last` begins, and where the tree may not know that code, lines below it."""
    start = farthest - len(before.data[last:farthest].lstrip())
    for n_lines in STEPS[: 1 if before.is_current else None]:
        for _ in range(n_lines):
            end = before.data.find(b"\n", start, farthest)
            start = farthest - len(before.data[end:farthest].lstrip()) if end >= 0 else farthest
        if start == farthest:
            return
        yield start


def _high(before: Syntax, last: int) -> Border | None:
    """Below byte `last`: a statement with whole statements in between where they are near enough, else the second one
    inside of the next."""
    farthest = last + LIMIT // 2
    if farthest >= len(before.data):
        return len(before.data), None
    for code in _code_starts(before, last, farthest):
        around = list(ancestors(before.node_over(code, code + 1)))
        found = _high_of(before, last, farthest, around)
        if found is not None or _is_broken(around):
            return found
    return None


def _high_of(before: Syntax, last: int, farthest: int, around: Sequence[Node]) -> Border | None:
    """As `_high`, by the nodes around the first code below, innermost first."""
    for node in reversed(around):
        found: Border | None = None
        following = node
        for _ in range(2):
            following = following.next_sibling if following is not None else None
            if following is not None and following.start_byte <= farthest and _is_statement(before, following):
                found = _line_byte(before, following), following.parent
        if found is not None and _is_statement(before, node):
            return found
    following = next((node for node in around if _is_statement(before, node)), None)
    inner = [child for child in following.named_children if child.type in before.language.blocks] if following else []
    second = inner[0].child(1) if inner and inner[0].child_count > 1 else None
    if second is None or not last < second.start_byte <= farthest or not _is_statement(before, second):
        return None
    return _line_byte(before, second), second.parent


def _is_broken(around: Sequence[Node]) -> bool:
    """Whether the tree knows this code, and could not make statements of it."""
    return any(node.is_error for node in around)


def _is_statement(before: Syntax, node: Node) -> bool:
    """Whether a sound child of a block begins its line."""
    block = node.parent
    if block is None or block.type not in before.language.blocks or node.is_error or not node.is_named:
        return False
    if block.parent is not None and block.parent.type == "match_statement":
        return False
    return not before.data[_line_byte(before, node) : node.start_byte].strip()


def _line_byte(before: Syntax, node: Node) -> int:
    return before.data.rfind(b"\n", 0, node.start_byte) + 1


def _cut(before: Syntax, low: Border, high: Border) -> Window:
    start, end, block = before.point(low[0]), before.point(high[0]), low[1]
    header = headers(before, block) if block is not None else ""
    syntax = Syntax.of(header + before.text[start:end], before.language)
    return Window(syntax, start, end, start - len(header))


def _braced(before: Syntax, low: Border, high: Border, first: int, last: int) -> Window | None:
    opening, closing = opened(before, low[1]), closed(before, high[1], first, last)
    if opening is None or closing is None:
        return None
    start, end = before.point(low[0]), before.point(high[0])
    syntax = Syntax.of(opening + before.text[start:end] + closing, before.language)
    n_flaws = sum(flaw.start <= high[0] and flaw.end >= low[0] for flaw in before.flaws)
    if syntax.tree is None or len(syntax.flaws) > n_flaws or (syntax.flaws and _unbalanced(syntax)):
        return None
    return Window(syntax, start, end, start - len(opening))


def _unbalanced(syntax: Syntax) -> bool:
    """Whether a text that is broken has a brace without its partner: a broken tree does not say where blocks end."""
    seen = balance(syntax.text, 0, len(syntax.text), syntax.language)
    return any(syntax.text[at] in "{}" for at in (*seen.open, *seen.strays))


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
