"""Drafts of the network's causal mode, and what it says about drafts.

`told` shows it what stands right of a gap; `greedy` lets it write on, mixed with the file's n-grams; `evidence` says
how well what comes after the gap follows from a draft. Knows nothing of canvases, files or syntax: it sees the ids it
is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..cache import KVCache
from ..network import Network
from .ngrams import MAX_ORDER, NO_NGRAMS, NGrams

CAUSAL, CANVAS = "causal", "canvas"
A_PASS = 24  # tokens that cost as much as a pass by itself


def told(network: Network, cache: KVCache, prefix_ids: Sequence[int], right: Sequence[int], offset: int) -> KVCache:
    """A copy of `cache`, which holds `prefix_ids`, that has seen what stands right of the gap as well, `right`.

    Fill-in-the-middle (arXiv 2207.14255) with the suffix in front of the gap, but at the positions it would have behind
    one of `offset` tokens: to the gap's tokens the prefix is where it always is. Only for a checkpoint taught so.
    """
    own = cache.fork(1, cache.length - 1)
    own.shift -= 1 + offset
    if right:
        network.encode(torch.tensor([right], device=network.device), own)
    own.shift += 1 + offset + len(right)
    network.encode(torch.tensor([prefix_ids[-1:]], device=network.device), own)
    return own


@dataclass(frozen=True)
class Start:
    """Behind what drafts are written: `cache` holds `prefix_ids` and is not changed; told: of the suffix as well.
    typed: text behind it that every draft begins with, because its ids may be other ones in a longer word."""

    cache: KVCache
    prefix_ids: Sequence[int]
    typed: str = ""
    told: bool = False


@dataclass(frozen=True)
class Writing:
    """Where a draft begins and how it goes on: as the causal mode, mixed with the n-grams.

    banned: ids [N] that no token may be. end_ids: tokens that end the draft. max_tokens: of a draft, its end included.
    give_up: polled at every token. barred: bool [V], True where the first token must not be.
    """

    network: Network
    start: Start
    ngrams: NGrams
    banned: Tensor
    end_ids: frozenset[int]
    max_tokens: int
    give_up: Callable[[], object]
    barred: Tensor | None = None

    def mixed(self, probs: Tensor, written: Sequence[int]) -> Tensor:
        """What follows `written` by the network's distribution [V] mixed with the n-grams'."""
        known = self.ngrams.after([*self.start.prefix_ids[-MAX_ORDER:], *written])
        if known.matched:
            probs = probs * (1 - known.weight)
            probs[torch.from_numpy(known.ids)] += known.weight * torch.from_numpy(known.shares).to(probs)
        return probs

    def likeliest(self, probs: Tensor, written: Sequence[int]) -> int:
        """The id most likely by that mixture, none that is barred."""
        probs = self.mixed(probs, written)
        if self.barred is not None and not written:
            probs = probs.masked_fill(self.barred.to(probs.device), -1.0)
        return int(probs.argmax())


def greedy(writing: Writing, opening: Sequence[int] = ()) -> tuple[list[int], bool]:
    """The likeliest token each time, behind the opening's ids; all of them, and whether they ended by themselves."""
    network, ids, cache = writing.network, list(opening), writing.start.cache
    context = [*writing.start.prefix_ids, *opening]
    own = cache.fork(1, cache.length - 1)  # the prefix' last token is read again, for what follows it
    if opening:
        network.encode(torch.tensor([context[-1 - len(ids) : -1]], device=network.device), own)
    while len(ids) < writing.max_tokens:
        if writing.give_up():
            return ids, False
        guess, n_known = writing.ngrams.foresee(context), own.length
        hidden = network.encode(torch.tensor([[context[-1], *guess]], device=network.device), own)[0]
        probs = torch.softmax(network.logits(hidden).index_fill_(1, writing.banned, -torch.inf), dim=1)
        for place, guessed in enumerate([*guess, -1]):
            id_ = writing.likeliest(probs[place], ids)
            if id_ in writing.end_ids:
                return ids, True
            ids.append(id_)
            context.append(id_)
            if id_ != guessed or len(ids) == writing.max_tokens:
                own.truncate(n_known + place + 1)
                break
    return ids, False


