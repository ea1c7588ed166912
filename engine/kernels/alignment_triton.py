# ruff: noqa: N803
"""Alignment on a GPU: one program per expert, which reads all choices twice and writes its own rows."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .alignment import Alignment
from .launch import start

CHUNK = 1024  # choices read at a time


@triton.jit(do_not_specialize=["n_assignments"])
def align_kernel(experts, order, blocks, n_assignments, BLOCK: tl.constexpr, CHUNK: tl.constexpr):
    expert = tl.program_id(0)
    lane = tl.arange(0, CHUNK)
    before = 0
    count = 0
    for at in range(0, n_assignments, CHUNK):
        chosen = tl.load(experts + at + lane, mask=at + lane < n_assignments, other=2147483647)
        before += tl.sum((chosen < expert).to(tl.int32), 0)
        count += tl.sum((chosen == expert).to(tl.int32), 0)
    seen = before
    for at in range(0, n_assignments, CHUNK):
        chosen = tl.load(experts + at + lane, mask=at + lane < n_assignments, other=2147483647)
        mine = (chosen == expert).to(tl.int32)
        place = seen + tl.cumsum(mine, 0) - 1
        tl.store(order + place, at + lane, mask=mine == 1)
        seen += tl.sum(mine, 0)
    # This expert's share of the blocks: its own, then at most one that nobody uses.
    end = before + count
    slot = before // BLOCK + expert
    stop = end // BLOCK + expert + 1
    first = before
    while slot < stop:
        used = first < end
        tl.store(blocks + slot * 3, tl.where(used, expert, -1))
        tl.store(blocks + slot * 3 + 1, tl.where(used, first, -1))
        tl.store(blocks + slot * 3 + 2, tl.where(used, tl.minimum(first + BLOCK, end), -1))
        slot += 1
        first += BLOCK


def align_triton(experts: Tensor, n_experts: int, block: int) -> Alignment:
    """As `align_torch`; experts int32, contiguous. Reads 8 bytes per choice and expert, from the cache."""
    n = experts.numel()
    order = torch.empty(n, dtype=torch.int32, device=experts.device)
    blocks = torch.empty(n // block + n_experts, 3, dtype=torch.int32, device=experts.device)
    start(align_kernel, (n_experts,), None, experts, order, blocks, n, BLOCK=block, CHUNK=CHUNK)
    return Alignment(order, blocks)
