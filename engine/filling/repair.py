"""Repair inside the diffusion loop: denoise again what a check points at, pin everything else.

A fill that fails its check is not thrown away: the tokens under the suspect ranges and their neighbours are renoised,
the culprits' own tokens are barred from their slots, and a few more denoise steps fill them in, seeing the rest of the
fill and the suffix. At most two rounds, each checked; then the longest beginning of the fill that passes; else
nothing. A fill that passes is returned as it came. (Closest prior art: constraint-guided denoising, arXiv 2605.16829;
here for infilling, with an error-tolerant incremental parser, and without touching the network.)

What a check is, the caller knows: it gets a whole gap's text and names suspect ranges. Works for mask noise and for
uniform noise. Knows nothing of syntax or text beyond where a token's characters lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..canvas import Canvas
from ..denoise import Denoised, Setting, denoise_all
from ..tokens import Tokens

Check = Callable[[str], Sequence[tuple[int, int]]]
"""A gap's whole text → character ranges [start, end) that are suspect; an empty range: something is missing there.
No range: the text is fine."""

Choose = Callable[[set[int], int], set[int]]
"""(culprit tokens, number of tokens) → the tokens to renoise: what repair is measured against."""


@dataclass(frozen=True)
class Plan:
    """rounds: of renoising, each followed by a check. steps: denoise steps of a round. neighbours: tokens renoised on
    either side of a culprit. cuts: beginnings that are checked at most. choose: in place of culprits and neighbours."""

    rounds: int = 2
    steps: int = 3
    neighbours: int = 1
    cuts: int = 8
    choose: Choose | None = None


@dataclass(frozen=True)
class Repaired:
    """ids, text: of the gap; empty where nothing passes. steps: denoise steps spent. checks: texts checked.

    how: "passed" as it came, "repaired", "cut" to a beginning, or "nothing".
    """

    ids: tuple[int, ...]
    text: str
    how: str
    steps: int = 0
    checks: int = 1


@dataclass(frozen=True)
class Workbench:
    """What denoising again needs, the same for every fill of a gap. pinned: ids [S] of the suffix' head, on the host,
    as the generator is; size: slots of the canvas."""

    setting: Setting
    tokens: Tokens
    pinned: Tensor
    size: int
    generator: torch.Generator


PLAN = Plan()


def repaired(bench: Workbench, ids: Sequence[int], check: Check, plan: Plan = PLAN) -> Repaired:
    """`ids` if their text passes `check`, else repaired or cut as far as `plan` allows. Polls patience before every
    step and check, and then keeps what it has: nothing that was not checked is ever returned."""
    first = tuple(ids)
    text = bench.tokens.decode(first)
    suspects = check(text)
    if not suspects:
        return Repaired(first, text, "passed")
    steps, checks, blamed = 0, 1, suspects
    current: tuple[int, ...] = first
    for _ in range(plan.rounds):
        if bench.setting.patience.lost():
            return Repaired((), "", "nothing", steps, checks)
        canvas = _renoised(bench, current, blamed, plan)
        if canvas is None:
            break
        denoised = _denoised(bench, canvas, plan)
        steps += denoised.steps
        if denoised.steps == 0:
            break
        current = denoised.ids
        text = bench.tokens.decode(current)
        if not text.strip():
            break
        blamed, checks = check(text), checks + 1
        if not blamed:
            return Repaired(current, text, "repaired", steps, checks)
    return _cut(bench, first, suspects, check, plan.cuts, steps, checks)


def token_ends(tokens: Tokens, ids: Sequence[int]) -> list[int]:
    """Where each token's characters end in the text of all of them; never falling."""
    return [len(tokens.decode(ids[: n + 1])) for n in range(len(ids))]


def slots_under(ranges: Sequence[tuple[int, int]], ends: Sequence[int]) -> tuple[set[int], set[int]]:
    """(tokens whose characters touch a range, places 0..n before which a slot is to be inserted)."""
    culprits: set[int] = set()
    inserts: set[int] = set()
    starts = [0, *ends[:-1]]
    for start, end in ranges:
        if start >= end:
            inserts.add(sum(1 for token_end in ends if token_end <= start))
        culprits |= {n for n, (low, high) in enumerate(zip(starts, ends, strict=False)) if low < end and high > start}
    return culprits, inserts


def _renoised(bench: Workbench, ids: tuple[int, ...], ranges: Sequence[tuple[int, int]], plan: Plan) -> Canvas | None:
    """The canvas with noise under the suspects and in the slots put in, each culprit's own token shunned; None where
    there is no room for the slots."""
    n_ids = len(ids)
    culprits, inserts = slots_under(ranges, token_ends(bench.tokens, ids))
    if plan.choose is not None:
        chosen = plan.choose(culprits | {n for n in inserts if n < n_ids}, n_ids)
        culprits, inserts = set(), set()
    else:
        reach = range(-plan.neighbours, plan.neighbours + 1)
        chosen = {n + d for n in culprits for d in reach}
        chosen |= {n + d for n in inserts for d in reach if d < plan.neighbours}
    if n_ids + len(inserts) > bench.size:
        return None
    canvas = Canvas.holding(torch.tensor(ids, dtype=torch.int64), bench.pinned, bench.size)
    free = torch.tensor([n in chosen for n in range(n_ids)], dtype=torch.bool)
    shun = torch.tensor([n in culprits for n in range(n_ids)], dtype=torch.bool)
    noise = bench.setting.alphabet.noise.draw(int(free.sum()) + len(inserts), bench.generator)
    canvas = canvas.renoised(free, noise[len(inserts) :], shun)
    for slot, at in enumerate(sorted(inserts, reverse=True)):
        canvas = canvas.widened(at, noise[slot : slot + 1])
    return canvas


def _denoised(bench: Workbench, canvas: Canvas, plan: Plan) -> Denoised:
    setting = bench.setting
    ends = torch.tensor(sorted(setting.alphabet.end_token_ids), dtype=torch.int64, device=setting.banned.device)
    setting = replace(
        setting,
        # What is pinned stays: no committed slot is renoised for another reason.
        config=replace(setting.config, max_denoising_steps=plan.steps, renoise_threshold=None),
        banned=torch.cat((setting.banned, ends)),  # where the text ends is not in question
    )
    return denoise_all(setting, [canvas], [bench.generator])[0]


def _cut(
    bench: Workbench,
    ids: tuple[int, ...],
    ranges: Sequence[tuple[int, int]],
    check: Check,
    most: int,
    steps: int,
    checks: int,
) -> Repaired:
    """The longest beginning, in whole tokens before the first suspect, that passes; the longest `most` are tried."""
    ends = token_ends(bench.tokens, ids)
    first = min(start for start, _ in ranges)
    tried = 0
    for n in range(len(ids) - 1, 0, -1):
        if ends[n - 1] > max(first, 0) or ends[n - 1] == ends[n]:
            continue
        if tried == most or bench.setting.patience.lost():
            break
        kept = ids[:n]
        text = bench.tokens.decode(kept)
        if not text.strip():
            break
        tried += 1
        if not check(text):
            return Repaired(kept, text, "cut", steps, checks + tried)
    return Repaired((), "", "nothing", steps, checks + tried)
