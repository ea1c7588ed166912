"""How an edit is told to tree-sitter: what makes the next parse cheap without making it wrong.

A tree is reused where its nodes lie outside of what it was told has changed. Any account of an edit is right that
covers the changed bytes and moves everything behind them by the same distance; accounts differ in what a parse can
reuse. Knows nothing of documents or of what the text means.

A line of Python ends in tokens of no width (line end, dedents). An edit at that line voids them, and the big node that
follows begins at the very same byte. The parser looks at it before it has read the new ones, finds a scanner state
that does not fit, and passes over the whole node: the rest of the file is parsed again (tree-sitter 0.26,
`ts_parser__reuse_node`). So the following node is told to begin earlier by a few bytes, inside of a token: the parser
comes to it from behind, descends to its first leaf, gives up that leaf alone and reuses the rest.
"""

from __future__ import annotations

import re

from tree_sitter import Tree

REACH = 64
"""Bytes before the end of a line in which the inside of a token is looked for."""

_BLANK = re.compile(rb"[ \t\r\n\f]*")
_INSIDE = re.compile(rb"(?s:.*)(?:[ \t\r\n\f]|[\w\x80-\xff](?=[\w\x80-\xff]))", re.ASCII)


def tell(tree: Tree, old: bytes, new: bytes, start: int, end: int, new_end: int, *, indented: bool) -> None:
    """Tell `tree` (of `old`) that old[start:end] became new[start:new_end]. All offsets are bytes.

    indented: the grammar's lines end in tokens of no width.
    """
    if not (indented and _tell_early(tree, old, new, start, end, new_end)):
        place = row_column((0, 0), old, 0, start)
        tree.edit(
            start, end, new_end, place, row_column(place, old, start, end), row_column(place, new, start, new_end)
        )


def row_column(origin: tuple[int, int], data: bytes, start: int, end: int) -> tuple[int, int]:
    """(row, column in bytes) after data[start:end] that begins at `origin`; rows end at a line feed only, as
    tree-sitter counts them."""
    rows = data.count(b"\n", start, end)
    if not rows:
        return origin[0], origin[1] + end - start
    return origin[0] + rows, end - data.rfind(b"\n", start, end) - 1


def _tell_early(tree: Tree, old: bytes, new: bytes, start: int, end: int, new_end: int) -> bool:
    """Tells the code up to the end of the edited line as one edit that is `early` bytes too short, and the blank
    behind it as another that is as much too long. False: there is nothing behind, or no place inside of a token.

    Everything from `start` to the next code after that line is touched by one of the two, so no leaf there is reused;
    everything behind moves by the true distance.
    """
    line_end = old.find(b"\n", end)
    if line_end < 0:
        return False
    following = _past_blank(old, line_end)
    new_following = following + new_end - end
    if following >= len(old):
        return False
    code_end, new_code_end = _code_end(old, following), _code_end(new, new_following)
    inside = _INSIDE.match(new, max(0, new_code_end - REACH), new_code_end)
    if inside is None:
        return False
    early = inside.end()
    first = min(start, code_end, early)
    place = row_column((0, 0), old, 0, first)
    early_place = row_column(place, new, first, early)
    tree.edit(first, code_end, early, place, row_column(place, old, first, code_end), early_place)
    # Past one byte of the blank, so that the edit touches what follows and not what stands before.
    tree.edit(
        early + 1,
        early + following - code_end,
        new_following,
        row_column(early_place, old, code_end, code_end + 1),
        row_column(early_place, old, code_end, following),
        row_column(early_place, new, early, new_following),
    )
    return True


def _past_blank(data: bytes, start: int) -> int:
    match = _BLANK.match(data, start)
    return match.end() if match else start


def _code_end(data: bytes, end: int) -> int:
    """Where the blank that ends at `end` begins."""
    step = 256
    while True:
        low = max(0, end - step)
        kept = len(data[low:end].rstrip(b" \t\r\n\f"))
        if kept or not low:
            return low + kept
        step *= 4
