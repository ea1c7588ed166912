"""The canvas through all layers on a GPU: what `Network.denoise` computes, with the fused operations.

Eighteen launches a layer: three projections, three norms of heads with their rotation, attention in two, the output
projection, norms, router, alignment, two products of the experts, four of the dense MLP, norms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .alignment_triton import align_triton
from .attention_triton import rectangle_triton
from .canvas import Past
from .experts_triton import block_rows, expert_rows
from .linear import packed_linear
from .linear_triton import gated_triton
from .norms_triton import after_attention_triton, after_feedforward_triton, heads_triton, rms_norm_triton
from .packing import Packed
from .routing_triton import route_triton

if TYPE_CHECKING:
    from ..network import GatedMLP, Network


def canvas_triton(network: Network, ids: Tensor, past: Past, soft: Tensor | None, lengths: Tensor) -> Tensor:
    """As `canvas`."""
    config = network.config
    eps = config.rms_norm_eps
    conditioning = network.self_conditioning
    batch, n_slots = ids.shape
    x = network.embed(ids).flatten(0, 1)
    said = None
    if soft is not None:
        said = mlp(conditioning, rms_norm_triton(soft.flatten(0, 1), conditioning.pre_norm.weight, eps))
    x = rms_norm_triton(x, None, eps, said)
    layers: Sequence[Any] = list(network.layers)
    following = [layer.input_layernorm.weight for layer in layers[1:]] + [network.norm.weight]
    normed = rms_norm_triton(x, layers[0].input_layernorm.weight, eps)
    for i, (layer, next_weight) in enumerate(zip(layers, following, strict=True)):
        attention, shape = layer.self_attn, config.attention(i)
        rope = past.ropes[config.layer_types[i]]
        h = normed.view(batch, n_slots, -1)
        q, k = linear(attention.q_proj, h), linear(attention.k_proj, h)
        v = k if attention.v_proj is None else linear(attention.v_proj, h)
        q, k, v = (each.unflatten(-1, (-1, shape.head_dim)) for each in (q, k, v))
        attended = rectangle_triton(
            heads_triton(q, attention.q_norm.weight, rope, eps),
            *past.layers[i],
            heads_triton(k, attention.k_norm.weight, rope, eps),
            heads_triton(v, None, None, eps),
            past.spans[shape.window],
            lengths,
        )
        attended = linear(attention.o_proj, attended).flatten(0, 1)
        r, dense_in, experts_in = after_attention_triton(
            x,
            attended,
            layer.post_attention_layernorm.weight,
            layer.pre_feedforward_layernorm.weight,
            layer.pre_feedforward_layernorm_2.weight,
            eps,
        )
        router, experts = layer.router, layer.experts
        weights, chosen = route_triton(r, router.proj.weight, router.scale, router.per_expert_scale, router.top_k, eps)
        block = block_rows(chosen.numel(), config.num_experts)
        aligned = align_triton(chosen, config.num_experts, block)
        routed = expert_rows(experts_in, weights, aligned, experts.gate_up_proj, experts.down_proj, block)
        norms = (
            layer.post_feedforward_layernorm_1.weight,
            layer.post_feedforward_layernorm_2.weight,
            layer.post_feedforward_layernorm.weight,
        )
        dense = mlp(layer.mlp, dense_in)
        x, normed = after_feedforward_triton(r, dense, routed, norms, layer.layer_scalar, next_weight, eps)
    return normed.view(batch, n_slots, -1)


def mlp(module: GatedMLP, x: Tensor) -> Tensor:
    return linear(module.down_proj, gated_triton(linear(module.gate_proj, x), linear(module.up_proj, x)))


def linear(module: Any, x: Tensor) -> Tensor:
    """A linear module, whose weight loading may have packed."""
    packed: Packed | None = getattr(module, "packed", None)
    return module(x) if packed is None else packed_linear(x, packed)
