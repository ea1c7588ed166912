"""Norms, and the chains of norms and residual sums between the products of a layer.

Reference: transformers `DiffusionGemmaTextDecoderLayer`. RMSNorm: x * (mean(x^2) + eps)^-0.5 * w in float32, the weight
is w itself, not 1 + w; without a weight nothing is multiplied.
"""

from __future__ import annotations

import torch
from torch import Tensor

Rope = tuple[Tensor, Tensor]  # cos, sin [T, head_dim]


def rms_norm_torch(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """x: [..., H]; weight: [H] or None."""
    h = x.float()
    h = h * torch.rsqrt(h.square().mean(-1, keepdim=True) + eps)
    if weight is not None:
        h = h * weight.float()
    return h.type_as(x)


def after_attention_torch(
    x: Tensor, attended: Tensor, post: Tensor, dense: Tensor, experts: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """r = x + norm(attended); returns r, which the router reads, and r normed for the dense MLP and for the experts.

    x, attended: [N, H]; post, dense, experts: the norms' weights [H].
    """
    r = x + rms_norm_torch(attended, post, eps)
    return r, rms_norm_torch(r, dense, eps), rms_norm_torch(r, experts, eps)


def after_feedforward_torch(
    r: Tensor, dense: Tensor, routed: Tensor, weights: tuple[Tensor, Tensor, Tensor], scalar: Tensor, following: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """x = (r + norm(norm_1(dense) + norm_2(sum of a row's experts))) * scalar; returns x and x normed by `following`.

    r, dense: [N, H]; routed: [N * K, H], a row's K experts next to each other; weights: of norm_1, norm_2 and the norm
    of their sum; following: of the next layer's first norm, or the network's last.
    """
    first, second, post = weights
    experts = routed.view(len(r), -1, r.shape[1]).float().sum(1).type_as(r)
    both = rms_norm_torch(dense, first, eps) + rms_norm_torch(experts, second, eps)
    x = (r + rms_norm_torch(both, post, eps)) * scalar
    return x, rms_norm_torch(x, following, eps)


def heads_torch(x: Tensor, weight: Tensor | None, rope: Rope | None, eps: float) -> Tensor:
    """x [B, T, heads, D] normed over D, then turned pairwise (i, i + D/2) by the angles of its position where there is
    a rope: [B, heads, T, D]."""
    x = rms_norm_torch(x, weight, eps).transpose(1, 2)
    if rope is None:
        return x
    a, b = x.chunk(2, dim=-1)
    return x * rope[0] + torch.cat((-b, a), dim=-1) * rope[1]
