"""DiffusionGemma's text stack: one set of layers, two modes.

`encode` runs causally over the prefix and writes its keys and values; `denoise` runs bidirectionally over the
canvas, reads them and writes nothing. Reference: transformers `modeling_diffusion_gemma.py`, to which the tests hold
every number. Absent on purpose: the noise level (never an input), vision, dropout, and any knowledge of what a token
means or which canvas slots are pinned.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad, rms_norm, scaled_dot_product_attention

from .cache import KVCache
from .config import AttentionShape, NetworkConfig
from .kernels import route, run_experts
from .kernels.native import Native
from .kernels.target import kernels_wanted, use_triton
from .weights import Embedding

POSITIONS, MOST_POSITIONS = 512, 4096  # whose rotations are made at once, and kept
PLAIN_ATTENTION = 2**18  # query-key pairs per head up to which attention is two plain products

# oneDNN, which multiplies what is not float32, compiles and keeps a kernel for every shape of a product it meets.
# While somebody types every length occurs, so lengths are rounded up: without that a server grows by hundreds of
# megabytes and compiles at every keystroke.
FEW_ROWS = 8
ROW_BLOCK = 16
KEY_BLOCK = 64

Rope = tuple[Tensor, Tensor]  # cos, sin [T, head_dim]
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # q [B, heads, T, D], k and v [B, kv, T, D] -> [B, heads, T, D]


class RMSNorm(nn.Module):
    """x * (mean(x^2) + eps)^-0.5 * weight in float32; the weight is w itself, not 1 + w. Without scale: no weight."""

    def __init__(self, dim: int, eps: float, with_scale: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim)) if with_scale else None

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, x.shape[-1:], self.weight, self.eps)


class GatedMLP(nn.Module):
    """down(gelu_tanh(gate(x)) * up(x))."""

    def __init__(self, hidden: int, intermediate: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden, intermediate, bias=False)
        self.up_proj = nn.Linear(hidden, intermediate, bias=False)
        self.down_proj = nn.Linear(intermediate, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x))


class SelfConditioning(GatedMLP):
    """post_norm(embeddings + mlp(pre_norm(soft))): the canvas is normed even when there is nothing to condition on."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config.hidden_size, config.intermediate_size)
        self.pre_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_norm = RMSNorm(config.hidden_size, config.rms_norm_eps, with_scale=False)

    def condition(self, embeddings: Tensor, soft: Tensor | None) -> Tensor:
        """embeddings, soft: [B, C, H]; soft None means zeros, for which the MLP's output is zero."""
        if soft is not None:
            embeddings = embeddings + self(self.pre_norm(soft))
        return self.post_norm(embeddings)


class Attention(nn.Module):
    """Projections, norms and rotation; which keys a query sees is the caller's `attend`. Softmax scale is 1."""

    def __init__(self, config: NetworkConfig, shape: AttentionShape) -> None:
        super().__init__()
        self.head_dim = shape.head_dim
        hidden, eps = config.hidden_size, config.rms_norm_eps
        self.q_proj = nn.Linear(hidden, config.num_attention_heads * shape.head_dim, bias=False)
        self.k_proj = nn.Linear(hidden, shape.num_key_value_heads * shape.head_dim, bias=False)
        self.v_proj = (
            nn.Linear(hidden, shape.num_key_value_heads * shape.head_dim, bias=False) if shape.has_value_proj else None
        )
        self.o_proj = nn.Linear(config.num_attention_heads * shape.head_dim, hidden, bias=False)
        self.q_norm = RMSNorm(shape.head_dim, eps)
        self.k_norm = RMSNorm(shape.head_dim, eps)
        self.v_norm = RMSNorm(shape.head_dim, eps, with_scale=False)

    def project(self, x: Tensor, rope: Rope) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, T, H] -> q [B, heads, T, D], k, v [B, kv, T, D]; q and k normed, then rotated."""
        q = self.q_proj(x).unflatten(-1, (-1, self.head_dim))
        k = self.k_proj(x).unflatten(-1, (-1, self.head_dim))
        v = self.v_proj(x).unflatten(-1, (-1, self.head_dim)) if self.v_proj is not None else k
        q = rotate(self.q_norm(q).transpose(1, 2), rope)
        k = rotate(self.k_norm(k).transpose(1, 2), rope)
        return q, k, self.v_norm(v).transpose(1, 2)

    def forward(self, x: Tensor, rope: Rope, attend: Attend) -> Tensor:
        out = attend(*self.project(x, rope))
        return self.o_proj(out.transpose(1, 2).flatten(2))


class Router(nn.Module):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.top_k, self.eps = config.top_k_experts, config.rms_norm_eps
        self.proj = nn.Linear(config.hidden_size, config.num_experts, bias=False)
        self.scale = nn.Parameter(torch.ones(config.hidden_size))
        self.per_expert_scale = nn.Parameter(torch.ones(config.num_experts))

    def forward(self, residual: Tensor) -> tuple[Tensor, Tensor]:
        return route(residual, self.proj.weight, self.scale, self.per_expert_scale, self.top_k, self.eps)


class Experts(nn.Module):
    """Loading may replace either weight by a `Packed` (`weights.install`)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        n, hidden, width = config.num_experts, config.hidden_size, config.moe_intermediate_size
        self.gate_up_proj = nn.Parameter(torch.empty(n, 2 * width, hidden))
        self.down_proj = nn.Parameter(torch.empty(n, hidden, width))

    def forward(self, x: Tensor, weights: Tensor, experts: Tensor) -> Tensor:
        return run_experts(x, weights, experts, self.gate_up_proj, self.down_proj)


