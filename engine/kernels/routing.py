"""Router: which experts a token visits, and with what weight."""

from __future__ import annotations

import torch
from torch import Tensor

from .target import use_triton


def route(
    residual: Tensor, proj: Tensor, scale: Tensor, per_expert_scale: Tensor, top_k: int, eps: float
) -> tuple[Tensor, Tensor]:
    """As `route_torch`; on a GPU in one launch, and the indices are int32."""
    if use_triton(residual):
        from .routing_triton import route_triton  # noqa: PLC0415

        return route_triton(residual, proj, scale, per_expert_scale, top_k, eps)
    return route_torch(residual, proj, scale, per_expert_scale, top_k, eps)


def route_torch(
    residual: Tensor, proj: Tensor, scale: Tensor, per_expert_scale: Tensor, top_k: int, eps: float
) -> tuple[Tensor, Tensor]:
    """Top-k experts of each row (reference: transformers `DiffusionGemmaTextRouter`).

    z = rmsnorm(residual) * scale * H^-0.5;  p = softmax_fp32(z @ proj^T);  the k largest, renormalised to sum 1,
    then times per_expert_scale. Of equal experts the one with the lower index comes first.

    Args:
        residual: [N, H], the raw residual stream. Feeding the experts' normed input here instead gives a network
            that never converges.
        proj: [E, H]; scale: [H]; per_expert_scale: [E].

    Returns:
        weights [N, top_k] float32 and expert indices [N, top_k] int64.
    """
    x = residual.float()
    x = (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)).type_as(residual)
    scores = torch.nn.functional.linear(x * scale * residual.shape[-1] ** -0.5, proj)
    probs = torch.softmax(scores, dim=-1, dtype=torch.float32)
    weights, experts = torch.sort(probs, dim=-1, descending=True, stable=True)
    weights, experts = weights[:, :top_k], experts[:, :top_k]
    weights = weights / weights.sum(-1, keepdim=True)
    return weights * per_expert_scale[experts], experts
