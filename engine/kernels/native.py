"""A layer on one core, in float32, by compiled code (`native.c`): three calls in place of a hundred operations.

For a small network whose weights stay as they are (`Network.freeze`), where the installation found a C compiler: so
midspan-mini runs on a processor without bfloat16. Everywhere else the torch forms run, which are the reference in
tests. Unlike those, a row's result does not depend on how many rows go with it. Nothing here has a gradient.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from .packing import Packed
from .target import torch_asked_for

if TYPE_CHECKING:
    from ..network import Network

PANEL = 16  # rows of a weight that lie side by side
MOST_WEIGHTS = 64_000_000  # of a network; a larger one would not be kept twice, and its products are worth sharing
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


class _Keys(ctypes.Structure):
    _fields_ = (
        ("k", ctypes.c_void_p),
        ("v", ctypes.c_void_p),
        ("keys", ctypes.c_int64),
        ("batch", ctypes.c_int64),
        ("head", ctypes.c_int64),
    )


Rope = tuple[Tensor, Tensor]  # cos, sin [T, head_dim]
Both = tuple[Tensor, Tensor]  # keys and values
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # q [B, heads, T, D], k and v [B, kv, T, D] -> as q


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
    except OSError:  # built for another machine
        return None
    pointer, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
    layer, keys = ctypes.POINTER(_Layer), ctypes.POINTER(_Keys)
    code.midspan_project.argtypes = (layer, pointer, size, size, *(pointer,) * 6)
    code.midspan_attend.argtypes = (pointer, *(size,) * 5, keys, keys, *(pointer,) * 3)
    code.midspan_finish.argtypes = (layer, pointer, pointer, size, number, pointer, pointer)
    code.midspan_head.argtypes = (pointer, size, size, pointer, size, number, pointer)
    for call in (code.midspan_project, code.midspan_attend, code.midspan_finish, code.midspan_head):
        call.restype = None
    code.midspan_scratch.argtypes, code.midspan_scratch.restype = (layer, size), size
    return code


class Native:
    """A network's weights as `native.c` reads them, beside those it has. Not for several threads at once: the calls
    share their scratch memory."""

    def __init__(self, network: Network, code: ctypes.CDLL) -> None:
        self._code = code
        self._kept: list[Tensor] = []  # what the structures point to
        self._layers = [self._layer(network, i) for i in range(network.config.num_hidden_layers)]
        self._widest = max(self._layers, key=lambda layer: layer.head_dim)
        self._head = self._pack(network.embed_tokens.weight)
        self._scratch = torch.empty(0)

    @staticmethod
    def of(network: Network) -> Native | None:
        """None where the installation has no build, or this network does not fit it."""
        code = library()
        return Native(network, code) if code is not None and _fits(network) else None

    def serves(self) -> bool:
        """Whether it is to be used now."""
        return not torch.is_grad_enabled() and not torch_asked_for()

    def layer(self, i: int, x: Tensor, rope: Rope, attend: Attend, scalar: Tensor) -> Tensor:
        """As `Layer.forward` of layer i; `attend` gives what `attention` gave."""
        layer, (batch, length) = self._layers[i], x.shape[:2]
        x = x.contiguous()
        q = x.new_empty(batch, layer.heads, length, layer.head_dim)
        k, v = x.new_empty(2, batch, layer.kv_heads, length, layer.head_dim)
        cosines, sines = (each.contiguous() for each in rope)
        assert cosines.shape == sines.shape == (length, layer.head_dim) and x.dtype == torch.float32
        self._code.midspan_project(
            layer, x.data_ptr(), batch, length, cosines.data_ptr(), sines.data_ptr(),
            q.data_ptr(), k.data_ptr(), v.data_ptr(), self._room(layer),
        )  # fmt: skip
        attended, out = attend(q, k, v).transpose(1, 2).contiguous(), torch.empty_like(x)
        self._code.midspan_finish(
            layer, x.data_ptr(), attended.data_ptr(), batch * length, float(scalar), out.data_ptr(), self._room(layer)
        )
        return out

    def attention(self, q: Tensor, past: Both, own: Both | None = None, visible: Tensor | None = None) -> Tensor:
        """softmax(q @ [past k; own k]^T) @ [past v; own v], each kv head serving heads / kv query heads; scale 1.

        q: [B, heads, T, D]; past, own: [1 or B, kv, S, D], a head's rows contiguous; visible: bool [T, all keys], True
        where a query sees a key, None where all do. Returns [B, heads, T, D].
        """
        batch, heads, length, dim = q.shape
        q = q.contiguous()
        out = q.new_empty(batch, length, heads, dim)
        n_keys = past[0].shape[2] + (own[0].shape[2] if own else 0)
        assert visible is None or visible.shape == (length, n_keys)
        visible = None if visible is None else visible.contiguous()
        self._code.midspan_attend(
            q.data_ptr(), batch, heads, past[0].shape[1], length, dim, _keys(past), _keys(own) if own else _Keys(),
            None if visible is None else visible.data_ptr(), out.data_ptr(), self._room(self._widest, n_keys),
        )  # fmt: skip
        return out.transpose(1, 2)

    def logits(self, hidden: Tensor, cap: float) -> Tensor:
        """hidden [..., H] -> softcapped logits [..., V]."""
        hidden = hidden.contiguous()
        rows, vocab = hidden.numel() // hidden.shape[-1], self._head.shape[0] * PANEL
        logits = hidden.new_empty(*hidden.shape[:-1], vocab)
        self._code.midspan_head(
            hidden.data_ptr(), rows, hidden.shape[-1], self._head.data_ptr(), vocab, cap, logits.data_ptr()
        )
        return logits

    def _room(self, layer: _Layer, n_keys: int = 0) -> int:
        floats = self._code.midspan_scratch(layer, n_keys)
        if floats > self._scratch.numel():
            self._scratch = torch.empty(floats)
        return self._scratch.data_ptr()

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


def _keys(both: Both) -> _Keys:
    k, v = both
    assert k.stride()[2:] == v.stride()[2:] == (k.shape[3], 1) and k.stride() == v.stride()
    return _Keys(k.data_ptr(), v.data_ptr(), k.shape[2], k.stride(0) if k.shape[0] > 1 else 0, k.stride(1))


def _fits(network: Network) -> bool:
    """Small, on a CPU in float32, nothing packed, and every width whole panels."""
    config = network.config
    if sum(each.numel() for each in network.parameters()) > MOST_WEIGHTS:
        return False
    shapes = [config.attention(i) for i in range(config.num_hidden_layers)]
    widths = [config.hidden_size, config.intermediate_size, config.moe_intermediate_size, config.vocab_size]
    packed = any(isinstance(value, Packed) for module in network.modules() for value in vars(module).values())
    plain = all(each.dtype == torch.float32 and each.device.type == "cpu" for each in network.parameters())
    return plain and not packed and not any(n % PANEL for n in (*widths, *(shape.head_dim for shape in shapes)))
