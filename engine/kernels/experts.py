"""Experts: the gated MLPs that the router chose, weighted and summed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import gelu, linear

from .packing import Packed, unpack
from .target import use_triton

# Up to this many experts it is cheaper on a CPU to run every expert on every row as one batched product than to
# gather rows; the rows an expert did not get have weight zero.
DENSE_EXPERTS = 16
# Up to this share of the experts it is cheaper to run the chosen ones one after the other: a token of a causal draft
# reads two of midspan-mini's eight, and reading weights is what it takes its time for.
FEW_EXPERTS = 0.5


def run_experts(x: Tensor, weights: Tensor, experts: Tensor, gate_up: Tensor | Packed, down: Tensor | Packed) -> Tensor:
    """As `experts_torch`; on a GPU through grouped products that read every weight once."""
    if use_triton(x):
        from .experts_triton import experts_triton  # noqa: PLC0415

        return experts_triton(x, weights, experts.int(), gate_up, down)
    return experts_torch(x, weights, experts, gate_up, down)


def experts_torch(
    x: Tensor, weights: Tensor, experts: Tensor, gate_up: Tensor | Packed, down: Tensor | Packed
) -> Tensor:
    """sum_k weights[n, k] * down[e] @ (gelu_tanh(gate[e] @ x[n]) * (up[e] @ x[n])),  e = experts[n, k].

    Reference: transformers `DiffusionGemmaTextExperts`. A packed weight is unpacked one expert at a time.

    Args:
        x: [N, H]; weights: [N, K] float32; experts: [N, K] int64, distinct within a row.
        gate_up: [E, 2*I, H], gate rows first; down: [E, H, I].

    Returns:
        [N, H], dtype of x.
    """
    if isinstance(gate_up, Tensor) and isinstance(down, Tensor) and gate_up.shape[0] <= DENSE_EXPERTS:
        return _every_expert(x, weights, experts, gate_up, down)
    return _gathered(x, weights, experts, gate_up, down)


def _every_expert(x: Tensor, weights: Tensor, experts: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    n_experts, width, hidden = gate_up.shape
    per_expert = torch.zeros(x.shape[0], n_experts, device=x.device).scatter_(1, experts, weights)  # [N, E]
    if experts.numel() <= FEW_EXPERTS * n_experts:
        return _chosen_experts(x, per_expert.type_as(x), sorted(set(experts.flatten().tolist())), gate_up, down)
    gate, up = linear(x, gate_up.reshape(n_experts * width, hidden)).view(-1, n_experts, width).chunk(2, dim=-1)
    h = gelu(gate, approximate="tanh") * up * per_expert[:, :, None].type_as(x)  # [N, E, I]
    return torch.bmm(h.transpose(0, 1), down.transpose(1, 2)).sum(0)


def _chosen_experts(x: Tensor, per_expert: Tensor, chosen: Sequence[int], gate_up: Tensor, down: Tensor) -> Tensor:
    """The same operations on fewer experts: the others would add zeros."""
    parts = []
    for expert in chosen:
        gate, up = linear(x, gate_up[expert]).chunk(2, dim=-1)
        parts.append(linear(gelu(gate, approximate="tanh") * up * per_expert[:, expert, None], down[expert]))
    return torch.stack(parts).sum(0)


def _gathered(x: Tensor, weights: Tensor, experts: Tensor, gate_up: Tensor | Packed, down: Tensor | Packed) -> Tensor:
    out = torch.zeros(x.shape, device=x.device, dtype=torch.float32)
    order = experts.flatten().argsort(stable=True)
    rows = order // experts.shape[1]
    counts = torch.bincount(experts.flatten(), minlength=gate_up.shape[0]).tolist()
    start = 0
    for expert, count in enumerate(counts):
        if count == 0:
            continue
        picked = order[start : start + count]
        row = rows[start : start + count]
        gate, up = linear(x[row], _one(gate_up, expert, x.dtype)).chunk(2, dim=-1)
        y = linear(gelu(gate, approximate="tanh") * up, _one(down, expert, x.dtype))
        out.index_add_(0, row, y.float() * weights.flatten()[picked, None])
        start += count
    return out.type_as(x)


def _one(weight: Tensor | Packed, expert: int, dtype: torch.dtype) -> Tensor:
    return weight[expert] if isinstance(weight, Tensor) else unpack(weight[expert], dtype)
