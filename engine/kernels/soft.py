"""Expected embeddings, the network's self-conditioning: softmax(logits / temperature) @ E * sqrt(H)."""

from __future__ import annotations

import torch
from torch import Tensor

from .head import BANNED, FULL_SCALE


def soft_torch(fixed: Tensor, log_sum: Tensor, cap: float, temperature: float, weight: Tensor, scale: Tensor) -> Tensor:
    """fixed [N, V] int16 and log_sum [N] as `head` gives them; weight: [V, H]; scale: sqrt(H) in the weights' dtype.

    Probabilities are rounded to the weights' dtype, as transformers' are. Returns [N, H].
    """
    probs = torch.exp(fixed.float() * (cap / FULL_SCALE / temperature) - log_sum[:, None])
    return (probs.masked_fill(fixed == BANNED, 0.0).to(weight.dtype) @ weight) * scale
