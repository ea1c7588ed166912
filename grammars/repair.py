"""What to blame in a fill that broke the code: the ranges a repair denoises again.

An error's range is where a parser gave up, which is seldom all of the mistake: the tokens of an ERROR node itself are
suspect and not the sound pieces inside it, a bracket without its partner is, an empty range marks where a token is
missing, and where the error lies outside of the fill, the end of the fill that faces it. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tree_sitter import Node

from .balance import CLOSERS, WINDOW, balance, line_end, line_start
from .check import Checked, aligned, checked
from .compare import SyntaxError_, unbalanced
from .prose import code_start
from .syntax import Syntax

MAX_TOKENS = 64
"""Tokens of one ERROR node that are looked at."""


def culprits(before: Syntax, after: Syntax, start: int, end: int) -> list[tuple[int, int]]:
    """Ranges [first, last) of the inserted text after.text[start:end], counted from its start in code points, in order
    and apart; [] when it brings no new error. An empty range: something is missing there. Never raises."""
    found = checked(before, after, start, end)
    if not found.errors:
        return []
    start, old_end, end = aligned(before, after, start, end)
    # A bracket without its partner explains more than what a parser made of the text behind it.
    blamed = set(_unmatched(found, start, old_end, end))
    if not blamed:
        blamed = {span for error in found.errors for span in _blamed(found, after, error, start, end)}
    if not blamed:
        blamed = {_last_word(after.text, start, end)}
    return _apart((max(first, start) - start, min(last, end) - start) for first, last in blamed)


def _blamed(found: Checked, after: Syntax, error: SyntaxError_, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Ranges of the text after the edit, within [start, end]."""
    if error.kind == "missing":
        yield from _touching(error.start, error.start, start, end)
    elif error.kind == "error":
        own = [span for span in _own_tokens(found, error) if span[0] < end and span[1] > start]
        yield from own or _touching(error.start, error.end, start, end)
        if own and error.end >= end and start < end:
            yield end, end  # the fill stops too early
    elif error.kind == "refused":
        yield from _refused(after.text, error, start, end)


def _own_tokens(found: Checked, error: SyntaxError_) -> list[tuple[int, int]]:
    """The tokens of an ERROR node that are not part of something sound, and the text in it that is no token."""
    syntax, shift = found.after, found.shift
    first, last = syntax.byte(error.start - shift), syntax.byte(error.end - shift)
    node = syntax.node_over(first, last)
    while node is not None and not node.is_error:
        node = node.parent if node.start_byte == first and node.end_byte == last else None
    if node is None:
        return []
    spans: list[tuple[int, int]] = []
    at = node.start_byte
    for child in node.children[:MAX_TOKENS]:
        spans += _text_between(syntax, at, child.start_byte)
        if _is_token(child):
            spans.append((child.start_byte, child.end_byte))
        at = child.end_byte
    spans += _text_between(syntax, at, node.end_byte)
    return [(syntax.point(low) + shift, syntax.point(high) + shift) for low, high in spans if low < high]


def _is_token(node: Node) -> bool:
    return node.child_count == 0 or (node.is_error and all(child.child_count == 0 for child in node.children))


def _text_between(syntax: Syntax, start: int, end: int) -> list[tuple[int, int]]:
    text = syntax.data[start:end]
    kept = text.strip()
    low = start + len(text) - len(text.lstrip())
    return [(low, low + len(kept))] if kept else []


def _touching(first: int, last: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The part of [first, last] inside of the fill; where there is none, the side of the fill it lies on."""
    if last < start:
        yield start, start
    elif first > end:
        yield end, end
    else:
        yield max(first, start), min(last, end)


def _refused(text: str, error: SyntaxError_, start: int, end: int) -> Iterator[tuple[int, int]]:
    words = error.missing
    inside = start <= error.start <= end
    if "indent" not in words:
        yield from _touching(error.start, max(error.end, error.start), start, end)
        return
    if words.startswith("expected") and not (inside and line_start(text, error.start) > start):
        yield end, end  # a header without its body
        return
    # The line's margin, as far as it was filled in; else the fill's last line, which the next one does not follow from.
    at = line_start(text, error.start if inside else end)
    code = at + len(text[at : line_end(text, at)]) - len(text[at : line_end(text, at)].lstrip())
    if at < start:
        yield start, start
    elif code > at:
        yield at, min(code, end)
    else:
        yield max(start, at - 1), at


def _unmatched(found: Checked, start: int, old_end: int, end: int) -> Iterator[tuple[int, int]]:
    """Brackets and quotes of the fill without a partner, and those that took the partner of one outside."""
    shift, syntax = found.shift, found.after
    low, high = start - shift, end - shift
    errors = unbalanced(found.before, syntax, low, old_end - shift, high)
    if not errors:
        return
    seen = balance(syntax.text, code_start(syntax, low), min(len(syntax.text), high + WINDOW), syntax.language)
    for error in errors:
        if low <= error.start < high:
            mine = [error.start]
        else:
            # A closer right of the fill lost its opener to a closer in the fill, or an opener left of it its closer to
            # an opener in the fill.
            inside = [(low <= one < high, low <= other < high, one, other) for one, other in seen.pairs.items()]
            mine = [one if within else other for within, partner, one, other in inside if within != partner]
        for at in mine:
            yield at + shift, at + 1 + shift
            if syntax.text[at] not in CLOSERS:
                yield end, end  # what closes it may go there


def _last_word(text: str, start: int, end: int) -> tuple[int, int]:
    """The last run without blanks of the fill."""
    kept = text[start:end].rstrip()
    if not kept:
        return end, end
    return start + len(kept) - len(kept.split()[-1]), start + len(kept)


def _apart(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    apart: list[tuple[int, int]] = []
    for first, last in sorted(set(ranges)):
        if apart and first < apart[-1][1]:
            apart[-1] = (apart[-1][0], max(last, apart[-1][1]))
        else:
            apart.append((first, last))
    return apart
