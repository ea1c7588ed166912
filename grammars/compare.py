"""The errors of one text set against those of another that differs in one place.

Error recovery moves errors about, so they are not compared as they stand: an error counts unless something in the old
text explains it. Works on whole trees; which texts those are trees of is `check`'s. Knows nothing of models or spans.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, replace

from .balance import WINDOW, balance
from .prose import code_start
from .syntax import Flaw, Syntax

PLACEHOLDERS = ("x", ";", "x;")
"""What is tried in the gap of a text broken around it: an expression, a member or statement, both."""

MAX_REACH = 4096
"""Bytes beyond the gap up to which stand-ins are tried."""

_FAR = 1 << 62


@dataclass(frozen=True)
class SyntaxError_:  # noqa: N801 - the trailing underscore keeps the builtin's name free
    """One new error: code points of the text after the edit."""

    start: int
    end: int
    kind: (
        str  # "error": text that does not parse; "missing": a token that is not there; "unbalanced": bracket or quote;
    )
    # "refused": the language's own compiler does not accept it
    missing: str = (
        ""  # the node the grammar expected at `start`, for kind "missing"; the compiler's words for "refused"
    )


@dataclass(frozen=True)
class Gap:
    """What differs between two texts: bytes [start, end) of the one, [start, new_end) of the other.

    `left` and `right` are the blank bytes on either side: a parser puts a MISSING node before them or after.
    """

    start: int
    end: int
    new_end: int
    left: int
    right: int

    def beside(self, flaws: tuple[Flaw, ...]) -> list[Flaw]:
        """Those of the one text's flaws that touch the gap, blanks aside."""
        return [f for f in flaws if f.start <= self.end + self.right and f.end >= self.start - self.left]

    def filled(self, flaw: Flaw) -> bool:
        """Whether a flaw of the other text touches what was filled in, blanks aside."""
        return flaw.start <= self.new_end + self.right and flaw.end >= self.start - self.left

    def twin(self, flaw: Flaw) -> Flaw:
        """A flaw of the other text where it would stand in the one."""
        moved = self.new_end - self.end if flaw.start >= self.new_end else 0
        return Flaw(flaw.start - moved, flaw.end - moved, flaw.missing)

    def reach(self, flaw: Flaw, end: int) -> tuple[int, int]:
        """The bytes a flaw covers before the gap and after `end`, blanks beside the gap aside."""
        return max(0, self.start - self.left - flaw.start), max(0, flaw.end - self.right - end)


def compare(before: Syntax, after: Syntax, start: int, old_end: int, end: int) -> list[SyntaxError_]:
    """Errors in `after`, which is `before` with [start, old_end) replaced by what stands in [start, end) there (code
    points), that `before` does not explain. Without trees, brackets and quotes near the edit are compared."""
    if before.tree is not None and after.tree is None and not before.flaws and start < end:
        # A whole text parsed in time, and with the fill it was given up: only a search for recovery costs that.
        return [SyntaxError_(start, end, "error")]
    if before.tree is None or after.tree is None:
        return unbalanced(before, after, start, old_end, end)
    if not after.flaws:
        return []
    gap = gap_between(before, after, start, old_end, end)
    found = unexplained(before.flaws, after, gap)
    if not gap.beside(before.flaws):
        return [_error(after, flaw) for flaw in found]
    errors = _at_broken_gap(before, after, start, old_end, end, gap, found)
    if not errors and len(after.flaws) > len(before.flaws):
        # However each of them is explained: the fill left the text in more pieces than it found it.
        touching = [_error(after, flaw) for flaw in after.flaws if gap.filled(flaw)]
        errors = touching or [SyntaxError_(start, end, "error")]
    return errors


def _at_broken_gap(
    before: Syntax, after: Syntax, start: int, old_end: int, end: int, gap: Gap, found: list[Flaw]
) -> list[SyntaxError_]:
    """The new errors of a text that was broken at the gap itself, mostly for want of what was filled in. What is left
    of that once anything at all stands there is the breakage the fill may keep."""
    if not any(map(gap.filled, after.flaws)):
        return [_error(after, flaw) for flaw in found]
    base, stand_in = _least_broken(before, start, old_end, gap)
    base_gap = replace(gap, end=stand_in)
    strict = unexplained(base.flaws, after, base_gap)
    errors = [_error(after, flaw) for flaw in strict if gap.filled(flaw) or flaw in found]
    if not errors and base_gap.beside(base.flaws):
        # An ERROR around the gap hides what happens inside it.
        return unbalanced(before, after, start, old_end, end)
    return errors


