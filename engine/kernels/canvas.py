"""Canvases through all layers behind a prefix that lies in fixed memory: what a step of `step.py` does first.

What `Network.denoise` computes, but for padding: canvases of different lengths stand side by side, each ends in slots
that nobody sees. Knows nothing of what a slot is for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .attention import rectangle_torch
from .norms import Rope
from .target import use_triton

if TYPE_CHECKING:
    from ..cache import KVCache
    from ..config import NetworkConfig
    from ..network import Network


@dataclass(frozen=True)
class Past:
    """An encoded prefix as a canvas sees it.

    layers: per layer K, V [1 or B, kv, P, D]; spans: per window of a layer (None: full attention) int32 [2] on the
    device, the keys from which and up to but without which are seen; ropes: per layer type, of the canvas' positions.
    """

    layers: Sequence[tuple[Tensor, Tensor]]
    spans: Mapping[int | None, Tensor]
    ropes: Mapping[str, Rope]


def past_of(cache: KVCache, config: NetworkConfig, ropes: Mapping[str, Rope], device: torch.device) -> Past:
    """The prefix in `cache` as views: sliding layers see its last window - 1 tokens."""
    layers = [cache.read(i) for i in range(config.num_hidden_layers)]
    windows = {config.attention(i).window for i in range(config.num_hidden_layers)}
    starts = {window: 0 if window is None else max(0, cache.length - window + 1) for window in windows}
    spans = {
        window: torch.tensor([start, cache.length], dtype=torch.int32).to(device, non_blocking=True)
        for window, start in starts.items()
    }
    return Past(layers, spans, ropes)


def canvas(network: Network, ids: Tensor, past: Past, soft: Tensor | None, lengths: Tensor) -> Tensor:
    """ids [B, C] -> normed hidden [B, C, H]; soft [B, C, H] or None; lengths: int32 [B] on the device, the slots of
    each canvas before its padding."""
    if use_triton(ids):
        from .canvas_triton import canvas_triton  # noqa: PLC0415

        return canvas_triton(network, ids, past, soft, lengths)
    return canvas_torch(network, ids, past, soft, lengths)


def canvas_torch(network: Network, ids: Tensor, past: Past, soft: Tensor | None, lengths: Tensor) -> Tensor:
    """As `canvas`."""
    config = network.config
    x = network.self_conditioning.condition(network.embed(ids), soft)
    for i, layer in enumerate(network.layers):
        (past_k, past_v), span = past.layers[i], past.spans[config.attention(i).window]

        def attend(
            q: Tensor, k: Tensor, v: Tensor, past_k: Tensor = past_k, past_v: Tensor = past_v, span: Tensor = span
        ) -> Tensor:
            out = rectangle_torch(q, past_k, past_v, k, v, span, lengths)
            return out.unflatten(-1, (q.shape[1], -1)).transpose(1, 2)

        x = layer(x, past.ropes[config.layer_types[i]], attend, layer.layer_scalar)
    return network.norm(x)