class Layer(nn.Module):
    """Attention, then the dense MLP and the experts side by side on the same residual."""

    def __init__(self, config: NetworkConfig, layer_idx: int) -> None:
        super().__init__()
        hidden, eps = config.hidden_size, config.rms_norm_eps
        self.self_attn = Attention(config, config.attention(layer_idx))
        self.mlp = GatedMLP(hidden, config.intermediate_size)
        self.router = Router(config)
        self.experts = Experts(config)
        self.input_layernorm = RMSNorm(hidden, eps)
        self.post_attention_layernorm = RMSNorm(hidden, eps)
        self.pre_feedforward_layernorm = RMSNorm(hidden, eps)
        self.post_feedforward_layernorm = RMSNorm(hidden, eps)
        self.post_feedforward_layernorm_1 = RMSNorm(hidden, eps)
        self.pre_feedforward_layernorm_2 = RMSNorm(hidden, eps)
        self.post_feedforward_layernorm_2 = RMSNorm(hidden, eps)
        self.register_buffer("layer_scalar", torch.ones(1))
        # The encoder's own scalar: equal to the decoder's in the released checkpoint, free to differ in a fine-tune.
        self.register_buffer("encoder_layer_scalar", torch.ones(1))
        self.layer_scalar: Tensor
        self.encoder_layer_scalar: Tensor

    def forward(self, x: Tensor, rope: Rope, attend: Attend, scalar: Tensor) -> Tensor:
        """x [B, T, H] -> [B, T, H]; `scalar` multiplies the whole residual at the end."""
        x = x + self.post_attention_layernorm(self.self_attn(self.input_layernorm(x), rope, attend))
        dense = self.post_feedforward_layernorm_1(self.mlp(self.pre_feedforward_layernorm(x)))
        rows = x.flatten(0, -2)
        routed = self.experts(self.pre_feedforward_layernorm_2(rows), *self.router(rows))
        routed = self.post_feedforward_layernorm_2(routed).view_as(x)
        return (x + self.post_feedforward_layernorm(dense + routed)) * scalar


