"""The canvas: gap slots being denoised, then the pinned head of the suffix.

Knows which slots may change and which may not; knows nothing of networks, probabilities or text. A canvas lies on the
host, wherever the network is: its questions ("is any slot free?") are never asked of a device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Canvas:
    """G gap slots and the pinned ones behind them; immutable.

    Invariants: pinned ids are never written to, every canvas derived from this one carries the same tensor, so they
    are re-imposed at every step; a slot that is not free (committed) keeps its token until `renoised` frees it; a slot
    leaves the canvas only by `contracted`, which moves everything right of it to the left and lets in more of the
    suffix, if `pinned` has it.
    """

    gap: Tensor  # [G] int64: what the network sees in the gap
    free: Tensor  # [G] bool: slots that may still change
    guess: Tensor  # [G] int64: the likeliest token of a free slot, the token of a committed one; this is emitted
    entropy: Tensor  # [G] float32, nats: of the prediction behind the guess
    pinned: Tensor  # [S] int64: the head of the suffix
    size: int  # slots of the canvas, at most: pinned tokens beyond wait outside
    again: Tensor  # [G] bool: slots that were committed once and renoised
    shunned: Tensor  # [G] int64: a token the slot must not take; -1: it may take any

    def __post_init__(self) -> None:
        assert self.gap.shape == self.free.shape == self.guess.shape == self.entropy.shape
        assert self.gap.shape == self.again.shape == self.shunned.shape
        assert self.gap.ndim == self.pinned.ndim == 1 and len(self.gap) <= self.size

    @classmethod
    def start(cls, gap: Tensor, pinned: Tensor, size: int | None = None) -> Canvas:
        """All gap slots free, holding `gap` (noise, or a draft). size None: room for all of `pinned`, no more."""
        size = len(gap) + len(pinned) if size is None else size
        return cls(
            gap=gap,
            free=torch.ones_like(gap, dtype=torch.bool),
            guess=gap,
            entropy=torch.zeros(gap.shape, device=gap.device),
            pinned=pinned,
            size=size,
            again=torch.zeros_like(gap, dtype=torch.bool),
            shunned=torch.full_like(gap, -1),
        )

    @classmethod
    def holding(cls, ids: Tensor, pinned: Tensor, size: int | None = None) -> Canvas:
        """All gap slots committed to `ids` [G]: a text to be rewritten or repaired."""
        canvas = cls.start(ids, pinned, size)
        return replace(canvas, free=~canvas.free)

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
        return self._mapped(lambda field: field[keep])

    def renoised(self, chosen: Tensor, noise: Tensor, shun: Tensor | None = None) -> Canvas:
        """The gap slots `chosen` [G] free again, holding noise [n chosen]; where `shun` [G], too, their token is not to
        come back."""
        slots = chosen.nonzero().squeeze(1)
        shunned = self.shunned if shun is None else torch.where(chosen & shun, self.gap, self.shunned)
        gap = self.gap.index_copy(0, slots, noise)
        return replace(self, gap=gap, free=self.free | chosen, again=self.again | chosen, shunned=shunned)

    def widened(self, at: int, noise: Tensor) -> Canvas:
        """With len(noise) more free slots left of slot `at` (G: at the gap's end). The gap must fit `size`."""
        new = Canvas.start(noise, self.pinned, max(self.size, len(noise)))
        return self._mapped(lambda field, more: torch.cat((field[:at], more, field[at:])), new)

    def _mapped(self, change: Callable[..., Tensor], *others: Canvas) -> Canvas:
        """Every field that has an entry per gap slot, changed in the same way."""
        fields = ("gap", "free", "guess", "entropy", "again", "shunned")
        changed = {name: change(*(getattr(one, name) for one in (self, *others))) for name in fields}
        return replace(self, **changed)


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
