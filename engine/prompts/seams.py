"""What the first and the last slot of a gap may hold.

Knows ids and slots; nothing of text or why a slot is bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Seams:
    """first, last: bool [V], True where a token must not stand in that slot; None: any may.

    A slot that is bound by such a mask is never removed as surplus, since the mask bars the delete token.
    """

    first: Tensor | None = None
    last: Tensor | None = None

    def on(self, device: torch.device) -> Seams:
        """With the masks where the logits are."""
        return Seams(*(None if mask is None else mask.to(device) for mask in (self.first, self.last)))

    def impose(self, logits: Tensor, slots: Tensor, n_gap: int, floor: float) -> None:
        """Writes `floor` into logits [N, V] of the slots [N], ascending and on the host, of a gap of `n_gap` slots,
        wherever a token must not stand. In place."""
        if len(slots) and self.first is not None and int(slots[0]) == 0:
            logits[0].masked_fill_(self.first, floor)
        if len(slots) and self.last is not None and int(slots[-1]) == n_gap - 1:
            logits[-1].masked_fill_(self.last, floor)


FREE = Seams()
