# ruff: noqa: N803
"""Acceptance and renoise on a GPU: a program per gap, all its slots at once.

Nothing is sorted: a slot asks every other one whether it comes before, and sums their entropies, in tiles of at most
256 x 16. The sum is therefore in another order than a cumulative one, and may differ in its last bit.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .commit import BROKEN, Rule, State
from .head import Statistics
from .launch import Launch, blocks, power_of_two, start
from .stream import MOST_SLOTS

NOT_A_NUMBER: tl.constexpr = tl.constexpr(BROKEN)
PLACES: tl.constexpr = tl.constexpr(MOST_SLOTS)


@triton.jit
def noise_of(seed, slot, VOCAB: tl.constexpr):
    """`stream.noise_places`: at places that no draw of the head counts."""
    return tl.rand(seed, slot + VOCAB * PLACES)


@triton.jit
def commit_kernel(
    entropy, argmax, sample, tokens, guess, kept, settled, starts, seed, number, bound, calm, VOCAB: tl.constexpr,
    BLOCK: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    gap = tl.program_id(0)
    first_slot = tl.load(starts + gap)
    n = tl.load(starts + gap + 1) - first_slot
    if tl.load(settled + gap) != 0:
        return
    slot = tl.arange(0, BLOCK)
    live = slot < n
    here = first_slot + slot
    mine = tl.load(entropy + here, mask=live, other=float("inf"))
    before = tl.zeros((BLOCK,), tl.float32)
    for at in range(0, n, CHUNK):
        other = at + tl.arange(0, CHUNK)
        theirs = tl.load(entropy + first_slot + other, mask=other < n, other=0.0)
        first = (theirs[None, :] < mine[:, None]) | (
            (theirs[None, :] == mine[:, None]) & (other[None, :] < slot[:, None])
        )
        before += tl.sum(tl.where(first & (other < n)[None, :], theirs[None, :], 0.0), 1)
    noise = tl.minimum((noise_of(tl.load(seed), slot, VOCAB) * VOCAB).to(tl.int64), VOCAB - 1)
    tl.store(tokens + here, tl.where(before <= bound, tl.load(sample + here, mask=live, other=0), noise), mask=live)
    now = tl.load(argmax + here, mask=live, other=0)
    same = tl.sum(tl.where(live & (now != tl.load(guess + here, mask=live, other=0)), 1, 0), 0) == 0
    mean = tl.sum(tl.where(live, mine, 0.0), 0) / n
    tl.store(guess + here, now, mask=live)
    tl.store(kept + here, mine, mask=live)
    done = tl.where(same & (mean < calm), tl.load(number), 0)
    finite = mean - mean == 0.0  # neither NaN nor an infinity
    tl.store(settled + gap, tl.where(finite, done, NOT_A_NUMBER))


@triton.jit
def noise_kernel(seed, out, VOCAB: tl.constexpr, BLOCK: tl.constexpr):
    slot = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + slot, noise_of(tl.load(seed), slot, VOCAB))


def commit_triton(
    statistics: Statistics, state: State, seed: Tensor, number: Tensor, rule: Rule, most_slots: int
) -> None:
    """As `commit`."""
    block = power_of_two(most_slots, least=16)
    start(
        commit_kernel, (len(state.settled),), Launch(1, block, 1, warps=8 if block > 64 else 4, stages=1),
        statistics.entropy, statistics.argmax, statistics.sample, state.tokens, state.guess, state.entropy,
        state.settled, state.starts, seed, number, rule.entropy_bound, rule.calm,
        VOCAB=rule.vocab_size, BLOCK=block, CHUNK=16,
    )  # fmt: skip


def noise_triton(n: int, vocab_size: int, seed: Tensor) -> Tensor:
    """The random numbers [n] that slots 0..n-1 of a gap are renoised by: for tests against `stream.py`."""
    out = torch.empty(blocks(n, 16) * 16, dtype=torch.float32, device=seed.device)
    start(noise_kernel, (blocks(n, 16),), None, seed, out, VOCAB=vocab_size, BLOCK=16)
    return out[:n]
