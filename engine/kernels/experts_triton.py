# ruff: noqa: N803
# pyright: reportGeneralTypeIssues=false
"""Experts on a GPU: two products over blocks of rows that share an expert, and a sum in fixed order.

Bytes per layer of DiffusionGemma at 256 rows, all 128 experts hit: gate-up 1.015 GB and down 0.508 GB in bfloat16,
against 1.4 MB of x, 2.9 MB of h and 11.5 MB of y, which stay in the L2 cache. So the weights are streamed once, first
to be evicted, and everything is arranged around them: tiles of 64 of their rows (704 = 11 x 64, 2816 = 44 x 64), and
blocks of one expert next to each other in launch order, so that a second block finds the tile in the cache.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .alignment import Alignment
from .alignment_triton import align_triton
from .launch import Launch, blocks, choose, power_of_two, start
from .packing import Packed
from .target import KIB, Target
from .weights_triton import channel_scaled, compiled_for, matrix_of, operands, tile_product


@triton.jit
def gelu_tanh(x):
    """x / 2 * (1 + tanh(z)) is x * sigmoid(2z), with z = sqrt(2 / pi) * (x + 0.044715 x^3)."""
    return x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))


@triton.jit(do_not_specialize=["n_blocks"])
def gate_up_kernel(
    x,
    weight,
    scales,
    out,
    order,
    table,
    n_blocks,
    DEPTH: tl.constexpr,
    WIDTH: tl.constexpr,
    TOP_K: tl.constexpr,
    KIND: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_DEPTH: tl.constexpr,
    PTX: tl.constexpr,
):
    block = tl.program_id(0) % n_blocks
    tile = tl.program_id(0) // n_blocks
    expert = tl.load(table + block * 3)
    if expert < 0:
        return
    first = tl.load(table + block * 3 + 1)
    end = tl.load(table + block * 3 + 2)
    row = first + tl.arange(0, BLOCK_ROWS)
    token = tl.load(order + row, mask=row < end, other=0) // TOP_K
    rows_of_x = x + token.to(tl.int64) * DEPTH
    column = tile * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    inside = tl.minimum(column, WIDTH - 1)  # a weight's row is read twice rather than masked
    weight, scales = matrix_of(weight, scales, expert, 2 * WIDTH, DEPTH, KIND)
    gate = tl.zeros((BLOCK_COLUMNS, BLOCK_ROWS), tl.float32)
    up = tl.zeros((BLOCK_COLUMNS, BLOCK_ROWS), tl.float32)
    for at in range(0, DEPTH, BLOCK_DEPTH):
        gate = tile_product(
            gate, weight, scales, inside, rows_of_x, at,
            DEPTH, KIND, BLOCK_COLUMNS, BLOCK_DEPTH, x.dtype.element_ty, PTX,
        )  # fmt: skip
        up = tile_product(
            up, weight, scales, inside + WIDTH, rows_of_x, at,
            DEPTH, KIND, BLOCK_COLUMNS, BLOCK_DEPTH, x.dtype.element_ty, PTX,
        )  # fmt: skip
    gate = channel_scaled(gate, scales, inside, KIND)
    up = channel_scaled(up, scales, inside + WIDTH, KIND)
    h = gelu_tanh(gate) * up
    address = out + row[None, :].to(tl.int64) * WIDTH + column[:, None]
    tl.store(address, h.to(out.dtype.element_ty), mask=(row < end)[None, :] & (column < WIDTH)[:, None])


@triton.jit(do_not_specialize=["n_blocks"])
def down_kernel(
    h,
    weight,
    scales,
    out,
    order,
    table,
    routing,
    n_blocks,
    DEPTH: tl.constexpr,
    WIDTH: tl.constexpr,
    KIND: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_DEPTH: tl.constexpr,
    PTX: tl.constexpr,
):
    block = tl.program_id(0) % n_blocks
    tile = tl.program_id(0) // n_blocks
    expert = tl.load(table + block * 3)
    if expert < 0:
        return
    first = tl.load(table + block * 3 + 1)
    end = tl.load(table + block * 3 + 2)
    row = first + tl.arange(0, BLOCK_ROWS)
    live = row < end
    rows_of_h = h + tl.where(live, row, first).to(tl.int64) * DEPTH
    assignment = tl.load(order + row, mask=live, other=0)
    column = tile * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    inside = tl.minimum(column, WIDTH - 1)
    weight, scales = matrix_of(weight, scales, expert, WIDTH, DEPTH, KIND)
    y = tl.zeros((BLOCK_COLUMNS, BLOCK_ROWS), tl.float32)
    for at in range(0, DEPTH, BLOCK_DEPTH):
        y = tile_product(
            y, weight, scales, inside, rows_of_h, at,
            DEPTH, KIND, BLOCK_COLUMNS, BLOCK_DEPTH, h.dtype.element_ty, PTX,
        )  # fmt: skip
    y = channel_scaled(y, scales, inside, KIND)
    y *= tl.load(routing + assignment, mask=live, other=0.0)[None, :]
    # Back to the order of assignments: a token's K rows are then neighbours, and are summed in the order of its choice.
    address = out + assignment[None, :].to(tl.int64) * WIDTH + column[:, None]
    tl.store(address, y.to(out.dtype.element_ty), mask=live[None, :] & (column < WIDTH)[:, None])


@triton.jit
def combine_kernel(y, out, WIDTH: tl.constexpr, TOP_K: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float32)
    for k in range(TOP_K):
        total += tl.load(y + (row * TOP_K + k) * WIDTH + column, mask=column < WIDTH, other=0.0).to(tl.float32)
    tl.store(out + row * WIDTH + column, total.to(out.dtype.element_ty), mask=column < WIDTH)


def heuristic(target: Target, rows: int, kind: str) -> Launch:
    """rows: per block. On Hopper 64 weight rows x 64 deep x 4 stages are 33 KB in flight per product and program, and
    two programs fit a multiprocessor: by Little's law 4.8 TB/s at 1 us need 36 KB on each of 132."""
    if target.backend == "hip":
        radeon = target.warp == 32
        depth = 64 if kind == "int4" else 32 if radeon else 64
        columns, warps = 32 if radeon and kind == "int4" else 64, 8 if radeon and rows > 16 else 4
        return Launch(rows, columns, depth, warps, stages=2)
    deep = kind != "plain" and (rows < 64 or target.warpgroups)
    return Launch(rows, 64, 128 if deep else 64, warps=4, stages=4 if target.shared > 128 * KIB else 3)


