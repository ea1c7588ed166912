"""Expected embeddings, the network's self-conditioning: softmax(logits / temperature) @ E * sqrt(H)."""

from __future__ import annotations

import torch
from torch import Tensor

from .head import BANNED, FULL_SCALE
from .packing import Packed, unpack
from .target import use_triton


def soft(
    fixed: Tensor, log_sum: Tensor, cap: float, temperature: Tensor, weight: Tensor | Packed, scale: Tensor
) -> Tensor:
    """As `soft_torch`, on the device, where the temperature is read: float32 [1]. scale: [1]."""
    if use_triton(fixed):
        from .soft_triton import soft_triton  # noqa: PLC0415

        return soft_triton(fixed, log_sum, cap, temperature, weight, scale)
    whole = weight if isinstance(weight, Tensor) else unpack(weight, scale.dtype)
    return soft_torch(fixed, log_sum, cap, float(temperature), whole, scale)


def soft_torch(fixed: Tensor, log_sum: Tensor, cap: float, temperature: float, weight: Tensor, scale: Tensor) -> Tensor:
    """fixed [N, V] int16 and log_sum [N] as `head` gives them; weight: [V, H]; scale: sqrt(H) in the weights' dtype.

    Probabilities are rounded to the weights' dtype, as transformers' are. Returns [N, H].
    """
    probs = torch.exp(fixed.float() * (cap / FULL_SCALE / temperature) - log_sum[:, None])
    return (probs.masked_fill(fixed == BANNED, 0.0).to(weight.dtype) @ weight) * scale
