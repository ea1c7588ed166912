"""Softcapped cross-entropy over many rows without keeping their logits.

Gradients are made in the forward pass, chunk by chunk and in the logits' own memory: on a CPU the loss of a vocabulary
of thousands otherwise costs as much as the network. Products take many rows at once, the pass over the logits as many
as stay in the cache.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 256  # rows of one pass on a CPU: their logits stay within the cache
PRODUCT_CHUNKS = 8  # of them to one product
DEVICE_CHUNK = 8192  # rows elsewhere: enough to fill the device, a gigabyte of logits at most


class SoftcappedCrossEntropy:
    """sum_i weight_i * -log softmax(cap * tanh(hidden_i @ head^T / cap))[target_i]."""

    def __init__(self, cap: float, compiled: bool = True, chunk: int = CHUNK) -> None:
        self.cap, self.chunk = cap, chunk
        self._chunk = torch.compile(_chunk_loss, dynamic=False) if compiled else _chunk_loss

    def __call__(self, hidden: Tensor, head: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """hidden [N, H], head [V, H], target [N] int64, weight [N] float32.

        Returns the weighted sum (differentiable in hidden and head) and each row's own loss [N] in nats (detached).
        """
        return _Function.apply(hidden, head, target, weight, self)


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden: Tensor, head: Tensor, target: Tensor, weight: Tensor, loss: SoftcappedCrossEntropy):  # type: ignore[override]
        losses = torch.empty(hidden.shape[0], device=hidden.device)
        grad_hidden = torch.empty_like(hidden)
        grad_head = torch.zeros_like(head, dtype=torch.float32)
        product = loss.chunk * (PRODUCT_CHUNKS if hidden.device.type == "cpu" else 1)
        for start in range(0, hidden.shape[0], product):
            rows = slice(start, start + product)
            logits = hidden[rows] @ head.T
            pieces = (x.split(loss.chunk) for x in (losses[rows], logits, target[rows], weight[rows]))
            for mine, piece, true, heavy in zip(*pieces, strict=True):
                mine.copy_(loss._chunk(piece, true, heavy, loss.cap))
            grad_hidden[rows] = logits @ head  # by now their gradient
            grad_head += logits.T @ hidden[rows]
        ctx.save_for_backward(grad_hidden, grad_head)
        return (losses * weight).sum(), losses

    @staticmethod
    def backward(ctx, grad: Tensor, _: Tensor):  # type: ignore[override]
        grad_hidden, grad_head = ctx.saved_tensors
        return grad_hidden * grad.to(grad_hidden.dtype), (grad_head * grad).to(grad_hidden.dtype), None, None, None


def _chunk_loss(logits: Tensor, target: Tensor, weight: Tensor, cap: float) -> Tensor:
    """Each row's loss; the logits become their gradient."""
    tanh = 1 - 2 / (torch.exp(logits.float() * (2 / cap)) + 1)  # on a CPU faster than torch.tanh
    exp = torch.exp(tanh * cap - cap)  # bounded above by the cap: no maximum pass needed
    total = exp.sum(-1, keepdim=True)
    picked = tanh.gather(1, target[:, None]) * cap - cap
    losses = (total.log() - picked).squeeze(1)
    hot = torch.arange(logits.shape[1], device=logits.device) == target[:, None]
    slope = 1 - tanh * tanh
    grad = exp * slope * (weight[:, None] / total)
    logits.copy_(torch.where(hot, grad - slope * weight[:, None], grad))
    return losses
