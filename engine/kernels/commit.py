"""Acceptance and renoise of one denoise step, for a checkpoint that finds the accepted set anew at every step.

The same rules as `sampler.accept` and `sampler.settled`, in one operation whose only message to the host is a flag.
Knows nothing of networks; mask tokens, deletions and commitments are the business of the general loop.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .head import Statistics


@dataclass(frozen=True)
class Rule:
    """entropy_bound in nats; settled when the argmax is the one before and the mean entropy below `calm` nats."""

    entropy_bound: float
    calm: float
    vocab_size: int


def commit_torch(statistics: Statistics, guess: Tensor, uniform: Tensor, rule: Rule) -> tuple[Tensor, Tensor, Tensor]:
    """What N free slots hold next [N] int64, the new guess [N] int64, and whether they are settled, int32 [1].

    In ascending order of entropy, of equal ones the first slot first, a slot is accepted while the entropies before it
    sum to at most the bound. An accepted slot takes its sample, another one floor(uniform * vocab_size).
    guess: [N], the argmax of the step before, -1 at the first; uniform: [N] in [0, 1).
    """
    ascending, order = torch.sort(statistics.entropy, stable=True)
    chosen = torch.cumsum(ascending, 0) - ascending <= rule.entropy_bound
    accepted = torch.zeros_like(chosen).scatter_(0, order, chosen)
    noise = (uniform * rule.vocab_size).long().clamp(max=rule.vocab_size - 1)
    tokens = torch.where(accepted, statistics.sample, noise)
    calm = torch.equal(statistics.argmax, guess) and bool(statistics.entropy.mean() < rule.calm)
    return tokens, statistics.argmax, torch.tensor([int(calm)], dtype=torch.int32, device=tokens.device)
