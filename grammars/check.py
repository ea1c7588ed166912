"""Whether an edit broke the code: the syntax errors in the text after it that were not there before.

Users' files are broken most of the time, and the place to fill most of all, so an error counts only when nothing in
the old text explains it. Error recovery differs between grammars and moves errors about: what is compared is whether
code that parsed no longer does, not the shape of trees. Knows nothing of models or spans.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from .compare import SyntaxError_, compare, gap_between, unexplained
from .cpython import refused
from .syntax import Syntax
from .window import LIMIT, Window, window

CHECK_SECONDS, MENDED_SECONDS = 0.0025, 0.0008
"""CPU seconds after which the second look at an edit of broken text is over, and what it is given at least."""


@dataclass(frozen=True)
class Checked:
    """errors: new ones, in order, in code points of the text after the edit. Found in `before` and `after`, pieces of
    the two texts or the whole of them: a position p of the text after is p - shift there."""

    errors: list[SyntaxError_]
    before: Syntax
    after: Syntax
    shift: int = 0


def new_errors(before: Syntax, after: Syntax, start: int, end: int) -> list[SyntaxError_]:
    """Errors in `after` that `before` does not explain, in order.

    `after` is `before` with one range replaced; `after.text[start:end]` is what stands there now (code points,
    clamped to the text). Without trees, brackets and quotes near the edit are compared instead. Never raises. In a
    large Python text only the statements around the edit are looked at (see `window`).
    """
    return checked(before, after, start, end).errors


def checked(before: Syntax, after: Syntax, start: int, end: int) -> Checked:
    """As `new_errors`, with what was looked at."""
    began = time.thread_time()
    if before.text == after.text:
        return Checked([], before, after)
    start, old_end, end = aligned(before, after, start, end)
    near = window(before, start, old_end) if end - start <= LIMIT else None
    if near is None:
        return Checked(compare(before, after, start, old_end, end), before, after)
    shift, cut = near.shift, near.syntax
    filled = after if cut is before else cut.edited(start - shift, old_end - shift, after.text[start:end])
    found = compare(cut, filled, start - shift, old_end - shift, end - shift)
    if found and cut is not before and _broken_beside(before.standing, near):
        left = MENDED_SECONDS if before.late else max(MENDED_SECONDS, CHECK_SECONDS - (time.thread_time() - began))
        found = [] if _mended(before, after, start, old_end, end, left) else found
    if not found and before.language.id == "python":
        found = _refused(cut, filled, start - shift, old_end - shift, end - shift)
    low, high = near.start, near.end + end - old_end
    errors = [
        replace(error, start=min(max(error.start + shift, low), high), end=min(max(error.end + shift, low), high))
        for error in found
    ]
    return Checked(errors, cut, filled, shift)


def _broken_beside(before: Syntax, near: Window) -> bool:
    """Whether an error of the old text crosses the window's borders or stands beside them."""
    low, high = before.byte(near.start), before.byte(near.end)
    return any(
        flaw.start < low < flaw.end + LIMIT or flaw.start - LIMIT < high < flaw.end or flaw.end == high
        for flaw in before.flaws
    )


def _mended(before: Syntax, after: Syntax, start: int, old_end: int, end: int, seconds: float) -> bool:
    """Whether the whole text with the edit has no new error, and no more of them: then the old text's breakage reached
    out of the window, and the edit ends it. A text that parses is quick to parse again; one that takes long is broken
    still."""
    old = before.standing.flaws
    if after.tree_within(seconds) is None or len(after.flaws) > len(old):
        return False
    return not after.flaws or not unexplained(old, after, gap_between(before, after, start, old_end, end))


def _refused(before: Syntax, after: Syntax, start: int, old_end: int, end: int) -> list[SyntaxError_]:
    """What the language's own compiler refuses of an edit that tree-sitter lets pass."""
    if after.tree is None or after.flaws:
        return []  # what tree-sitter refuses, but for an older reason, CPython refuses as well
    fill = after.text[start:end]
    found = refused(before.text, start, old_end, fill, waits="\n" not in fill)
    return [SyntaxError_(found.start, found.end, "refused", found.message)] if found else []


def aligned(before: Syntax, after: Syntax, start: int, end: int) -> tuple[int, int, int]:
    """(start, end of the range in `before`, end of the range in `after`), so that what follows both is as long."""
    growth = len(after.text) - len(before.text)
    start = min(max(start, 0), len(before.text), len(after.text))
    end = min(max(end, start, start + growth), len(after.text))
    return start, end - growth, end
