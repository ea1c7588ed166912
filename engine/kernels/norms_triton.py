# ruff: noqa: N803, N806
"""Norms on a GPU: one program per row, which stays in registers between the norms of a chain.

Bytes at 256 rows of 2816 in bfloat16, 1.4 MB each: after attention reads two and writes three, after the feed-forward
reads ten (eight experts' rows a token) and writes two. All of it is in the L2 cache; what a chain saves is launches,
six for one, and round trips.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import Launch, power_of_two, start
from .norms import Rope


@triton.jit
def normed(h, weight, column, eps, WIDTH: tl.constexpr):
    """h [BLOCK] float32, zero beyond WIDTH; weight: pointer or None. float32, not yet rounded."""
    h = h * tl.rsqrt(tl.sum(h * h, 0) / WIDTH + eps)
    if weight is not None:
        h = h * tl.load(weight + column, mask=column < WIDTH, other=0.0).to(tl.float32)
    return h


@triton.jit
def norm_kernel(x, other, weight, out, eps, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * WIDTH
    column = tl.arange(0, BLOCK)
    inside = column < WIDTH
    h = tl.load(x + row + column, mask=inside, other=0.0)
    if other is not None:
        h = h + tl.load(other + row + column, mask=inside, other=0.0)
    h = normed(h.to(tl.float32), weight, column, eps, WIDTH)
    tl.store(out + row + column, h.to(out.dtype.element_ty), mask=inside)


@triton.jit
def after_attention_kernel(
    x, attended, post, dense, experts, r_out, dense_out, experts_out, eps, WIDTH: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64) * WIDTH
    column = tl.arange(0, BLOCK)
    inside = column < WIDTH
    dtype = x.dtype.element_ty
    h = tl.load(attended + row + column, mask=inside, other=0.0).to(tl.float32)
    h = normed(h, post, column, eps, WIDTH).to(dtype)
    r = tl.load(x + row + column, mask=inside, other=0.0) + h
    tl.store(r_out + row + column, r, mask=inside)
    r = r.to(tl.float32)
    tl.store(dense_out + row + column, normed(r, dense, column, eps, WIDTH).to(dtype), mask=inside)
    tl.store(experts_out + row + column, normed(r, experts, column, eps, WIDTH).to(dtype), mask=inside)


@triton.jit
def after_feedforward_kernel(
    r, dense, routed, first, second, post, scalar, following, x_out, normed_out, eps,
    TOP_K: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    row = token * WIDTH
    column = tl.arange(0, BLOCK)
    inside = column < WIDTH
    dtype = r.dtype.element_ty
    total = tl.zeros((BLOCK,), tl.float32)
    for k in range(TOP_K):  # always in the order of the router's choice
        total += tl.load(routed + (token * TOP_K + k) * WIDTH + column, mask=inside, other=0.0).to(tl.float32)
    total = normed(total.to(dtype).to(tl.float32), second, column, eps, WIDTH).to(dtype)
    h = tl.load(dense + row + column, mask=inside, other=0.0).to(tl.float32)
    h = normed(h, first, column, eps, WIDTH).to(dtype) + total
    h = normed(h.to(tl.float32), post, column, eps, WIDTH).to(dtype)
    x = (tl.load(r + row + column, mask=inside, other=0.0) + h) * tl.load(scalar).to(dtype)
    tl.store(x_out + row + column, x, mask=inside)
    tl.store(normed_out + row + column, normed(x.to(tl.float32), following, column, eps, WIDTH).to(dtype), mask=inside)


@triton.jit
def heads_kernel(
    x, weight, cos, sin, out, eps, stride_row, length, HEADS: tl.constexpr, DIM: tl.constexpr, HALF_BLOCK: tl.constexpr
):
    """One head of one token; stride_row: of x [B * T, HEADS * DIM]."""
    token = tl.program_id(0)
    head = tl.program_id(1)
    batch, position = token // length, token % length
    HALF: tl.constexpr = DIM // 2
    column = tl.arange(0, HALF_BLOCK)
    inside = column < HALF
    dtype = out.dtype.element_ty
    source = x + token.to(tl.int64) * stride_row + head * DIM + column
    a = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(source + HALF, mask=inside, other=0.0).to(tl.float32)
    inverse = tl.rsqrt((tl.sum(a * a, 0) + tl.sum(b * b, 0)) / DIM + eps)
    a, b = a * inverse, b * inverse
    if weight is not None:
        a *= tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
        b *= tl.load(weight + HALF + column, mask=inside, other=0.0).to(tl.float32)
    a, b = a.to(dtype), b.to(dtype)
    if cos is not None:
        angle = position * DIM + column
        cos_a = tl.load(cos + angle, mask=inside, other=0.0)
        sin_a = tl.load(sin + angle, mask=inside, other=0.0)
        cos_b = tl.load(cos + angle + HALF, mask=inside, other=0.0)
        sin_b = tl.load(sin + angle + HALF, mask=inside, other=0.0)
        a, b = (a * cos_a).to(dtype) - (b * sin_a).to(dtype), (b * cos_b).to(dtype) + (a * sin_b).to(dtype)
    target = out + ((batch * HEADS + head).to(tl.int64) * length + position) * DIM + column
    tl.store(target, a, mask=inside)
    tl.store(target + HALF, b, mask=inside)


def rms_norm_triton(x: Tensor, weight: Tensor | None, eps: float, other: Tensor | None = None) -> Tensor:
    """As `rms_norm_torch`, of x + other where there is an `other`; contiguous."""
    width = x.shape[-1]
    out = torch.empty_like(x)
    block = power_of_two(width)
    start(norm_kernel, (x.numel() // width,), _launch(block), x, other, weight, out, eps, WIDTH=width, BLOCK=block)
    return out


def after_attention_triton(
    x: Tensor, attended: Tensor, post: Tensor, dense: Tensor, experts: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """As `after_attention_torch`."""
    rows, width = x.shape
    r, dense_in, experts_in = torch.empty_like(x), torch.empty_like(x), torch.empty_like(x)
    block = power_of_two(width)
    start(
        after_attention_kernel, (rows,), _launch(block),
        x, attended, post, dense, experts, r, dense_in, experts_in, eps, WIDTH=width, BLOCK=block,
    )  # fmt: skip
    return r, dense_in, experts_in


def after_feedforward_triton(
    r: Tensor, dense: Tensor, routed: Tensor, weights: tuple[Tensor, Tensor, Tensor], scalar: Tensor, following: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """As `after_feedforward_torch`."""
    rows, width = r.shape
    x, normed_x = torch.empty_like(r), torch.empty_like(r)
    block = power_of_two(width)
    start(
        after_feedforward_kernel, (rows,), _launch(block),
        r, dense, routed, *weights, scalar, following, x, normed_x, eps,
        TOP_K=len(routed) // rows, WIDTH=width, BLOCK=block,
    )  # fmt: skip
    return x, normed_x


def heads_triton(x: Tensor, weight: Tensor | None, rope: Rope | None, eps: float) -> Tensor:
    """As `heads_torch`; x [B, T, heads, D] with neighbouring heads."""
    batch, length, heads, dim = x.shape
    out = torch.empty(batch, heads, length, dim, dtype=x.dtype, device=x.device)
    cos, sin = rope if rope is not None else (None, None)
    half = power_of_two(dim // 2)
    start(
        heads_kernel, (batch * length, heads), Launch(1, half, 1, warps=1, stages=1),
        x, weight, cos, sin, out, eps, x.stride(1), length, HEADS=heads, DIM=dim, HALF_BLOCK=half,
    )  # fmt: skip
    return out


def _launch(block: int) -> Launch:
    """Sixteen elements a thread at most."""
    return Launch(1, block, 1, warps=max(1, min(8, block // 512)), stages=1)
