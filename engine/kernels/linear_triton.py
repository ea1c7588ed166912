# ruff: noqa: N803
"""A linear layer with a packed weight on a GPU: the experts' product, with one expert whose rows are all there are.

Of DiffusionGemma's linear layers the smallest has 2048 outputs, 32 tiles of 64, times 4 blocks of 64 rows: one wave
of an H200. Row blocks of one tile run side by side, so that the weight is read once from memory.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .experts_triton import gelu_tanh
from .launch import Launch, blocks, choose, power_of_two, start
from .packing import Packed
from .target import Target
from .weights_triton import channel_scaled, compiled_for, operands, tile_product


@triton.jit(do_not_specialize=["n_rows", "n_row_blocks"])
def linear_kernel(
    x, weight, scales, out, n_rows, n_row_blocks, DEPTH: tl.constexpr, WIDTH: tl.constexpr, KIND: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr, BLOCK_DEPTH: tl.constexpr, PTX: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) % n_row_blocks * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    rows_of_x = x + tl.minimum(row, n_rows - 1).to(tl.int64) * DEPTH
    column = tl.program_id(0) // n_row_blocks * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    inside = tl.minimum(column, WIDTH - 1)
    acc = tl.zeros((BLOCK_COLUMNS, BLOCK_ROWS), tl.float32)
    for at in range(0, DEPTH, BLOCK_DEPTH):
        acc = tile_product(
            acc, weight, scales, inside, rows_of_x, at,
            DEPTH, KIND, BLOCK_COLUMNS, BLOCK_DEPTH, x.dtype.element_ty, PTX,
        )  # fmt: skip
    acc = channel_scaled(acc, scales, inside, KIND)
    address = out + row[None, :].to(tl.int64) * WIDTH + column[:, None]
    tl.store(address, acc.to(out.dtype.element_ty), mask=(row < n_rows)[None, :] & (column < WIDTH)[:, None])


def heuristic(target: Target, rows: int) -> Launch:
    if target.backend == "hip":
        return Launch(min(32, rows), 64, 64, warps=8 if target.warp == 32 else 4, stages=2)
    return Launch(rows, 64, 128, warps=4, stages=4 if target.warpgroups else 3)


def linear_triton(x: Tensor, weight: Tensor | Packed) -> Tensor:
    """As `linear_torch`; x contiguous."""
    width, depth = weight.shape
    n_rows = x.numel() // depth
    out = torch.empty(*x.shape[:-1], width, dtype=x.dtype, device=x.device)
    data, scales, kind = operands(weight)
    rows = min(64, power_of_two(n_rows, least=16))
    launch = choose("linear", kind, (width, depth), rows, x.device, lambda target: heuristic(target, rows))
    n_row_blocks = blocks(n_rows, launch.rows)
    start(
        linear_kernel, (n_row_blocks * blocks(width, launch.columns),), launch,
        x, data, scales, out, n_rows, n_row_blocks, DEPTH=depth, WIDTH=width, KIND=kind,
        BLOCK_ROWS=launch.rows, BLOCK_COLUMNS=launch.columns, BLOCK_DEPTH=launch.depth, **compiled_for(x),
    )  # fmt: skip
    return out


@triton.jit
def gated_kernel(gate, up, out, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    g = tl.load(gate + at, mask=at < n, other=0.0).to(tl.float32)
    u = tl.load(up + at, mask=at < n, other=0.0).to(tl.float32)
    tl.store(out + at, (gelu_tanh(g).to(out.dtype.element_ty).to(tl.float32) * u).to(out.dtype.element_ty), mask=at < n)


def gated_triton(gate: Tensor, up: Tensor) -> Tensor:
    """gelu_tanh(gate) * up, contiguous and of one shape."""
    out = torch.empty_like(gate)
    start(gated_kernel, (blocks(gate.numel(), 1024),), None, gate, up, out, gate.numel(), BLOCK=1024)
    return out
