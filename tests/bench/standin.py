# ruff: noqa: N803
"""A mixture of experts as vLLM's Triton path does it: what `gpu.py` measures our kernels against in the same call.

Written from its description: tokens as the left factor in tiles of 16 rows, gate and up in one product written out,
activation in a launch of its own, a second product with the routing weight, a sum over the k experts of a token.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit(do_not_specialize=["n_blocks"])
def grouped_kernel(
    x, weight, out, order, table, routing, n_blocks, DEPTH: tl.constexpr, WIDTH: tl.constexpr, TOP_K: tl.constexpr,
    WEIGHTED: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr, BLOCK_DEPTH: tl.constexpr,
):  # fmt: skip
    """out[assignment] = x[assignment // TOP_K] @ weight[expert]^T, times its routing weight where WEIGHTED."""
    block, tile = tl.program_id(0) % n_blocks, tl.program_id(0) // n_blocks
    expert = tl.load(table + block * 3)
    if expert < 0:
        return
    row = tl.load(table + block * 3 + 1) + tl.arange(0, BLOCK_ROWS)
    live = row < tl.load(table + block * 3 + 2)
    assignment = tl.load(order + row, mask=live, other=0)
    column = tile * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    rows_of_x = x + (assignment // TOP_K).to(tl.int64)[:, None] * DEPTH
    rows_of_w = weight + expert.to(tl.int64) * (WIDTH * DEPTH) + (column % WIDTH)[None, :] * DEPTH
    acc = tl.zeros((BLOCK_ROWS, BLOCK_COLUMNS), tl.float32)
    for at in range(0, DEPTH, BLOCK_DEPTH):
        k = at + tl.arange(0, BLOCK_DEPTH)
        inside = k < DEPTH
        a = tl.load(rows_of_x + k[None, :], mask=live[:, None] & inside[None, :], other=0.0)
        acc = tl.dot(a, tl.load(rows_of_w + k[:, None], mask=inside[:, None], other=0.0), acc, input_precision="ieee")
    if WEIGHTED:
        acc *= tl.load(routing + assignment, mask=live, other=0.0)[:, None]
    place = out + assignment.to(tl.int64)[:, None] * WIDTH + column[None, :]
    tl.store(place, acc.to(out.dtype.element_ty), mask=live[:, None] & (column < WIDTH)[None, :])


@triton.jit
def activation_kernel(gate_up, out, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < WIDTH
    g = tl.load(gate_up + row * 2 * WIDTH + column, mask=inside, other=0.0).to(tl.float32)
    u = tl.load(gate_up + row * 2 * WIDTH + WIDTH + column, mask=inside, other=0.0).to(tl.float32)
    h = g * tl.sigmoid(1.5957691216057308 * (g + 0.044715 * g * g * g)) * u
    tl.store(out + row * WIDTH + column, h.to(out.dtype.element_ty), mask=inside)


def standin_experts(
    x: Tensor, weights: Tensor, experts: Tensor, gate_up: Tensor, down: Tensor, align: Any, tiles: dict[str, int]
) -> Tensor:
    """As `experts_torch`. align: our `align_triton`, as both need one; tiles: columns, depth, warps, stages."""
    (n, hidden), top_k, width = x.shape, weights.shape[1], down.shape[2]
    aligned = align(experts, gate_up.shape[0], 16)
    n_blocks = len(aligned.blocks)
    first = torch.empty(n * top_k, 2 * width, dtype=x.dtype, device=x.device)
    second = torch.empty(n * top_k, width, dtype=x.dtype, device=x.device)
    out = torch.empty(n * top_k, hidden, dtype=x.dtype, device=x.device)
    columns = tiles["columns"]
    common: dict[str, Any] = {
        "BLOCK_ROWS": 16, "BLOCK_COLUMNS": columns, "BLOCK_DEPTH": tiles["depth"],
        "num_warps": tiles["warps"], "num_stages": tiles["stages"],
    }  # fmt: skip
    grouped_kernel[(n_blocks * -(-2 * width // columns),)](
        x, gate_up, first, aligned.order, aligned.blocks, weights, n_blocks,
        DEPTH=hidden, WIDTH=2 * width, TOP_K=top_k, WEIGHTED=False, **common,
    )  # fmt: skip
    activation_kernel[(n * top_k,)](first, second, WIDTH=width, BLOCK=triton.next_power_of_2(width))
    grouped_kernel[(n_blocks * -(-hidden // columns),)](
        second, down, out, aligned.order, aligned.blocks, weights, n_blocks,
        DEPTH=width, WIDTH=hidden, TOP_K=1, WEIGHTED=True, **common,
    )  # fmt: skip
    return out.view(n, top_k, hidden).sum(1)


@triton.jit
def read_kernel(words, sums, n, per_program, BLOCK: tl.constexpr):
    """The sum of each program's `per_program` int32 words: the fastest that memory is read."""
    first = tl.program_id(0).to(tl.int64) * per_program
    total = tl.zeros((BLOCK,), tl.int32)
    for at in range(0, per_program, BLOCK):
        place = first + at + tl.arange(0, BLOCK)
        total += tl.load(words + place, mask=place < n, other=0, eviction_policy="evict_first")
    tl.store(sums + tl.program_id(0), tl.sum(total, 0))
