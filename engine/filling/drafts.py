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

from ..cache import KVCache
from ..network import Network

COPY, CAUSAL, CANVAS = "copy", "causal", "canvas"

REACH = 20_000  # characters on either side of the gap in which copies are looked for
LONGEST_MATCH = 120  # characters of context that count
SHORTEST_MATCH = 3
SHARED_LINES = 3  # lines above and below a whole line that are compared
MOST_PLACES = 40  # places looked at per side
MAX_ORDER = 6
SURE_ORDER = 2  # tokens of context that must match before the file's n-grams guess ahead
GUESS = 6
# Weight of the file's n-gram against the network, by how many tokens of context match (index 0: none); of five
# scales tried on the tune packages this one gave most exact lines.
ORDER_WEIGHT = (0.0, 0.02, 0.1, 0.18, 0.25, 0.3, 0.35)


@dataclass(frozen=True)
class Draft:
    """text: of the gap. match: characters of context that agree (copies only)."""

    text: str
    source: str
    match: int = 0


def copies(prefix: str, suffix: str, limit: int = 4) -> list[Draft]:
    """Text of other places in the file whose surroundings are the gap's, best match first.

    Where a line is begun: what follows the same beginning elsewhere, up to the end of that line. Where a whole line is
    missing: lines that stand elsewhere below the same line, or above it. Lines are compared without their indentation,
    matches counted in characters.
    """
    before, after = prefix[-REACH:], suffix[:REACH]
    line_start = before.rfind("\n") + 1
    head, tail = before[line_start:].lstrip(), after.split("\n", 1)[0].strip()
    above, below = _lines(before[:line_start]), _lines(after[len(after.split("\n", 1)[0]) :])
    if not head:
        margin = "" if before[line_start:] else _margin(after)
        found = {margin + line: match for line, match in _whole_lines(above, below).items()} if not tail else {}
    elif len(head) < SHORTEST_MATCH:
        found = {}
    else:
        found = _line_ends((before[: len(before) - len(head)], after), head, above, tail)
    ranked = sorted(found.items(), key=lambda item: -item[1])
    return [Draft(draft, COPY, match) for draft, match in ranked[:limit]]


def _margin(text: str) -> str:
    """Indentation of the first line of `text` that is not blank; nothing typed yet, a whole line brings its own."""
    return next((line[: len(line) - len(line.lstrip())] for line in text.split("\n") if line.strip()), "")


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


def _whole_lines(above: list[str], below: list[str]) -> dict[str, int]:
    """Lines whose neighbours are the gap's, and by how much."""
    found: dict[str, int] = {}
    for lines in (above, below):
        for i, line in enumerate(lines):
            match = _shared(lines[:i][-SHARED_LINES:][::-1], above[-SHARED_LINES:][::-1])
            match += _shared(lines[i + 1 : i + 1 + SHARED_LINES], below[:SHARED_LINES])
            if match >= SHORTEST_MATCH:
                found[line] = max(found.get(line, 0), match)
    return found


def _shared(one: list[str], other: list[str]) -> int:
    """Characters of the lines that both lists begin with."""
    match = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        match += len(mine)
    return min(match, LONGEST_MATCH)


def _line_ends(bodies: Sequence[str], head: str, above: list[str], tail: str) -> dict[str, int]:
    """What follows the end of `head` in the bodies, and by how much it matches. The end is shortened until something
    is found."""
    key = head[-LONGEST_MATCH:]
    while len(key) >= SHORTEST_MATCH:
        found: dict[str, int] = {}
        for body in bodies:
            at = body.rfind(key)
            for _ in range(MOST_PLACES):
                if at < 0:
                    break
                draft = body[at + len(key) :].split("\n", 1)[0].rstrip()
                if tail and draft.endswith(tail):
                    draft = draft[: -len(tail)]
                if draft.strip():
                    line_start = body.rfind("\n", 0, at) + 1
                    context = _shared(_lines(body[max(0, line_start - 200) : line_start])[::-1], above[-2:][::-1])
                    found[draft] = max(found.get(draft, 0), len(key) + context)
                at = body.rfind(key, 0, at)
        if found:
            return found
        key = key[max(1, len(key) // 4) :]
    return {}


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
    barred: Tensor | None = None,
) -> tuple[list[int], bool]:
    """Greedy continuation of the prefix by the causal mode mixed with the file's n-grams.

    cache: holds `prefix_ids`; not changed. end_ids: tokens that end the draft (line breaks, for one line).
    barred: bool [V], True where the first token must not be. Returns the ids and whether they ended by themselves;
    give_up is polled at every token.
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
            id_ = _likeliest(probs[place], *ngram(file_ids, context), None if ids else barred)
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


def _likeliest(
    probs: Tensor, followers: np.ndarray, shares: np.ndarray, matched: int, barred: Tensor | None = None
) -> int:
    """Argmax of the network's distribution [V] mixed with the n-gram's, over what is not barred."""
    if matched:
        weight = ORDER_WEIGHT[matched]
        probs = probs * (1 - weight)
        probs[torch.from_numpy(followers)] += weight * torch.from_numpy(shares).to(probs)
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
