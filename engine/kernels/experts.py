"""Experts: the gated MLPs that the router chose, weighted and summed."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import gelu, linear

from .packing import Packed, unpack
from .target import use_triton

# Up to this many experts it is cheaper in bfloat16 on a CPU to run every expert on every row as one batched product
# than to gather rows; the rows an expert did not get have weight zero. In float32 no instruction makes four times the
# products cheap.
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
        few = experts.numel() <= FEW_EXPERTS * gate_up.shape[0]
        if few and (x.shape[0] == 1 or x.dtype != torch.float32):
            return _chosen_experts(x, weights, experts, gate_up, down)
        if x.dtype != torch.float32:
            return _every_expert(x, weights, experts, gate_up, down)
    return _gathered(x, weights, experts, gate_up, down)


def _every_expert(x: Tensor, weights: Tensor, experts: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    n_experts, width, hidden = gate_up.shape
    gate, up = linear(x, gate_up.reshape(n_experts * width, hidden)).view(-1, n_experts, width).chunk(2, dim=-1)
    h = gelu(gate, approximate="tanh") * up * _per_expert(x, weights, experts, n_experts)[:, :, None]  # [N, E, I]
    return torch.bmm(h.transpose(0, 1), down.transpose(1, 2)).sum(0)


def _chosen_experts(x: Tensor, weights: Tensor, experts: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """The same operations on fewer experts: the others would add zeros."""
    per_expert = _per_expert(x, weights, experts, gate_up.shape[0])
    parts = []
    for expert in sorted(set(experts.flatten().tolist())):
        gate, up = linear(x, gate_up[expert]).chunk(2, dim=-1)
        parts.append(linear(gelu(gate, approximate="tanh") * up * per_expert[:, expert, None], down[expert]))
    return torch.stack(parts).sum(0)


def _per_expert(x: Tensor, weights: Tensor, experts: Tensor, n_experts: int) -> Tensor:
    """[N, E]: an expert's weight, zero where a row did not choose it."""
    return torch.zeros(x.shape[0], n_experts, device=x.device).scatter_(1, experts, weights).type_as(x)


def _gathered(x: Tensor, weights: Tensor, experts: Tensor, gate_up: Tensor | Packed, down: Tensor | Packed) -> Tensor:
    """The rows of one expert after those of the other, each multiplied by its own expert alone."""
    order = experts.flatten().argsort(stable=True)
    rows = order // experts.shape[1]
    counts = torch.bincount(experts.flatten(), minlength=gate_up.shape[0]).tolist()
    gate, up = _each(x[rows], counts, gate_up).chunk(2, dim=-1)
    h = (gelu(gate, approximate="tanh") * up * weights.flatten()[order, None]).type_as(x)
    y = _each(h, counts, down).float()
    return torch.zeros(x.shape, device=x.device).index_add_(0, rows, y).type_as(x)


def _each(x: Tensor, counts: list[int], weight: Tensor | Packed) -> Tensor:
    """x [M, H], the first counts[0] rows for the first expert and so on -> [M, out]."""
    parts = x.split(counts)
    return torch.cat([linear(part, _one(weight, e, x.dtype)) for e, part in enumerate(parts) if len(part)])


def _one(weight: Tensor | Packed, expert: int, dtype: torch.dtype) -> Tensor:
    return weight[expert] if isinstance(weight, Tensor) else unpack(weight[expert], dtype)
