"""A selected text in pieces that fit a gap, and their answers as one. Knows nothing of networks."""

from __future__ import annotations

from collections.abc import Callable

from ..denoise import CONVERGED
from ..request import Infill
from .gap import Check


def pieces(text: str, n_tokens: Callable[[str], int], most: int) -> list[str]:
    """`text` in order: stretches of whole lines of at most `most` tokens each, without the line breaks between them,
    which are pieces of their own; longer lines in halves."""
    found: list[str] = []
    open_piece, room = False, 0
    for line in text.split("\n"):
        if found:
            found.append("\n")
        parts = halved(line, n_tokens, most)
        size = sum(map(n_tokens, parts)) + 1
        if open_piece and len(parts) == 1 and size <= room:
            break_, before = found.pop(), found.pop()
            parts, room = [before + break_ + parts[0]], room - size
        else:
            room = most - size
        found += parts
        open_piece = len(parts) == 1
    return [piece for piece in found if piece]


def halved(line: str, n_tokens: Callable[[str], int], most: int) -> list[str]:
    if n_tokens(line) <= most or len(line) < 2:
        return [line]
    middle = line.rfind(" ", 1, len(line) // 2 + 1)
    middle = middle if middle > len(line) // 4 else len(line) // 2
    return halved(line[:middle], n_tokens, most) + halved(line[middle:], n_tokens, most)


def joined(parts: list[Infill], timings: dict[str, float]) -> Infill:
    """Pieces of one selection as one answer; as sure as the least sure of them, and ended as the last that did not
    converge."""
    if len(parts) == 1:
        return parts[0]
    return Infill(
        text="".join(one.text for one in parts),
        tokens=tuple(id_ for one in parts for id_ in one.tokens),
        entropies=tuple(entropy for one in parts for entropy in one.entropies),
        steps=sum(one.steps for one in parts),
        stop=next((one.stop for one in reversed(parts) if one.stop != CONVERGED), CONVERGED),
        timings=timings,
        confidence=min(one.confidence for one in parts),
        source="+".join(sorted({source for one in parts for source in one.source.split("+") if source})),
    )


def within(check: Check | None, before: str, after: str) -> Check | None:
    """A check of a whole selection as one of a piece of it, between `before` and `after`."""
    if check is None:
        return None

    def of_piece(text: str) -> list[tuple[int, int]]:
        at, n = len(before), len(text)
        found = [(start - at, end - at) for start, end in check(before + text + after)]
        return [(max(start, 0), min(end, n)) for start, end in found if end >= 0 and start <= n]

    return of_piece
