# ruff: noqa: N803
"""Attention of a canvas on a GPU: flash attention over two segments, the keys split among programs.

The query heads of one kv head are rows of one tile, so keys and values are read once for all of them. DiffusionGemma's
canvas alone makes few tiles (sliding layers 8 kv heads x 8 of 64 rows, full ones 2 x 32), so the keys are cut as well,
and the parts are merged by their log-sums in a second launch. Where a part has no keys its log-sum is -inf and its
weight zero. How much of the prefix is seen is read from memory, so one captured graph serves many lengths.

Floor at a prefix of 1023 + 256 keys, sliding: 10.5 MB of keys and values, 2.2 us at 4.8 TB/s, and 2.7 GFLOP.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import Launch, blocks, choose, power_of_two, start
from .target import Target, target_of

LOG2E: tl.constexpr = tl.constexpr(1.4426950408889634)


@triton.jit
def rectangle_kernel(
    q, past_k, past_v, k, v, span, lengths, out, sums, n_rows, n_parts,
    past_batch, past_head, past_row, head_stride, batch_stride,
    KV_HEADS: tl.constexpr, DIM: tl.constexpr, BLOCK_DIM: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr, BLOCK_DEPTH: tl.constexpr,
):  # fmt: skip
    """q [B, kv, n_rows, DIM]; k, v [B, kv, T, DIM] by batch_stride and head_stride; out [n_parts, B, kv, n_rows,
    DIM] and sums [n_parts, B, kv, n_rows], float32. BLOCK_DEPTH: of a head's dimensions multiplied at a time: all of
    them, or a piece where registers are few."""
    part = tl.program_id(1)
    group = tl.program_id(2)  # of a batch entry's kv head
    batch, head = group // KV_HEADS, group % KV_HEADS
    start_key = tl.load(span)
    n_past = tl.load(span + 1) - start_key
    n_keys = n_past + tl.load(lengths + batch)
    per_part = tl.cdiv(tl.cdiv(n_keys, n_parts), BLOCK_COLUMNS) * BLOCK_COLUMNS
    first = part * per_part
    last = tl.minimum(first + per_part, n_keys)

    row = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    dim = tl.arange(0, BLOCK_DIM)
    queries = q + (group.to(tl.int64) * n_rows + tl.minimum(row, n_rows - 1)) * DIM
    dtype = q.dtype.element_ty
    x = tl.load(queries[:, None] + dim[None, :], mask=dim[None, :] < DIM, other=0.0)
    past = batch.to(tl.int64) * past_batch + head.to(tl.int64) * past_head
    own = batch.to(tl.int64) * batch_stride + head.to(tl.int64) * head_stride
    peak = tl.full((BLOCK_ROWS,), -float("inf"), tl.float32)
    total = tl.zeros((BLOCK_ROWS,), tl.float32)
    acc = tl.zeros((BLOCK_ROWS, BLOCK_DIM), tl.float32)
    for at in range(first, last, BLOCK_COLUMNS):
        key = at + tl.arange(0, BLOCK_COLUMNS)
        seen = key < last
        in_past = key < n_past
        past_at = past + (start_key + key).to(tl.int64) * past_row
        own_at = own + (tl.minimum(key, n_keys - 1) - n_past).to(tl.int64) * DIM
        keys = tl.where(in_past, past_k + past_at, k + own_at)
        values = tl.where(in_past, past_v + past_at, v + own_at)
        if BLOCK_DEPTH == BLOCK_DIM:
            k_tile = tl.load(keys[None, :] + dim[:, None], mask=dim[:, None] < DIM, other=0.0)
            scores = tl.dot(x, k_tile, input_precision="ieee")
        else:  # queries come from the cache again, a piece at a time
            scores = tl.zeros((BLOCK_ROWS, BLOCK_COLUMNS), tl.float32)
            for piece in range(0, DIM, BLOCK_DEPTH):
                d = piece + tl.arange(0, BLOCK_DEPTH)
                x_piece = tl.load(queries[:, None] + d[None, :], mask=d[None, :] < DIM, other=0.0)
                k_piece = tl.load(keys[None, :] + d[:, None], mask=d[:, None] < DIM, other=0.0)
                scores = tl.dot(x_piece, k_piece, scores, input_precision="ieee")
        v_tile = tl.load(values[:, None] + dim[None, :], mask=dim[None, :] < DIM, other=0.0)
        scores = tl.where(seen[None, :], scores * LOG2E, -float("inf"))
        higher = tl.maximum(peak, tl.max(scores, 1))
        weight = tl.exp2(scores - higher[:, None])
        fade = tl.exp2(peak - higher)
        total = total * fade + tl.sum(weight, 1)
        acc = tl.dot(weight.to(dtype), v_tile, acc * fade[:, None], input_precision="ieee")
        peak = higher
    live = row < n_rows
    place = (part.to(tl.int64) * tl.num_programs(2) + group) * n_rows + row
    empty = total == 0.0
    tl.store(sums + place, tl.where(empty, -float("inf"), peak + tl.log2(tl.where(empty, 1.0, total))), mask=live)
    acc = acc / tl.where(empty, 1.0, total)[:, None]
    tl.store(out + place[:, None] * DIM + dim[None, :], acc, mask=live[:, None] & (dim < DIM)[None, :])


@triton.jit
def merge_kernel(
    parts, sums, out, n_rows, length, n_parts, HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):  # fmt: skip
    """One row: the mean of its parts, weighted by 2^log-sum, in the order of the parts; out [B, length, HEADS, DIM]."""
    row = tl.program_id(0)
    group = tl.program_id(1)
    stride = tl.num_programs(1).to(tl.int64) * n_rows
    place = group.to(tl.int64) * n_rows + row
    peak = -float("inf")
    for part in range(n_parts):
        peak = tl.maximum(peak, tl.load(sums + part * stride + place))
    dim = tl.arange(0, BLOCK_DIM)
    inside = dim < DIM
    acc = tl.zeros((BLOCK_DIM,), tl.float32)
    total = 0.0
    for part in range(n_parts):
        weight = tl.exp2(tl.load(sums + part * stride + place) - peak)
        acc += weight * tl.load(parts + (part * stride + place) * DIM + dim, mask=inside, other=0.0)
        total += weight
    batch, kv = group // KV_HEADS, group % KV_HEADS
    head = kv * (HEADS // KV_HEADS) + row // length
    target = out + ((batch.to(tl.int64) * length + row % length) * HEADS + head) * DIM
    tl.store(target + dim, (acc / total).to(out.dtype.element_ty), mask=inside)


def heuristic(target: Target, dim: int) -> Launch:
    """Tiles that neither spill nor outgrow the shared memory: `aot.py` holds them to it."""
    if target.backend == "hip" and target.warp == 32:
        return Launch(16 if dim > 256 else 32, 32, min(64, dim), warps=8, stages=1)
    if dim <= 128:
        return Launch(64, 64 if target.backend == "cuda" else 32, dim, warps=4, stages=2)
    if target.warpgroups:
        return Launch(64, 64, dim, warps=4, stages=2) if dim <= 256 else Launch(64, 32, dim, warps=8, stages=2)
    return Launch(16 if dim > 256 else 32, 32, dim, warps=4 if target.backend == "cuda" else 8, stages=1)


def rectangle_triton(
    q: Tensor, past_k: Tensor, past_v: Tensor, k: Tensor, v: Tensor, span: Tensor, lengths: Tensor
) -> Tensor:
    """As `rectangle_torch`; q, k, v contiguous, span and lengths int32 on their device. past_k and past_v share their
    strides and are contiguous along D."""
    batch, heads, length, dim = q.shape
    kv = k.shape[1]
    n_rows = heads // kv * length
    block_dim = power_of_two(dim, least=16)
    launch = choose(
        "rectangle", "plain", (heads, kv, dim), length, q.device, lambda target: heuristic(target, block_dim)
    )  # fmt: skip
    tiles = blocks(n_rows, launch.rows) * batch * kv
    n_parts = max(1, min(8, target_of(q.device).processors // tiles))  # one wave: parts cost a round trip in float32
    parts = torch.empty(n_parts, batch * kv, n_rows, dim, dtype=torch.float32, device=q.device)
    sums = torch.empty(n_parts, batch * kv, n_rows, dtype=torch.float32, device=q.device)
    out = torch.empty(batch, length, heads * dim, dtype=q.dtype, device=q.device)
    start(
        rectangle_kernel, (blocks(n_rows, launch.rows), n_parts, batch * kv), launch,
        q, past_k, past_v, k, v, span, lengths, parts, sums, n_rows, n_parts,
        past_k.stride(0) if past_k.shape[0] > 1 else 0, past_k.stride(1), past_k.stride(2), k.stride(1), k.stride(0),
        KV_HEADS=kv, DIM=dim, BLOCK_DIM=block_dim,
        BLOCK_ROWS=launch.rows, BLOCK_COLUMNS=launch.columns, BLOCK_DEPTH=launch.depth,
    )  # fmt: skip
    start(
        merge_kernel, (n_rows, batch * kv), Launch(1, block_dim, 1, warps=max(1, block_dim // 256), stages=1),
        parts, sums, out, n_rows, length, n_parts, HEADS=heads, KV_HEADS=kv, DIM=dim, BLOCK_DIM=block_dim,
    )  # fmt: skip
    return out
