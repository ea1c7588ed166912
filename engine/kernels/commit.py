"""Acceptance and renoise of one denoise step, for a checkpoint that finds the accepted set anew at every step.

The same rules as `sampler.accept` and `sampler.settled`, for several gaps side by side, in one operation whose only
message to the host is a number per gap. Knows nothing of networks; mask tokens, deletions and commitments are the
business of the general loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from .head import Statistics
from .stream import noise_places, uniform_torch
from .target import use_triton

BROKEN = -1  # what a gap's `settled` says when the network gave no numbers for it


@dataclass(frozen=True)
class Rule:
    """entropy_bound in nats; settled when the argmax is the one before and the mean entropy below `calm` nats."""

    entropy_bound: float
    calm: float
    vocab_size: int


@dataclass(frozen=True)
class State:
    """Of B gaps, the slots of all of them in a row; rewritten by every step, in place.

    tokens: int64 [N], what the network sees next; guess: int64 [N], the likeliest tokens, which are emitted, -1 before
    the first step; entropy: float32 [N], of the prediction behind the guess; settled: int32 [B], the number of the
    step at which the gap was settled, 0 until then; starts: int32 [B + 1], where each gap's slots begin, and the end
    of the last one's. A settled gap is not touched again.
    """

    tokens: Tensor
    guess: Tensor
    entropy: Tensor
    settled: Tensor
    starts: Tensor


def commit(statistics: Statistics, state: State, seed: Tensor, number: Tensor, rule: Rule, most_slots: int) -> None:
    """As `commit_torch`, on the device. seed: int64 [1], of the random stream; number: int32 [1], the step's, from 1.
    most_slots: of one gap."""
    if use_triton(state.tokens):
        from .commit_triton import commit_triton  # noqa: PLC0415

        commit_triton(statistics, state, seed, number, rule, most_slots)
        return
    slots = torch.cat([torch.arange(end - start) for start, end in _spans(state)])
    commit_torch(statistics, state, uniform_torch(seed, noise_places(slots, rule.vocab_size)), int(number), rule)


def commit_torch(statistics: Statistics, state: State, uniform: Tensor, number: int, rule: Rule) -> None:
    """Rewrites what each gap holds next, its guess, and whether it is settled.

    Per gap, in ascending order of entropy, of equal ones the first slot first, a slot is accepted while the entropies
    before it sum to at most the bound. An accepted slot takes its sample, another one floor(uniform * vocab_size).
    statistics: of the N slots, and of any number of further rows; uniform: [N] in [0, 1).
    """
    for gap, (start, end) in enumerate(_spans(state)):
        if state.settled[gap] != 0:
            continue
        at = slice(start, end)
        entropy, argmax = statistics.entropy[at], statistics.argmax[at]
        ascending, order = torch.sort(entropy, stable=True)
        chosen = torch.cumsum(ascending, 0) - ascending <= rule.entropy_bound
        accepted = torch.zeros_like(chosen).scatter_(0, order, chosen)
        noise = (uniform[at] * rule.vocab_size).long().clamp(max=rule.vocab_size - 1)
        state.tokens[at] = torch.where(accepted, statistics.sample[at], noise)
        mean = entropy.mean()
        if not torch.isfinite(mean):
            state.settled[gap] = BROKEN
        elif torch.equal(argmax, state.guess[at]) and mean < rule.calm:
            state.settled[gap] = number
        state.guess[at] = argmax
        state.entropy[at] = entropy


def _spans(state: State) -> list[tuple[int, int]]:
    starts = state.starts.tolist()
    return list(pairwise(starts))