def gap_between(before: Syntax, after: Syntax, start: int, old_end: int, end: int) -> Gap:
    first, last = before.byte(start), before.byte(old_end)
    behind, ahead = before.data[max(0, first - WINDOW) : first], before.data[last : last + WINDOW]
    left, right = len(behind) - len(behind.rstrip()), len(ahead) - len(ahead.lstrip())
    return Gap(first, last, after.byte(end), left, right)


def _error(syntax: Syntax, flaw: Flaw) -> SyntaxError_:
    kind = "missing" if flaw.missing else "error"
    return SyntaxError_(syntax.point(flaw.start), syntax.point(flaw.end), kind, flaw.missing)


def unexplained(old: tuple[Flaw, ...], after: Syntax, gap: Gap) -> list[Flaw]:
    """Flaws of the new text with no counterpart in the old one.

    Away from the gap, a flaw is explained by the same one or by an ERROR over the same text. At the gap, each needs
    an old one of its own that reached at least as far on both sides, and none explains an ERROR within the filled
    text. A MISSING node may have moved, but not into the filled text: one of the same kind that is gone from elsewhere
    explains it.
    """
    same = set(old)
    broken = _merged([(flaw.start, flaw.end) for flaw in old if not flaw.missing])
    beside = gap.beside(old)
    left_over: list[Flaw] = []
    for flaw in after.flaws:
        twin = gap.twin(flaw)
        if not gap.filled(flaw):
            i = bisect_right(broken, (twin.start, _FAR)) - 1
            explained = twin in same or (i >= 0 and twin.end <= broken[i][1])
            match = twin if twin in same else None
        else:
            match = _match(flaw, beside, gap)
            explained = match is not None
        if match is not None:
            same.discard(match)
            if match in beside:
                beside.remove(match)
        if not explained:
            left_over.append(flaw)
    gone = Counter(flaw.missing for flaw in same if flaw.missing)
    found: list[Flaw] = []
    for flaw in left_over:
        if flaw.missing and gone[flaw.missing] > 0 and not gap.start < flaw.start < gap.new_end:
            gone[flaw.missing] -= 1
        else:
            found.append(flaw)
    return found


def _match(flaw: Flaw, beside: list[Flaw], gap: Gap) -> Flaw | None:
    within = gap.start <= flaw.start < flaw.end <= gap.new_end or (
        flaw.start == flaw.end and gap.start < flaw.start < gap.new_end
    )
    if within:
        return None
    left, right = gap.reach(flaw, gap.new_end)
    for old in beside:
        old_left, old_right = gap.reach(old, gap.end)
        if old.missing in ("", flaw.missing) and old_left >= left and old_right >= right:
            return old
    return None


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _least_broken(before: Syntax, start: int, old_end: int, gap: Gap) -> tuple[Syntax, int]:
    """`before` with that stand-in for the fill (or none) which leaves the least broken beside it, and the byte where
    the stand-in ends. Breakage that reaches far is not the want of a fill, and costly to parse again. Found once for
    all fills of a gap."""
    known = before.__dict__.setdefault("_stand_ins", {})
    if (start, old_end) not in known:
        known[start, old_end] = _stand_in(before, start, old_end, gap)
    return known[start, old_end]


def _stand_in(before: Syntax, start: int, old_end: int, gap: Gap) -> tuple[Syntax, int]:
    least, base, base_end = _extent(before, gap), before, gap.end
    for placeholder in PLACEHOLDERS[:1] if before.language.indented else PLACEHOLDERS:
        if least == (0, 0) or least[1] > MAX_REACH:
            break
        tried = before.edited(start, old_end, placeholder)
        end = gap.start + len(placeholder)
        extent = _extent(tried, replace(gap, end=end))
        if tried.tree is not None and extent < least:
            least, base, base_end = extent, tried, end
    return base, base_end


def _extent(syntax: Syntax, gap: Gap) -> tuple[int, int]:
    """How much is broken beside the gap: the number of flaws, and the bytes they reach beyond it."""
    flaws = gap.beside(syntax.flaws)
    return len(flaws), sum(sum(gap.reach(flaw, gap.end)) for flaw in flaws)


def unbalanced(before: Syntax, after: Syntax, start: int, old_end: int, end: int) -> list[SyntaxError_]:
    """Brackets and quotes near the edit that are unmatched now and were not before."""
    first = code_start(before, start)
    old = _unmatched(before, first, min(len(before.text), old_end + WINDOW))
    new = _unmatched(after, first, min(len(after.text), end + WINDOW))
    growth = end - old_end
    explained = {at if at < start else at + growth for at in old if at < start or at >= old_end}
    return [SyntaxError_(at, at + 1, "unbalanced") for at in new if at not in explained]


def _unmatched(syntax: Syntax, start: int, end: int) -> list[int]:
    seen = balance(syntax.text, start, end, syntax.language)
    return sorted((*seen.open, *seen.strays))