def evidence(
    network: Network,
    start: Start,
    gaps: Sequence[Sequence[int]],
    right: Sequence[int],
    ngrams: NGrams = NO_NGRAMS,
    beyond: NGrams = NO_NGRAMS,
) -> list[tuple[float, float]]:
    """Per gap: (sum of log p(right | prefix + gap), mean of log p(gap and right's first token | prefix)), in nats.

    Gaps go through the network side by side, long ones apart from short ones. ngrams, beyond: mixed with the network's
    distribution as in drafts, of the gap's tokens and of right's; the latter must not know `right` itself.
    """
    scores: dict[int, tuple[float, float]] = {}
    for part in _batches([len(gap) for gap in gaps], len(right)):
        found = _evidence(network, start, [gaps[i] for i in part], right, ngrams, beyond)
        scores |= zip(part, found, strict=True)
    return [scores[i] for i in range(len(gaps))]


def _batches(lengths: Sequence[int], n_right: int) -> list[list[int]]:
    """Places of the gaps in batches of about one length: what costs least, padding and passes counted together."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    cheapest: list[tuple[int, list[list[int]]]] = [(0, [])]  # for the first gaps of `order`, as many as its place says
    for end in range(1, len(order) + 1):
        width = lengths[order[end - 1]] + n_right + 1
        options = [
            (cost + A_PASS + (end - start) * width, [*batches, order[start:end]])
            for start, (cost, batches) in enumerate(cheapest)
        ]
        cheapest.append(min(options, key=lambda option: option[0]))
    return cheapest[-1][1]


def _evidence(
    network: Network,
    start: Start,
    gaps: Sequence[Sequence[int]],
    right: Sequence[int],
    ngrams: NGrams,
    beyond: NGrams,
) -> list[tuple[float, float]]:
    prefix_ids = start.prefix_ids
    rows = [[prefix_ids[-1], *gap, *right] for gap in gaps]
    width = max(len(row) for row in rows)
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=network.device)
    own = start.cache.fork(len(rows), start.cache.length - 1)
    hidden = network.encode(ids, own)
    scores = []
    for i, gap in enumerate(gaps):
        n = len(gap) + len(right)
        log_probs = torch.log_softmax(network.logits(hidden[i, :n]), dim=-1)
        picked = log_probs.gather(1, ids[i, 1 : n + 1, None]).squeeze(1).cpu()
        before = [*prefix_ids[-MAX_ORDER:], *gap]
        mixed = torch.cat(
            (
                _mixed(picked[: len(gap)], ngrams, prefix_ids[-MAX_ORDER:], gap),
                _mixed(picked[len(gap) :], beyond, before[-MAX_ORDER:], right),
            )
        )
        scores.append((float(mixed[len(gap) :].sum()), float(mixed[: len(gap) + 1].mean())))
    return scores


def _mixed(log_probs: Tensor, ngrams: NGrams, context: Sequence[int], ids: Sequence[int]) -> Tensor:
    """log p of `ids` behind the context, [len(ids)]: the network's, mixed with the n-grams' shares of them."""
    whole = [*context, *ids]
    known = [ngrams.after(whole[: len(context) + place]) for place in range(len(ids))]
    weights = torch.tensor([one.weight for one in known])
    shares = torch.tensor([one.share(id_) for one, id_ in zip(known, ids, strict=True)])
    return torch.logaddexp(log_probs + torch.log1p(-weights), torch.log(weights * shares))


def surprise(network: Network, cache: KVCache, prefix_ids: Sequence[int], ids: Sequence[int]) -> Tensor:
    """-log p of each of `ids` by the causal mode, given the prefix and those before it: [len(ids)], nats.

    cache: holds `prefix_ids`; not changed.
    """
    own = cache.fork(1, cache.length - 1)
    row = torch.tensor([[prefix_ids[-1], *ids]], device=network.device)
    log_probs = torch.log_softmax(network.logits(network.encode(row, own)[0, :-1]), dim=-1)
    return -log_probs.gather(1, row[0, 1:, None]).squeeze(1)
