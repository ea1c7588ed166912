"""The canvas: gap slots being denoised, then the pinned head of the suffix.

Knows which slots may change and which may not; knows nothing of networks, probabilities or text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Canvas:
    """G gap slots and the pinned ones behind them; immutable.

    Invariants: pinned ids are never written to, every canvas derived from this one carries the same tensor, so they
    are re-imposed at every step; a slot that is not free (committed) keeps its token; a slot leaves the canvas only
    by `contracted`, which moves everything right of it to the left and lets in more of the suffix, if `pinned` has it.
    """

    gap: Tensor  # [G] int64: what the network sees in the gap
    free: Tensor  # [G] bool: slots that may still change
    guess: Tensor  # [G] int64: the likeliest token of a free slot, the token of a committed one; this is emitted
    entropy: Tensor  # [G] float32, nats: of the prediction behind the guess
    pinned: Tensor  # [S] int64: the head of the suffix
    size: int  # slots of the canvas, at most: pinned tokens beyond wait outside

    def __post_init__(self) -> None:
        assert self.gap.shape == self.free.shape == self.guess.shape == self.entropy.shape
        assert self.gap.ndim == self.pinned.ndim == 1 and len(self.gap) <= self.size

    @classmethod
    def start(cls, gap: Tensor, pinned: Tensor, size: int | None = None) -> Canvas:
        """All gap slots free, holding `gap` (noise, or a draft). size None: room for all of `pinned`, no more."""
        free = torch.ones_like(gap, dtype=torch.bool)
        size = len(gap) + len(pinned) if size is None else size
        return cls(gap, free, gap, torch.zeros(gap.shape, device=gap.device), pinned, size)

    @property
    def ids(self) -> Tensor:
        """[min(G + S, size)] int64, as the network reads them."""
        return torch.cat((self.gap, self.pinned))[: self.size]

    def slots(self) -> Tensor:
        """Indices of the free slots, ascending."""
        return self.free.nonzero().squeeze(1)

    def written(
        self, slots: Tensor, *, tokens: Tensor, guess: Tensor, entropy: Tensor, committed: Tensor | None
    ) -> Canvas:
        """New tokens, guesses and entropies [N] in free slots `slots` [N]; those `committed` [N] stop being free."""
        free, guesses = self.free, self.guess.index_copy(0, slots, guess)
        if committed is not None:
            free = free.index_copy(0, slots, ~committed)
            guesses = guesses.index_copy(0, slots, torch.where(committed, tokens, guess))
        gap, entropies = self.gap.index_copy(0, slots, tokens), self.entropy.index_copy(0, slots, entropy)
        return replace(self, gap=gap, free=free, guess=guesses, entropy=entropies)

    def contracted(self, keep: Tensor) -> Canvas:
        """Without the gap slots where keep [G] is False."""
        return replace(
            self, gap=self.gap[keep], free=self.free[keep], guess=self.guess[keep], entropy=self.entropy[keep]
        )


def bucket(sizes: Sequence[int], wanted: int) -> int:
    """The smallest gap size that holds `wanted` tokens; the largest there is when none does."""
    fitting = [size for size in sizes if size >= wanted]
    return min(fitting) if fitting else max(sizes)


def surplus(deleted: Tensor, looks_deleted: Tensor) -> Tensor:
    """Gap slots [G] to remove, given those whose deletion was accepted and those whose guess is a deletion.

    Surplus slots stand at the end of a gap. So the run of deletions that reaches the end goes as one, from its first
    accepted slot on; an accepted deletion elsewhere takes only its own slot away.
    """
    run = looks_deleted.flip(0).int().cumprod(0).flip(0).bool()
    return deleted | (run & ((deleted & run).cumsum(0) > 0))
