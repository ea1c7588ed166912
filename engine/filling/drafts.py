"""Drafts of the network's causal mode, and what it says about drafts.

`causal` lets it write on, mixed with the file's n-grams; `evidence` says how well what stands right of the gap follows
from a draft. Knows nothing of canvases, files or syntax: it sees the ids it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..cache import KVCache
from ..network import Network
from .ngrams import Followers, NGrams

CAUSAL, CANVAS = "causal", "canvas"


def causal(
    network: Network,
    cache: KVCache,
    prefix_ids: Sequence[int],
    ngrams: NGrams,
    banned: Tensor,
    end_ids: frozenset[int],
    max_tokens: int,
    give_up: Callable[[], object],
    barred: Tensor | None = None,
    opening: Sequence[int] = (),
) -> tuple[list[int], bool]:
    """Greedy continuation of the prefix by the causal mode mixed with n-grams.

    cache: holds `prefix_ids`; not changed. end_ids: tokens that end the draft (line breaks, for one line).
    barred: bool [V], True where the first token must not be. opening: what the draft begins with. Returns the ids,
    those of the opening among them, and whether they ended by themselves; give_up is polled at every token.
    """
    own = cache.fork(1, cache.length - 1)
    context, ids = [*prefix_ids, *opening], list(opening)
    if opening:
        network.encode(torch.tensor([context[len(prefix_ids) - 1 : -1]], device=network.device), own)
    while len(ids) < max_tokens:
        if give_up():
            return ids, False
        guess = ngrams.foresee(context)
        n_known = own.length
        hidden = network.encode(torch.tensor([[context[-1], *guess]], device=network.device), own)[0]
        probs = torch.softmax(network.logits(hidden).index_fill_(1, banned, -torch.inf), dim=1)
        for place, guessed in enumerate([*guess, -1]):
            id_ = _likeliest(probs[place], ngrams.after(context), None if ids else barred)
            if id_ in end_ids:
                return ids, True
            ids.append(id_)
            context.append(id_)
            if id_ != guessed or len(ids) == max_tokens:
                own.truncate(n_known + place + 1)
                break
    return ids, False


def _likeliest(probs: Tensor, known: Followers, barred: Tensor | None = None) -> int:
    """Argmax of the network's distribution [V] mixed with the n-grams', over what is not barred."""
    if known.matched:
        probs = probs * (1 - known.weight)
        probs[torch.from_numpy(known.ids)] += known.weight * torch.from_numpy(known.shares).to(probs)
    if barred is not None:
        probs = probs.masked_fill(barred.to(probs.device), -1.0)
    return int(probs.argmax())


def evidence(
    network: Network, cache: KVCache, prefix_ids: Sequence[int], gaps: Sequence[Sequence[int]], right: Sequence[int]
) -> list[tuple[float, float]]:
    """Per gap: (sum of log p(right | prefix + gap), mean of log p(gap and right's first token | prefix)), in nats.

    cache: holds `prefix_ids`; not changed. All gaps go through the network as one batch.
    """
    rows = [[prefix_ids[-1], *gap, *right] for gap in gaps]
    width = max(len(row) for row in rows)
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=network.device)
    own = cache.fork(len(rows), cache.length - 1)
    hidden = network.encode(ids, own)
    scores = []
    for i, gap in enumerate(gaps):
        n = len(gap) + len(right)
        log_probs = torch.log_softmax(network.logits(hidden[i, :n]), dim=-1)
        picked = log_probs.gather(1, ids[i, 1 : n + 1, None]).squeeze(1)
        scores.append((float(picked[len(gap) :].sum()), float(picked[: len(gap) + 1].mean())))
    return scores


def surprise(network: Network, cache: KVCache, prefix_ids: Sequence[int], ids: Sequence[int]) -> Tensor:
    """-log p of each of `ids` by the causal mode, given the prefix and those before it: [len(ids)], nats.

    cache: holds `prefix_ids`; not changed.
    """
    own = cache.fork(1, cache.length - 1)
    row = torch.tensor([[prefix_ids[-1], *ids]], device=network.device)
    log_probs = torch.log_softmax(network.logits(network.encode(row, own)[0, :-1]), dim=-1)
    return -log_probs.gather(1, row[0, 1:, None]).squeeze(1)
