# ruff: noqa: N803
"""Acceptance and renoise on a GPU: one program, all slots.

Nothing is sorted: a slot asks every other one whether it comes before, and sums their entropies, in one tile of at
most 256 x 256. The sum is therefore in another order than a cumulative one, and may differ in its last bit.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .commit import Rule
from .head import Statistics
from .launch import Launch, power_of_two, start


@triton.jit(do_not_specialize=["n"])
def commit_kernel(
    entropy, argmax, sample, guess, seed, tokens, flag, n, bound, calm, VOCAB: tl.constexpr,
    BLOCK: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    slot = tl.arange(0, BLOCK)
    live = slot < n
    mine = tl.load(entropy + slot, mask=live, other=float("inf"))
    before = tl.zeros((BLOCK,), tl.float32)
    for at in range(0, n, CHUNK):
        other = at + tl.arange(0, CHUNK)
        theirs = tl.load(entropy + other, mask=other < n, other=0.0)
        first = (theirs[None, :] < mine[:, None]) | (
            (theirs[None, :] == mine[:, None]) & (other[None, :] < slot[:, None])
        )
        before += tl.sum(tl.where(first & (other < n)[None, :], theirs[None, :], 0.0), 1)
    # Random numbers at positions that no draw of the head counts: it uses [0, rows * VOCAB).
    uniform = tl.rand(tl.load(seed), VOCAB * BLOCK + slot)
    noise = tl.minimum((uniform * VOCAB).to(tl.int64), VOCAB - 1)
    tl.store(tokens + slot, tl.where(before <= bound, tl.load(sample + slot, mask=live, other=0), noise), mask=live)
    now = tl.load(argmax + slot, mask=live, other=0)
    same = tl.sum(tl.where(live & (now != tl.load(guess + slot, mask=live, other=0)), 1, 0), 0) == 0
    mean = tl.sum(tl.where(live, mine, 0.0), 0) / n
    tl.store(guess + slot, now, mask=live)
    tl.store(flag, (same & (mean < calm)).to(tl.int32))


@triton.jit
def noise_kernel(seed, out, VOCAB: tl.constexpr, BLOCK: tl.constexpr):
    slot = tl.arange(0, BLOCK)
    tl.store(out + slot, tl.rand(tl.load(seed), VOCAB * BLOCK + slot))


def commit_triton(statistics: Statistics, guess: Tensor, seed: Tensor, flag: Tensor, rule: Rule) -> Tensor:
    """As `commit_torch`: returns the tokens; overwrites `guess` [N] int64 and `flag` [1] int32; seed: int64 [1]."""
    n = len(statistics.entropy)
    tokens = torch.empty_like(guess)
    block = power_of_two(n, least=16)
    start(
        commit_kernel, (1,), Launch(1, block, 1, warps=8 if block > 64 else 4, stages=1),
        statistics.entropy, statistics.argmax, statistics.sample, guess, seed, tokens, flag, n,
        rule.entropy_bound, rule.calm, VOCAB=rule.vocab_size, BLOCK=block, CHUNK=16,
    )  # fmt: skip
    return tokens


def noise_triton(n: int, rule: Rule, seed: Tensor) -> Tensor:
    """The random numbers [n] that `commit_triton` uses: for tests against `commit_torch`."""
    block = power_of_two(n, least=16)
    out = torch.empty(block, dtype=torch.float32, device=seed.device)
    start(noise_kernel, (1,), None, seed, out, VOCAB=rule.vocab_size, BLOCK=block)
    return out[:n]