def block_rows(n_assignments: int, n_experts: int) -> int:
    """Rows per block: most experts fit into one, so that most weights are read once. A third over the mean, at least
    16, at most 64."""
    return min(64, power_of_two(n_assignments * 4 // (3 * n_experts), least=16))


def expert_rows(
    x: Tensor,
    weights: Tensor,
    aligned: Alignment,
    gate_up: Tensor | Packed,
    down: Tensor | Packed,
    block: int,
) -> Tensor:
    """Every assignment's weighted expert output, [N * K, H] in the order of assignments; x: [N, H] contiguous."""
    top_k = weights.shape[1]
    _, double, hidden = gate_up.shape
    width = double // 2
    n = x.shape[0] * top_k
    h = torch.empty(n, width, dtype=x.dtype, device=x.device)
    y = torch.empty(n, hidden, dtype=x.dtype, device=x.device)
    n_blocks = aligned.blocks.shape[0]

    data, scale, kind = operands(gate_up)
    launch = choose("gate_up", kind, (width, hidden), block, x.device, lambda target: heuristic(target, block, kind))
    start(
        gate_up_kernel, (n_blocks * blocks(width, launch.columns),), launch,
        x, data, scale, h, aligned.order, aligned.blocks, n_blocks,
        DEPTH=hidden, WIDTH=width, TOP_K=top_k, KIND=kind,
        BLOCK_ROWS=block, BLOCK_COLUMNS=launch.columns, BLOCK_DEPTH=launch.depth, **compiled_for(x),
    )  # fmt: skip
    data, scale, kind = operands(down)
    launch = choose("down", kind, (hidden, width), block, x.device, lambda target: heuristic(target, block, kind))
    start(
        down_kernel, (n_blocks * blocks(hidden, launch.columns),), launch,
        h, data, scale, y, aligned.order, aligned.blocks, weights, n_blocks,
        DEPTH=width, WIDTH=hidden, KIND=kind,
        BLOCK_ROWS=block, BLOCK_COLUMNS=launch.columns, BLOCK_DEPTH=launch.depth, **compiled_for(x),
    )  # fmt: skip
    return y


def experts_triton(
    x: Tensor, weights: Tensor, experts: Tensor, gate_up: Tensor | Packed, down: Tensor | Packed
) -> Tensor:
    """As `experts_torch`; experts int32."""
    top_k, hidden = weights.shape[1], x.shape[1]
    block = block_rows(experts.numel(), gate_up.shape[0])
    aligned = align_triton(experts, gate_up.shape[0], block)
    y = expert_rows(x, weights, aligned, gate_up, down, block)
    out = torch.empty_like(x)
    size = min(1024, power_of_two(hidden, least=16))
    start(combine_kernel, (x.shape[0], blocks(hidden, size)), None, y, out, WIDTH=hidden, TOP_K=top_k, BLOCK=size)
    return out
