# ruff: noqa: N803
"""Router on a GPU: norm, scores, softmax, choice and weights in one launch.

Scores are rounded to the activations' dtype before the softmax, as transformers' are: a router that keeps them in
float32 chooses other experts now and then. Reads the projection (0.7 MB for DiffusionGemma) once per 16 rows, from the
L2 cache.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import Launch, blocks, choose, power_of_two, start
from .target import Target


@triton.jit(do_not_specialize=["n_rows"])
def route_kernel(
    x, proj, scale, per_expert_scale, weights, experts, n_rows, eps,
    DEPTH: tl.constexpr, ROOT: tl.constexpr, N_EXPERTS: tl.constexpr, TOP_K: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_EXPERTS: tl.constexpr, BLOCK_DEPTH: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    live = row < n_rows
    x += tl.where(live, row, 0).to(tl.int64) * DEPTH
    expert = tl.arange(0, BLOCK_EXPERTS)
    proj += tl.minimum(expert, N_EXPERTS - 1) * DEPTH
    dtype = proj.dtype.element_ty
    squares = tl.zeros((BLOCK_DEPTH, BLOCK_ROWS), tl.float32)
    for at in range(0, DEPTH, BLOCK_DEPTH):
        k = at + tl.arange(0, BLOCK_DEPTH)
        h = tl.load(x[None, :] + k[:, None], mask=k[:, None] < DEPTH, other=0.0).to(tl.float32)
        squares += h * h
    inverse = tl.rsqrt(tl.sum(squares, 0) / DEPTH + eps)
    scores = tl.zeros((BLOCK_EXPERTS, BLOCK_ROWS), tl.float32)
    for at in range(0, DEPTH, BLOCK_DEPTH):
        k = at + tl.arange(0, BLOCK_DEPTH)
        h = tl.load(x[None, :] + k[:, None], mask=k[:, None] < DEPTH, other=0.0).to(tl.float32)
        z = (h * inverse[None, :]).to(dtype) * tl.load(scale + k, mask=k < DEPTH, other=0.0)[:, None]
        z = (z.to(tl.float32) * ROOT).to(dtype)
        w = tl.load(proj[:, None] + k[None, :], mask=k[None, :] < DEPTH, other=0.0)
        scores = tl.dot(w, z, scores, input_precision="ieee")
    scores = tl.where((expert < N_EXPERTS)[:, None], scores.to(dtype).to(tl.float32), -float("inf"))
    probs = tl.exp(scores - tl.max(scores, 0)[None, :])
    probs = probs / tl.sum(probs, 0)[None, :]
    rank = tl.full((BLOCK_EXPERTS, BLOCK_ROWS), -1, tl.int32)
    total = tl.zeros((BLOCK_ROWS,), tl.float32)
    for k in tl.static_range(TOP_K):
        free = tl.where(rank < 0, probs, -1.0)
        best = tl.max(free, 0)
        first = tl.min(tl.where((free == best[None, :]) & (rank < 0), expert[:, None], BLOCK_EXPERTS), 0)
        # A row of NaN has no best expert; it gets the last ones, so that no index is ever out of range.
        first = tl.where(first == BLOCK_EXPERTS, N_EXPERTS - 1 - k, first)
        rank = tl.where(expert[:, None] == first[None, :], k, rank)
        total += best
    share = (
        probs / total[None, :] * tl.load(per_expert_scale + tl.minimum(expert, N_EXPERTS - 1)).to(tl.float32)[:, None]
    )
    place = row[None, :] * TOP_K + rank
    chosen = (rank >= 0) & live[None, :]
    tl.store(weights + place, share, mask=chosen)
    tl.store(experts + place, tl.broadcast_to(expert[:, None], rank.shape), mask=chosen)


def heuristic(target: Target) -> Launch:
    return Launch(rows=16, columns=0, depth=64 if target.backend == "hip" else 128, warps=4, stages=2)


def route_triton(
    residual: Tensor, proj: Tensor, scale: Tensor, per_expert_scale: Tensor, top_k: int, eps: float
) -> tuple[Tensor, Tensor]:
    """As `route_torch`, but for the experts' dtype, int32."""
    rows, hidden = residual.shape
    n_experts = proj.shape[0]
    weights = torch.empty(rows, top_k, dtype=torch.float32, device=residual.device)
    experts = torch.empty(rows, top_k, dtype=torch.int32, device=residual.device)
    launch = choose("route", "plain", (n_experts, hidden), 16, residual.device, heuristic)
    start(
        route_kernel, (blocks(rows, launch.rows),), launch,
        residual, proj, scale, per_expert_scale, weights, experts, rows, eps,
        DEPTH=hidden, ROOT=hidden**-0.5, N_EXPERTS=n_experts, TOP_K=top_k,
        BLOCK_ROWS=launch.rows, BLOCK_EXPERTS=power_of_two(n_experts, least=16), BLOCK_DEPTH=launch.depth,
    )  # fmt: skip
    return weights, experts