class Network(nn.Module):
    """Weights and both forward passes. Parameter names are those of the checkpoint below `model.decoder.`, but for
    `layers.N.encoder_layer_scalar` (`model.encoder.language_model.layers.N.layer_scalar` there)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_conditioning = SelfConditioning(config)
        self._native: Native | None = None
        self._rotations: dict[str, Rope] = {}

    def freeze(self) -> None:
        """Says that the weights stay as they are, so that what is derived from them may be kept."""
        self._native = Native.of(self)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype  # packed weights are no parameters

    def new_cache(self, batch: int = 1) -> KVCache:
        return KVCache.empty(self.config, batch, self.device, self.dtype)

    def embed(self, ids: Tensor) -> Tensor:
        """ids [...] -> embeddings [..., H], times sqrt(H) rounded to the weights' dtype, as in training."""
        return self.embed_tokens(ids) * self._embed_scale()

    def soft_embeddings(self, logits: Tensor) -> Tensor:
        """Temperature-scaled logits [..., V] -> expected embeddings [..., H]: float32 softmax, weights' dtype after."""
        probs = torch.softmax(logits, dim=-1, dtype=torch.float32).to(self.dtype)
        return self.embed_tokens.expected(probs) * self._embed_scale()

    def encode(self, ids: Tensor, cache: KVCache) -> Tensor:
        """Causal pass over ids [B, T] behind what `cache` holds; appends to it. Returns normed hidden [B, T, H]."""
        length = ids.shape[1]
        if native := self._serving():
            return native.encode(self.embed(ids), cache, self.ropes_from(cache.position, length))
        start, end = cache.length, cache.length + length
        padding = 0 if self.dtype == torch.float32 or length <= FEW_ROWS else -length % ROW_BLOCK
        ids = pad(ids, (0, padding))  # rows that see the others and that nothing sees
        ropes = self.ropes_from(cache.position, length + padding)
        masks = {window: causal_mask(start, end, window, self.device, padding) for window in self._windows()}
        x = self.embed(ids)
        for i, layer in enumerate(self.layers):
            mask = masks[self.config.attention(i).window]

            def attend(q: Tensor, k: Tensor, v: Tensor, i: int = i, mask: Tensor | None = mask) -> Tensor:
                k, v = cache.append(i, k[:, :, :length], v[:, :, :length])
                return grouped_attention(q, k, v, mask)

            x = layer(x, ropes[self.config.layer_types[i]], attend, layer.encoder_layer_scalar)
        cache.advance(length)
        return self.norm(x[:, :length])

    def denoise(self, canvas: Tensor, cache: KVCache, soft: Tensor | None = None) -> Tensor:
        """Bidirectional pass over canvas [B, C] behind the cached prefix. Returns normed hidden [B, C, H].

        Every slot sees the whole canvas and, on sliding layers, the last window - 1 prefix tokens, the same for all
        slots: a rectangle, so no mask. A cache of batch 1 serves any B. soft: [B, C, H] or None on the first step.
        """
        n_slots = canvas.shape[1]
        ropes = self.ropes_from(cache.position, n_slots)
        if use_triton(canvas):
            from .kernels.canvas import past_of  # noqa: PLC0415
            from .kernels.canvas_triton import canvas_triton  # noqa: PLC0415

            whole = torch.full(canvas.shape[:1], n_slots, dtype=torch.int32, device=self.device)
            return canvas_triton(self, canvas, past_of(cache, self.config, ropes, self.device), soft, whole)
        x = self.self_conditioning.condition(self.embed(canvas), soft)
        if native := self._serving():
            return native.denoise(x, cache, ropes)
        for i, layer in enumerate(self.layers):
            window = self.config.attention(i).window

            def attend(q: Tensor, k: Tensor, v: Tensor, i: int = i, window: int | None = window) -> Tensor:
                past_k, past_v = cache.read(i, None if window is None else window - 1)
                past = (q.shape[0], -1, -1, -1)
                k = torch.cat((past_k.expand(past), k), dim=2)
                v = torch.cat((past_v.expand(past), v), dim=2)
                return grouped_attention(q, k, v, None)

            x = layer(x, ropes[self.config.layer_types[i]], attend, layer.layer_scalar)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Normed hidden [..., H] -> float32 logits [..., V], softcapped: c * tanh(l / c). The head is the embedding."""
        cap = self.config.final_logit_softcapping
        if native := self._serving():
            return native.logits(hidden, cap)
        return torch.tanh(self.embed_tokens.head(hidden).float() / cap) * cap

    def ropes(self, positions: Tensor) -> dict[str, Rope]:
        """cos and sin [T, head_dim] per layer type for integer positions [T], in the network's dtype."""
        ropes = {}
        for i, layer_type in enumerate(self.config.layer_types):
            if layer_type not in ropes:
                angles = positions[:, None].float() * inverse_frequencies(self.config.attention(i), self.device)
                angles = torch.cat((angles, angles), dim=-1)
                ropes[layer_type] = (angles.cos().to(self.dtype), angles.sin().to(self.dtype))
        return ropes

    def ropes_from(self, start: int, length: int) -> dict[str, Rope]:
        """`ropes` of `length` positions from `start`, [length, head_dim]: views of a table, but for those far on."""
        if start + length > MOST_POSITIONS:
            return self.ropes(start + torch.arange(length, device=self.device))
        known = next(iter(self._rotations.values()))[0] if self._rotations else None
        if known is None or len(known) < start + length or (known.device, known.dtype) != (self.device, self.dtype):
            n_positions = max(POSITIONS, 1 << (start + length - 1).bit_length())
            with torch.inference_mode(False):  # what an answer made, training may read
                self._rotations = self.ropes(torch.arange(n_positions, device=self.device))
        span = slice(start, start + length)
        return {layer_type: (cos[span], sin[span]) for layer_type, (cos, sin) in self._rotations.items()}

    def _serving(self) -> Native | None:
        return self._native if kernels_wanted() else None

    def _windows(self) -> set[int | None]:
        return {self.config.attention(i).window for i in range(self.config.num_hidden_layers)}

    def _embed_scale(self) -> Tensor:
        return torch.full((), self.config.hidden_size**0.5, device=self.device, dtype=self.dtype)


