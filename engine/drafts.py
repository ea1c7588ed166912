"""Drafts: what a gap's text might be before any denoising.

Code repeats itself. `copies` takes text from elsewhere in the file where the surroundings match; `causal` lets the
network's causal mode write on, mixed with the n-grams of the file. `evidence` says how well what stands right of the
gap follows from a draft. Knows nothing of canvases, files or syntax: it sees the text it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .cache import KVCache
from .network import Network

COPY, CAUSAL, CANVAS = "copy", "causal", "canvas"

REACH = 20_000  # characters on either side of the gap in which copies are looked for
LONGEST_MATCH = 120  # characters of context that count
SHORTEST_MATCH = 3
MAX_ORDER = 6
SURE_ORDER = 2  # tokens of context that must match before the file's n-grams guess ahead
GUESS = 6
# Weight of the file's n-gram against the network, by how many tokens of context match (index 0: none).
ORDER_WEIGHT = (0.0, 0.05, 0.2, 0.35, 0.5, 0.6, 0.7)


@dataclass(frozen=True)
class Draft:
    """text: of the gap. match: characters of context that agree (copies only)."""

    text: str
    source: str
    match: int = 0


def copies(prefix: str, suffix: str, single_line: bool, limit: int = 4) -> list[Draft]:
    """Continuations of other places in the text that look like the gap's left side, best match first.

    A place matches by the characters before it, the indentation of the current line left out; what follows it up to
    the end of its line is the draft. A place whose next line also is the gap's next line counts as a longer match.
    Drafts of several lines end where the text right of the gap begins again.
    """
    text = prefix[-REACH:]
    after = suffix[:REACH]
    line_start = text.rfind("\n") + 1
    head = text[line_start:].lstrip()
    before = text[:line_start].rstrip()
    key = head[-LONGEST_MATCH:] if head.strip() else before[before.rfind("\n") + 1 :].strip()
    if len(key) < SHORTEST_MATCH:
        return []
    tail = after.split("\n", 1)[0]
    follow = _first_line(after[len(tail) :])
    found: dict[str, int] = {}
    for body in (text[: -len(head)] if head else text, after):
        for draft, match in _places(body, head, key, before, follow, tail, single_line):
            found[draft] = max(found.get(draft, 0), match)
    ranked = sorted(found.items(), key=lambda item: -item[1])
    return [Draft(draft, COPY, match) for draft, match in ranked[:limit]]


def _places(
    body: str, head: str, key: str, before: str, follow: str, tail: str, single_line: bool
) -> list[tuple[str, int]]:
    """(draft, match) for every place in `body` that continues `key`, shortening the key until something is found."""
    while len(key) >= SHORTEST_MATCH:
        places: list[tuple[str, int]] = []
        at = body.rfind(key)
        while at >= 0 and len(places) < 40:
            end = at + len(key)
            line_end = body.find("\n", end)
            line_end = len(body) if line_end < 0 else line_end
            if not head.strip():  # a whole line is missing: take the line after the one that matches
                if body[end:line_end].strip() or body[body.rfind("\n", 0, at) + 1 : at].strip():
                    at = body.rfind(key, 0, at)
                    continue
                end = line_end + 1
                line_end = body.find("\n", end)
                line_end = len(body) if line_end < 0 else line_end
                end += len(body[end:line_end]) - len(body[end:line_end].lstrip())
            draft = body[end:line_end].rstrip()
            if tail.strip() and draft.endswith(tail.strip()):
                draft = draft[: -len(tail.strip())]
            match = len(key) + _agree(body[:at].rstrip(), before)
            if follow and _first_line(body[line_end:]) == follow:
                match += len(follow)
            if draft.strip() and (single_line is False or "\n" not in draft):
                places.append((draft, match))
            at = body.rfind(key, 0, at)
        if places or not head.strip():
            return places
        key = key[max(1, len(key) // 4) :]
    return []


def _first_line(text: str) -> str:
    return text.lstrip().split("\n", 1)[0].strip()


def _agree(a: str, b: str) -> int:
    """Characters by which the ends of `a` and `b` agree, up to LONGEST_MATCH."""
    n = 0
    for x, y in zip(reversed(a[-LONGEST_MATCH:]), reversed(b[-LONGEST_MATCH:]), strict=False):
        if x != y:
            break
        n += 1
    return n


def ngram(file_ids: np.ndarray, context: Sequence[int]) -> tuple[np.ndarray, np.ndarray, int]:
    """What followed the longest match of the context's end in `file_ids`: (ids, their shares, tokens that matched).

    Negative ids are gaps: they match nothing and follow nothing. Matches longer than MAX_ORDER count as MAX_ORDER. No
    table is kept: a scan of a few thousand ids takes microseconds and is never stale.
    """
    places = np.flatnonzero(file_ids >= 0)
    matched = 0
    for back, id_ in enumerate(reversed(context[-MAX_ORDER:]), start=1):
        narrower = places[places >= back]
        narrower = narrower[file_ids[narrower - back] == id_]
        if len(narrower) == 0:
            break
        places, matched = narrower, back
    if matched == 0:
        return np.empty(0, np.int64), np.empty(0), 0
    ids, counts = np.unique(file_ids[places], return_counts=True)
    return ids, counts / counts.sum(), matched


def causal(
    network: Network,
    cache: KVCache,
    prefix_ids: Sequence[int],
    file_ids: np.ndarray,
    banned: Tensor,
    end_ids: frozenset[int],
    max_tokens: int,
    give_up: Callable[[], object],
) -> tuple[list[int], bool]:
    """Greedy continuation of the prefix by the causal mode mixed with the file's n-grams.

    cache: holds `prefix_ids`; not changed. end_ids: tokens that end the draft (line breaks, for one line).
    Returns the ids and whether they ended by themselves; give_up is polled at every token.
    """
    own = cache.fork(1, cache.length - 1)
    context = list(prefix_ids)
    ids: list[int] = []
    while len(ids) < max_tokens:
        if give_up():
            return ids, False
        guess = foresee(file_ids, context)
        n_known = own.length
        hidden = network.encode(torch.tensor([[context[-1], *guess]], device=network.device), own)[0]
        probs = torch.softmax(network.logits(hidden).index_fill_(1, banned, -torch.inf), dim=1)
        for place, guessed in enumerate([*guess, -1]):
            id_ = _likeliest(probs[place], *ngram(file_ids, context))
            if id_ in end_ids:
                return ids, True
            ids.append(id_)
            context.append(id_)
            if id_ != guessed or len(ids) == max_tokens:
                own.truncate(n_known + place + 1)
                break
    return ids, False


def foresee(file_ids: np.ndarray, context: Sequence[int]) -> list[int]:
    """What the file's n-grams alone would write next, while they are fairly sure; at most GUESS tokens.

    Guesses are checked all at once by one pass of the network and cost nothing when wrong, so the draft is the same
    with and without them (speculative decoding, arXiv 2211.17192, in its greedy form), only sooner.
    """
    longer = list(context[-MAX_ORDER:])
    guess: list[int] = []
    while len(guess) < GUESS:
        followers, shares, matched = ngram(file_ids, longer[-MAX_ORDER:])
        if matched < SURE_ORDER:
            break
        guess.append(int(followers[shares.argmax()]))
        longer.append(guess[-1])
    return guess


def _likeliest(probs: Tensor, followers: np.ndarray, shares: np.ndarray, matched: int) -> int:
    """Argmax of the network's distribution [V] mixed with the n-gram's."""
    if matched:
        weight = ORDER_WEIGHT[matched]
        probs = probs * (1 - weight)
        probs[torch.from_numpy(followers)] += weight * torch.from_numpy(shares).to(probs)
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
