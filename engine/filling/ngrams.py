"""N-grams: what followed the last few tokens elsewhere in the file around the gap.

No table is kept: a scan of a few thousand ids takes microseconds and is never stale. Those of other files are left out:
with any of seven weights they made at most one causal draft in two hundred more right, as often one less, and cost the
tokenizing of all that text. Knows nothing of networks or text.
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


@dataclass(frozen=True)
class Followers:
    """ids [N] and their shares [N], summing to 1, of what followed the longest match of a context's end; matched: its
    length in tokens, 0 where there is none; weight: of these shares against the network's, 0..1."""

    ids: np.ndarray
    shares: np.ndarray
    matched: int
    weight: float

    def share(self, id_: int) -> float:
        """Of one id, 0..1; 0 where it never followed."""
        return float(self.shares[self.ids == id_].sum())


NOTHING = Followers(np.empty(0, np.int64), np.empty(0), 0, 0.0)


class NGrams:
    """Of an array of ids [N]; negative ones are gaps: they match nothing and follow nothing. Matches longer than
    MAX_ORDER count as MAX_ORDER."""

    def __init__(self, file_ids: np.ndarray) -> None:
        self._file_ids = file_ids
        self._places = np.flatnonzero(file_ids >= 0)
        self._known: dict[tuple[int, ...], Followers] = {}

    def after(self, context: Sequence[int]) -> Followers:
        """What followed the longest match of the context's end."""
        end = tuple(context[-MAX_ORDER:])
        if end not in self._known:
            self._known[end] = _followers(self._file_ids, self._places, end)
        return self._known[end]

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


def _followers(ids: np.ndarray, places: np.ndarray, context: Sequence[int]) -> Followers:
    """places: of the ids that are no gap."""
    matched = 0
    for back, id_ in enumerate(reversed(context), start=1):
        narrower = places[places >= back]
        narrower = narrower[ids[narrower - back] == id_]
        if len(narrower) == 0:
            break
        places, matched = narrower, back
    if matched == 0:
        return NOTHING
    found, counts = np.unique(ids[places], return_counts=True)
    return Followers(found, counts / counts.sum(), matched, ORDER_WEIGHT[matched])


NO_NGRAMS = NGrams(np.empty(0, np.int64))
