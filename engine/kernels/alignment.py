"""Alignment: a token's experts sorted into each expert's tokens, and those cut into blocks.

Stable and without atomics: the same choice of experts gives the same order, always. Reference for the idea:
`moe_align_block_size` of vLLM; here nothing is padded, a block names its rows instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Alignment:
    """order [A] int32: assignments (row * K + k) by expert, in ascending order within one.

    blocks [A // block + E, 3] int32: (expert, first, end), where `order[first:end]`, at most `block` long, all went to
    that expert; expert -1: nothing to do. Expert e's blocks begin at index s // block + e, s being where its
    assignments begin: floor(s / block) + ceil(n / block) <= floor((s + n) / block) + 1, so two experts never share an
    index, and none has to know how many blocks another one has.
    """

    order: Tensor
    blocks: Tensor


def align_torch(experts: Tensor, n_experts: int, block: int) -> Alignment:
    """experts: [N, K], each of 0..n_experts-1. block: rows per block."""
    flat = experts.flatten().long()
    order = flat.argsort(stable=True)
    ends = torch.bincount(flat, minlength=n_experts).cumsum(0).tolist()
    blocks = torch.full((len(flat) // block + n_experts, 3), -1, dtype=torch.int32)
    start = 0
    for expert, end in enumerate(ends):
        for i, first in enumerate(range(start, end, block)):
            blocks[start // block + expert + i] = torch.tensor((expert, first, min(first + block, end)))
        start = end
    return Alignment(order.int(), blocks.to(experts.device))
