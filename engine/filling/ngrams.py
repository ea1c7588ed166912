"""N-grams: what followed the last few tokens elsewhere in the file around the gap.

Ever longer ends of a context are looked for; what followed each is mixed with what followed the shorter ones, and all
of it with what the network says (interpolation, Jelinek and Mercer 1980; the network stands where they have a uniform
distribution). Nothing is counted ahead: places are found by a search in sorted ids, so the counts are never stale.
N-grams of other files are left out: they would make tokens likelier by .015 nats in Python, .024 in Rust and .056 in
Go, where the file's own do by .41, .73 and .55, and cost the tokenizing and sorting of five times as much text at every
gap. Knows nothing of networks or text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_ORDER = 12
SURE_ORDER = 2  # tokens of context that must match before the n-grams guess ahead
GUESS = 6
GAP, END = -1, -2  # among ids: what matches nothing; behind a context, what matches not even that
BACK = np.arange(1, MAX_ORDER + 2)
# Log-odds of what followed an end of the context against all that is said without it: by its tokens, the places where
# it stands, and the kinds of followers per place. Fitted on the tune packages; `training/fit_ngrams.py` does it again.
BIAS, BY_ORDER, BY_PLACES, BY_VARIETY = 0.88, 0.81, -0.74, -2.97


@dataclass(frozen=True)
class Followers:
    """What may follow a context: ids [N] and their shares [N], summing to 1; matched: tokens of the longest match, 0
    where there is none; weight: of these shares against the network's, 0..1."""

    ids: np.ndarray
    shares: np.ndarray
    matched: int
    weight: float

    def share(self, id_: int) -> float:
        """Of one id, 0..1; 0 where it never followed."""
        return float(self.shares[self.ids == id_].sum())


@dataclass(frozen=True)
class Matches:
    """Where ends of a context stand. orders: tokens of each [M], ascending, the longest of those that stand at the same
    places; ids: all that followed one of them [N], ascending; counts: how often, [M, N]."""

    orders: np.ndarray
    ids: np.ndarray
    counts: np.ndarray

    def followers(self) -> Followers:
        """By all matches, the longer ones' word counting before the shorter ones'."""
        if not len(self.orders):
            return NOTHING
        n_places, n_kinds = self.counts.sum(1).tolist(), (self.counts > 0).sum(1).tolist()
        parts, left = [0.0] * len(n_places), 1.0
        for at, order in reversed(list(enumerate(self.orders.tolist()))):  # a few numbers: faster than as arrays
            odds = BIAS + BY_ORDER * math.log(order) + BY_PLACES * math.log(n_places[at])
            own = 1 / (1 + math.exp(-odds - BY_VARIETY * n_kinds[at] / n_places[at]))
            parts[at] = left * own / n_places[at]
            left *= 1 - own
        return Followers(self.ids, np.array(parts) @ self.counts / (1 - left), int(self.orders[-1]), 1 - left)


NOWHERE = Matches(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 0), np.int64))
NOTHING = Followers(np.empty(0, np.int64), np.empty(0), 0, 0.0)


class NGrams:
    """Of an array of ids [N]; negative ones are gaps: they match nothing and follow nothing. Matches longer than
    MAX_ORDER count as MAX_ORDER."""

    def __init__(self, file_ids: np.ndarray) -> None:
        # Every place has so many ids in front of it as the longest match, and one more, where the search ends.
        self._ids = np.concatenate((np.full(MAX_ORDER + 1, GAP), np.maximum(file_ids, GAP)))
        places = np.flatnonzero(self._ids >= 0)
        self._places = places[np.lexsort((self._ids[places], self._ids[places - 1]))]  # by the id in front, then by id
        self._in_front, self._following = self._ids[self._places - 1], self._ids[self._places]
        self._known: dict[tuple[int, ...], Followers] = {}

    def after(self, context: Sequence[int]) -> Followers:
        """What may follow the context."""
        end = tuple(context[-MAX_ORDER:])
        if end not in self._known:
            self._known[end] = self.matches(end).followers()
        return self._known[end]

    def matches(self, context: Sequence[int]) -> Matches:
        """Of at most MAX_ORDER ids."""
        first, last = self._in_front.searchsorted((context[-1], context[-1] + 1)) if context else (0, 0)
        if first == last:
            return NOWHERE
        wanted = np.array((*reversed(context), END))
        places = self._places[first:last]
        matched = np.ones(len(places), np.int64)  # tokens of the context in front of each place
        longer = np.flatnonzero(self._ids[places - 2] == wanted[1])  # few of them
        matched[longer] = (self._ids[places[longer, None] - BACK[: len(wanted)]] == wanted).argmin(1)
        following = self._following[first:last]
        is_new = np.append(True, following[1:] != following[:-1])
        ids, which = following[is_new], is_new.cumsum() - 1
        orders = np.flatnonzero(np.bincount(matched))
        at = orders.searchsorted(matched) * len(ids) + which
        exactly = np.bincount(at, minlength=len(orders) * len(ids)).reshape(len(orders), len(ids))
        return Matches(orders, ids, exactly[::-1].cumsum(0)[::-1])

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


NO_NGRAMS = NGrams(np.empty(0, np.int64))
