"""N-grams: what followed the last few tokens elsewhere, in the file around the gap and in a library.

The file's own are found by a scan, never stale; a library's by an index of which token stands where. Knows nothing of
networks or text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_ORDER = 6
SURE_ORDER = 2  # tokens of context that must match before the n-grams guess ahead
GUESS = 6
# Weight of the file's n-gram against the network, by how many tokens of context match (index 0: none); of five
# scales tried on the tune packages this one gave most exact lines.
ORDER_WEIGHT = (0.0, 0.02, 0.1, 0.18, 0.25, 0.3, 0.35)
LIBRARY_ORDER = 2  # tokens of context that must match before a library is heard
LIBRARY_WEIGHT = 0.7  # of a library's n-gram, as a share of the file's own weight


@dataclass(frozen=True)
class Followers:
    """ids [N] and their shares [N], summing to 1, of what followed the longest match of a context's end; matched: its
    length in tokens, 0 where there is none; weight: of these shares against the network's, 0..1."""

    ids: np.ndarray
    shares: np.ndarray
    matched: int
    weight: float


NOTHING = Followers(np.empty(0, np.int64), np.empty(0), 0, 0.0)


class Index:
    """Where each token stands in an array of ids [N]; negative ids are gaps: they match nothing and follow nothing."""

    def __init__(self, ids: np.ndarray) -> None:
        self.ids = ids
        self._order = np.argsort(ids, kind="stable")
        self._sorted = ids[self._order]

    def behind(self, id_: int) -> np.ndarray:
        """Places of the tokens right behind each `id_`, in order."""
        first, last = np.searchsorted(self._sorted, (id_, id_ + 1))
        places = self._order[first:last] + 1
        return places[places < len(self.ids)]


class NGrams:
    """Of a file, and of a library where there is one. Matches longer than MAX_ORDER count as MAX_ORDER."""

    def __init__(self, file_ids: np.ndarray, library: Index | None = None) -> None:
        self._file_ids, self._library = file_ids, library
        self._places = np.flatnonzero(file_ids >= 0)
        self._known: dict[tuple[int, ...], Followers] = {}

    def after(self, context: Sequence[int]) -> Followers:
        """What followed the longest match of the context's end: in the library only where that is longer there."""
        end = tuple(context[-MAX_ORDER:])
        if end not in self._known:
            self._known[end] = self._after(end)
        return self._known[end]

    def _after(self, context: Sequence[int]) -> Followers:
        own = _followers(self._file_ids, self._places, context, 0, 1.0)
        if self._library is None or own.matched == MAX_ORDER or not context:
            return own
        ids, places = self._library.ids, self._library.behind(context[-1])
        other = _followers(ids, places[ids[places] >= 0], context, 1, LIBRARY_WEIGHT)
        return other if other.matched > max(own.matched, LIBRARY_ORDER - 1) else own

    def foresee(self, context: Sequence[int]) -> list[int]:
        """What the n-grams alone would write next, while they are fairly sure; at most GUESS tokens.

        Guesses are checked all at once by one pass of the network and cost nothing when wrong, so the draft is the same
        with and without them (speculative decoding, arXiv 2211.17192, in its greedy form), only sooner.
        """
        longer = list(context[-MAX_ORDER:])
        guess: list[int] = []
        while len(guess) < GUESS:
            found = self.after(longer[-MAX_ORDER:])
            if found.matched < SURE_ORDER:
                break
            guess.append(int(found.ids[found.shares.argmax()]))
            longer.append(guess[-1])
        return guess


def _followers(ids: np.ndarray, places: np.ndarray, context: Sequence[int], matched: int, scale: float) -> Followers:
    """places: of ids that are no gap, behind the last `matched` tokens of the context."""
    if len(places) == 0:
        return NOTHING
    for back in range(matched + 1, min(MAX_ORDER, len(context)) + 1):
        narrower = places[places >= back]
        narrower = narrower[ids[narrower - back] == context[-back]]
        if len(narrower) == 0:
            break
        places, matched = narrower, back
    if matched == 0:
        return NOTHING
    found, counts = np.unique(ids[places], return_counts=True)
    return Followers(found, counts / counts.sum(), matched, scale * ORDER_WEIGHT[matched])