def inverse_frequencies(shape: AttentionShape, device: torch.device) -> Tensor:
    """[head_dim / 2] float32: theta^(-2i / head_dim) for the rotating share, zero (no rotation) for the rest."""
    n_rotating = int(shape.rotary_fraction * shape.head_dim // 2)
    exponents = torch.arange(0, 2 * n_rotating, 2, device=device, dtype=torch.float32) / shape.head_dim
    still = torch.zeros(shape.head_dim // 2 - n_rotating, device=device)
    return torch.cat((1.0 / shape.rope_theta**exponents, still))


def rotate(x: Tensor, rope: Rope) -> Tensor:
    """x [B, heads, T, D] turned pairwise (i, i + D/2) by the angles of its positions."""
    a, b = x.chunk(2, dim=-1)
    return x * rope[0] + torch.cat((-b, a), dim=-1) * rope[1]


def causal_mask(start: int, end: int, window: int | None, device: torch.device, padding: int = 0) -> Tensor | None:
    """Boolean [T + padding, end] for queries start..end-1: key j is visible from i when 0 <= i - j < window.

    `padding` more rows see something, it does not matter what. None: all is visible.
    """
    if end - start == 1 and not padding and (window is None or end <= window):
        return None
    distance = torch.arange(start, end + padding, device=device)[:, None] - torch.arange(end, device=device)[None]
    visible = distance >= 0
    if window is not None:
        visible &= distance < window
    visible[end - start :] = True
    return visible


def grouped_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """q [B, heads, T, D] over k, v [B, kv, S, D], each kv head serving heads / kv query heads; scale 1.

    mask: bool [T, S], True where visible, or None. Small problems go as two plain products, which on a CPU take a
    third of the fused kernel's time.
    """
    batch, heads, length, dim = q.shape
    kv, n_keys = k.shape[1], k.shape[2]
    if length * n_keys > PLAIN_ATTENTION:
        return scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0, enable_gqa=True)
    padding = 0 if q.dtype == torch.float32 else -n_keys % KEY_BLOCK
    if padding:  # a copy of both, even where there is nothing to add
        k, v = pad(k, (0, 0, 0, padding)), pad(v, (0, 0, 0, padding))
    rows = q.reshape(batch, kv, heads // kv * length, dim)  # the query heads of one kv head, stacked
    scores = (rows @ k.transpose(2, 3)).view(batch, heads, length, n_keys + padding)
    scores[..., n_keys:] = -torch.inf
    if mask is not None:
        scores[..., :n_keys].masked_fill_(~mask, -torch.inf)
    probs = torch.softmax(scores, dim=-1)  # summed in float32, whatever the dtype
    return (probs.view(batch, kv, -1, n_keys + padding) @ v).view(batch, heads, length, dim)
