"""Attention of a canvas: every slot sees the visible end of the prefix and the whole canvas, so there is no mask.

A rectangle over two segments, keys and values of the prefix where the cache has them and those of the canvas where the
projections left them: nothing is concatenated. Softmax scale 1.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rectangle_torch(
    q: Tensor, past_k: Tensor, past_v: Tensor, k: Tensor, v: Tensor, span: Tensor, lengths: Tensor
) -> Tensor:
    """softmax(q @ [past_k; k]^T) @ [past_v; v], each kv head serving heads / kv query heads.

    q: [B, heads, T, D]; k, v: [B, kv, T, D]; past_k, past_v: [1 or B, kv, P, D]; span: int [2], the prefix keys that
    are seen, from and up to but without; lengths: int [B], the slots of each canvas: those behind are padding, which
    nobody sees. Returns [B, T, heads * D], as the output projection wants it.
    """
    start, end = span.tolist()
    batch, heads, length, dim = q.shape
    past = (batch, -1, -1, -1)
    keys = torch.cat((past_k[:, :, start:end].expand(past), k), dim=2)
    values = torch.cat((past_v[:, :, start:end].expand(past), v), dim=2)
    rows = q.reshape(batch, k.shape[1], -1, dim)  # the query heads of one kv head, stacked
    unseen = torch.arange(keys.shape[2], device=q.device)[None] >= end - start + lengths[:, None]
    scores = (rows @ keys.transpose(2, 3)).masked_fill(unseen[:, None, None], -torch.inf)
    probs = torch.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
    return (probs @ values).view(batch, heads, length, dim).transpose(1, 2).flatten(2)
