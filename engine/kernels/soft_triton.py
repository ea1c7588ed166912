# ruff: noqa: N803, N806
# pyright: reportAssignmentType=false
"""Expected embeddings on a GPU: probabilities are rebuilt from fixed-point logits in registers, and never stored.

The vocabulary is the sum's dimension, 262144 long against 2816 columns, so it is cut among programs, whose parts are
added in a second launch in fixed order. Bytes: the embedding once more (0.31 ms at 4.8 TB/s in bfloat16; a tile is
shared by the row blocks that run beside it), 2 bytes per logit and column tile from the cache.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .head import BANNED, FULL_SCALE
from .launch import Launch, blocks, choose, power_of_two, start
from .packing import Packed
from .target import Target, target_of
from .weights_triton import DTYPES, compiled_for, operands, plane_of

SCALE: tl.constexpr = tl.constexpr(FULL_SCALE)
BAN: tl.constexpr = tl.constexpr(BANNED)


@triton.jit(do_not_specialize=["n_rows", "per_part"])
def soft_kernel(
    fixed, log_sum, knobs, weight, scales, parts, n_rows, per_part, cap,
    WIDTH: tl.constexpr, VOCAB: tl.constexpr, KIND: tl.constexpr, DTYPE: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr, BLOCK_DEPTH: tl.constexpr, PTX: tl.constexpr,
):  # fmt: skip
    """parts [n_parts, n_rows, WIDTH] float32. A program owns BLOCK_COLUMNS columns, or words of two columns each."""
    PLANES: tl.constexpr = 1 if KIND == "plain" else 2
    WORDS: tl.constexpr = WIDTH // PLANES
    row = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    live = row < n_rows
    here = tl.where(live, row, 0)
    word = tl.program_id(1) * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    source = tl.minimum(word, WORDS - 1)
    first = tl.program_id(2) * per_part
    shift = tl.load(log_sum + here)
    slope = cap / SCALE / tl.load(knobs)
    acc = tl.zeros((BLOCK_ROWS, BLOCK_COLUMNS), tl.float32)
    upper = tl.zeros((BLOCK_ROWS, BLOCK_COLUMNS), tl.float32)
    for at in range(first, tl.minimum(first + per_part, VOCAB), BLOCK_DEPTH):
        token = at + tl.arange(0, BLOCK_DEPTH)
        known = token < VOCAB
        safe = tl.minimum(token, VOCAB - 1)
        level = tl.load(fixed + here[:, None].to(tl.int64) * VOCAB + token[None, :], mask=known[None, :], other=BAN)
        probs = tl.exp(level.to(tl.float32) * slope - shift[:, None])
        probs = tl.where(level == BAN, 0.0, probs)
        tile = tl.load(weight + safe[:, None].to(tl.int64) * WORDS + source[None, :])
        if KIND == "plain":
            acc = tl.dot(probs.to(DTYPE), tile, acc, input_precision="ieee")
        else:  # a token's scale goes to its probability
            probs = (probs * tl.load(scales + safe)[None, :]).to(DTYPE)
            acc = tl.dot(probs, plane_of(tile, 0, KIND, DTYPE, PTX), acc, input_precision="ieee")
            upper = tl.dot(probs, plane_of(tile, 1, KIND, DTYPE, PTX), upper, input_precision="ieee")
    parts += (tl.program_id(2).to(tl.int64) * n_rows + row)[:, None] * WIDTH
    mask = live[:, None] & (word < WORDS)[None, :]
    column = word if KIND == "plain" else word // 16 * 32 + word % 16
    tl.store(parts + column[None, :], acc, mask=mask)
    if KIND != "plain":
        tl.store(parts + column[None, :] + 16, upper, mask=mask)


@triton.jit
def add_parts_kernel(parts, scale, out, n_parts, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < WIDTH
    total = tl.zeros((BLOCK,), tl.float32)
    for part in range(n_parts):
        total += tl.load(parts + (part * tl.num_programs(0) + row) * WIDTH + column, mask=inside, other=0.0)
    total = total.to(out.dtype.element_ty) * tl.load(scale).to(out.dtype.element_ty)
    tl.store(out + row * WIDTH + column, total, mask=inside)


def heuristic(target: Target, rows: int, kind: str) -> Launch:
    """Wide tiles: every tile of columns reads the logits and takes their exponentials again."""
    if target.warpgroups:
        if kind == "plain":
            return Launch(128, 256, 32, warps=8, stages=3)
        return Launch(128, 64, 64, warps=8, stages=3) if rows > 64 else Launch(64, 64, 32, warps=4, stages=4)
    if target.backend == "hip":
        return Launch(min(32, rows), 64, 32, warps=4, stages=2)
    return Launch(min(64, rows), 64, 64 if kind == "plain" else 32, warps=4, stages=2)


def soft_triton(
    fixed: Tensor, log_sum: Tensor, cap: float, knobs: Tensor, weight: Tensor | Packed, scale: Tensor
) -> Tensor:
    """As `soft_torch`, but for the temperature, which is read on the device: knobs float32 [1]. scale: [1]; an int4
    embedding is not supported."""
    n_rows = len(fixed)
    vocab, width = weight.shape
    data, scales, kind = operands(weight)
    assert kind != "int4"
    rows = min(128, power_of_two(n_rows, least=16))
    launch = choose("soft", kind, (vocab, width), rows, fixed.device, lambda target: heuristic(target, rows, kind))
    words = width if kind == "plain" else width // 2
    grid = (blocks(n_rows, launch.rows), blocks(words, launch.columns))
    n_parts = max(1, 2 * target_of(fixed.device).processors // (grid[0] * grid[1]))
    per_part = blocks(blocks(vocab, n_parts), launch.depth) * launch.depth
    n_parts = blocks(vocab, per_part)
    parts = torch.empty(n_parts, n_rows, width, dtype=torch.float32, device=fixed.device)
    out = torch.empty(n_rows, width, dtype=scale.dtype, device=fixed.device)
    start(
        soft_kernel, (*grid, n_parts), launch,
        fixed, log_sum, knobs, data, scales, parts, n_rows, per_part, cap,
        WIDTH=width, VOCAB=vocab, KIND=kind, DTYPE=DTYPES[scale.dtype],
        BLOCK_ROWS=launch.rows, BLOCK_COLUMNS=launch.columns, BLOCK_DEPTH=launch.depth, **compiled_for(fixed),
    )  # fmt: skip
    block = min(1024, power_of_two(width))
    start(add_parts_kernel, (n_rows, blocks(width, block)), None, parts, scale, out, n_parts, WIDTH=width, BLOCK=block)
    return out
