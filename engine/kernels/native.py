"""The layers on one core, in float32, by compiled code (`native.c`): one call in place of hundreds of operations.

For a small network whose weights stay as they are (`Network.freeze`), where the installation found a C compiler: so
midspan-mini runs on a processor without bfloat16. Everywhere else the torch forms run, which are the reference in
tests. Unlike those, a row's result does not depend on how many rows go with it. Nothing here has a gradient.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from .packing import Packed

if TYPE_CHECKING:
    from ..cache import KVCache
    from ..network import Network

VERSION = 1  # of what `native.c` and this exchange; a build of another one is none
PANEL = 16  # rows of a weight that lie side by side
MOST_WEIGHTS = 64_000_000  # of a small network; a larger one would not be kept twice, and is worth sharing
PORTABLE, AVX2 = "native_portable", "native_avx2"
BUILDS = {"AVX2": AVX2, "AVX512": AVX2}  # by torch's word for what the processor has

_SIZES = ("hidden", "heads", "kv_heads", "head_dim", "has_value", "width", "n_experts", "top_k", "expert_width")
_WEIGHTS = (
    "input_norm", "qkv", "q_norm", "k_norm", "out", "post_attention_norm",
    "dense_norm", "gate_up", "down", "post_dense_norm",
    "router_scale", "router", "per_expert_scale",
    "experts_norm", "experts_gate_up", "experts_down", "post_experts_norm", "post_norm",
)  # fmt: skip


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in _SIZES),
        ("eps", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in _WEIGHTS),
    )


class _Stage(ctypes.Structure):
    _fields_ = (
        ("layer", ctypes.POINTER(_Layer)),
        ("k", ctypes.c_void_p),
        ("v", ctypes.c_void_p),
        ("n", ctypes.c_int64),
        ("batch", ctypes.c_int64),
        ("head", ctypes.c_int64),
        ("window", ctypes.c_int64),
        ("cosines", ctypes.c_void_p),
        ("sines", ctypes.c_void_p),
        ("scalar", ctypes.c_float),
    )


Rope = tuple[Tensor, Tensor]  # cos, sin [T, head_dim]


def library() -> ctypes.CDLL | None:
    """The build for this processor; None where the installation has none."""
    return build(BUILDS.get(torch.backends.cpu.get_cpu_capability(), PORTABLE))


@cache
def build(name: str) -> ctypes.CDLL | None:
    """PORTABLE or AVX2."""
    files = (Path(__file__).with_name(name + suffix) for suffix in EXTENSION_SUFFIXES)
    file = next((file for file in files if file.exists()), None)
    if file is None:
        return None
    try:
        code = ctypes.CDLL(str(file))
        version = code.midspan_version()
    except (OSError, AttributeError):  # built for another machine, or from what `native.c` once was
        return None
    if version != VERSION:
        return None
    pointer, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
    code.midspan_pass.argtypes = (ctypes.POINTER(_Stage), size, pointer, size, size, size, pointer, pointer)
    code.midspan_head.argtypes = (pointer, size, size, pointer, size, number, pointer)
    code.midspan_pass.restype = code.midspan_head.restype = None
    code.midspan_scratch.argtypes, code.midspan_scratch.restype = (ctypes.POINTER(_Layer), size, size), size
    return code


class Native:
    """A network's weights as `native.c` reads them, beside those it has. One thread may encode while another denoises;
    two of one kind would share their scratch memory."""

    def __init__(self, network: Network, code: ctypes.CDLL) -> None:
        self._code, self._config = code, network.config
        self._kept: list[Tensor] = []  # what the structures point to
        self._layers = [self._layer(network, i) for i in range(network.config.num_hidden_layers)]
        layers: Sequence[Any] = list(network.layers)
        self._encoder = self._stages([float(layer.encoder_layer_scalar) for layer in layers])
        self._canvas = self._stages([float(layer.layer_scalar) for layer in layers])
        assert network.norm.weight is not None
        self._norm = self._keep(network.norm.weight)
        self._head = self._pack(network.embed_tokens.weight)
        self._scratch = {causal: torch.empty(0) for causal in (False, True)}

    @staticmethod
    def of(network: Network) -> Native | None:
        """None where the installation has no build, or this network does not fit it."""
        code = library()
        return Native(network, code) if code is not None and _fits(network) else None

    def encode(self, x: Tensor, cache: KVCache, ropes: Mapping[str, Rope]) -> Tensor:
        """Embeddings x [B, T, H] through all layers, causally behind what `cache` holds, whose batch is B too; appends
        to it. Returns normed hidden [B, T, H]."""
        length = x.shape[1]
        past = [cache.room(i, length) for i in range(len(self._layers))]
        assert all(buffer.shape[1] == len(x) for buffer in past)
        hidden = self._passed(self._encoder, x, past, [cache.length] * len(past), ropes, causal=True)
        cache.advance(length)
        return hidden

    def denoise(self, x: Tensor, cache: KVCache, ropes: Mapping[str, Rope]) -> Tensor:
        """Conditioned embeddings x [B, C, H] through all layers, each slot seeing the whole canvas and the end of what
        `cache` holds, whose batch is 1 or B. Returns normed hidden [B, C, H]."""
        past, seen = [], []
        for i in range(len(self._layers)):
            window = self._config.attention(i).window
            seen.append(cache.length if window is None else min(cache.length, window - 1))
            past.append(cache.room(i, 0)[:, :, :, cache.length - seen[-1] :])
        assert all(buffer.shape[1] in (1, len(x)) for buffer in past)
        return self._passed(self._canvas, x, past, seen, ropes, causal=False)

    def _passed(
        self,
        stages: ctypes.Array[_Stage],
        x: Tensor,
        past: Sequence[Tensor],
        seen: Sequence[int],
        ropes: Mapping[str, Rope],
        causal: bool,
    ) -> Tensor:
        """past: per layer [2, B, kv, any, D], of which the first `seen` tokens are in use."""
        batch, length, _ = x.shape
        for i, (stage, buffer, n) in enumerate(zip(stages, past, seen, strict=True)):
            cosines, sines = ropes[self._config.layer_types[i]]
            dim = buffer.shape[4]
            assert buffer.stride()[3:] == (dim, 1) and x.dtype == buffer.dtype == cosines.dtype == torch.float32
            assert cosines.shape == sines.shape == (length, dim) and cosines.is_contiguous() and sines.is_contiguous()
            stage.k = buffer.data_ptr()
            stage.v = stage.k + buffer.stride(0) * buffer.itemsize
            stage.n, stage.batch = n, buffer.stride(1) if buffer.shape[1] > 1 else 0
            stage.head, stage.window = buffer.stride(2), self._config.attention(i).window or 0
            stage.cosines, stage.sines = cosines.data_ptr(), sines.data_ptr()
        needed = max(self._code.midspan_scratch(layer, batch * length, max(seen) + length) for layer in self._layers)
        if needed > self._scratch[causal].numel():
            self._scratch[causal] = torch.empty(needed)
        out = x.clone(memory_format=torch.contiguous_format)
        self._code.midspan_pass(
            stages,
            len(stages),
            out.data_ptr(),
            batch,
            length,
            causal,
            self._norm.data_ptr(),
            self._scratch[causal].data_ptr(),
        )
        return out

    def logits(self, hidden: Tensor, cap: float) -> Tensor:
        """Normed hidden [..., H] -> logits [..., V], softcapped: cap * tanh(l / cap)."""
        hidden = hidden.contiguous()
        rows, vocab = hidden.numel() // hidden.shape[-1], self._head.shape[0] * PANEL
        logits = hidden.new_empty(*hidden.shape[:-1], vocab)
        self._code.midspan_head(
            hidden.data_ptr(), rows, hidden.shape[-1], self._head.data_ptr(), vocab, cap, logits.data_ptr()
        )
        return logits

    def _stages(self, scalars: Sequence[float]) -> ctypes.Array[_Stage]:
        pairs = zip(self._layers, scalars, strict=True)
        return (_Stage * len(self._layers))(
            *(_Stage(layer=ctypes.pointer(layer), scalar=scalar) for layer, scalar in pairs)
        )

    def _pack(self, weight: Tensor) -> Tensor:
        """[..., N, K] -> panels [..., N / 16, K, 16], N rounded up."""
        padded = pad(weight.detach(), (0, 0, 0, -weight.shape[-2] % PANEL))
        return self._keep(padded.unflatten(-2, (-1, PANEL)).transpose(-1, -2))

    def _keep(self, weight: Tensor) -> Tensor:
        self._kept.append(weight.detach().clone(memory_format=torch.contiguous_format))
        return self._kept[-1]

    def _layer(self, network: Network, i: int) -> _Layer:
        config = network.config
        layer: Any = network.layers[i]
        shape, attention = config.attention(i), layer.self_attn
        projections = [attention.q_proj, attention.k_proj, *([attention.v_proj] if attention.v_proj else [])]
        dense = (layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight)
        packed = {
            "qkv": torch.cat([each.weight for each in projections]),
            "out": attention.o_proj.weight,
            "gate_up": torch.cat(dense),
            "down": layer.mlp.down_proj.weight,
            "router": layer.router.proj.weight,
            "experts_gate_up": layer.experts.gate_up_proj,
            "experts_down": layer.experts.down_proj,
        }
        plain = {
            "input_norm": layer.input_layernorm.weight,
            "q_norm": attention.q_norm.weight,
            "k_norm": attention.k_norm.weight,
            "post_attention_norm": layer.post_attention_layernorm.weight,
            "dense_norm": layer.pre_feedforward_layernorm.weight,
            "post_dense_norm": layer.post_feedforward_layernorm_1.weight,
            "router_scale": layer.router.scale * config.hidden_size**-0.5,
            "per_expert_scale": layer.router.per_expert_scale,
            "experts_norm": layer.pre_feedforward_layernorm_2.weight,
            "post_experts_norm": layer.post_feedforward_layernorm_2.weight,
            "post_norm": layer.post_feedforward_layernorm.weight,
        }
        return _Layer(
            hidden=config.hidden_size,
            heads=config.num_attention_heads,
            kv_heads=shape.num_key_value_heads,
            head_dim=shape.head_dim,
            has_value=shape.has_value_proj,
            width=config.intermediate_size,
            n_experts=config.num_experts,
            top_k=config.top_k_experts,
            expert_width=config.moe_intermediate_size,
            eps=config.rms_norm_eps,
            **{name: self._pack(weight).data_ptr() for name, weight in packed.items()},
            **{name: self._keep(weight).data_ptr() for name, weight in plain.items()},
        )


def small(network: Network) -> bool:
    """Whether its products are too small to be shared by several cores."""
    return sum(each.numel() for each in network.parameters()) <= MOST_WEIGHTS


def _fits(network: Network) -> bool:
    """Small, on a CPU in float32, nothing packed, and every width whole panels."""
    config = network.config
    if not small(network):
        return False
    shapes = [config.attention(i) for i in range(config.num_hidden_layers)]
    widths = [config.hidden_size, config.intermediate_size, config.moe_intermediate_size, config.vocab_size]
    packed = any(isinstance(value, Packed) for module in network.modules() for value in vars(module).values())
    plain = all(each.dtype == torch.float32 and each.device.type == "cpu" for each in network.parameters())
    return plain and not packed and not any(n % PANEL for n in (*widths, *(shape.head_dim for shape in shapes)))
