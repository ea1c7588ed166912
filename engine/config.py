"""The shape of the network, read from a checkpoint's `config.json`.

Knows the Hugging Face layout of DiffusionGemma's text stack; knows nothing of weights, tokenizers or sampling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import EngineError

SLIDING = "sliding_attention"
FULL = "full_attention"
MODEL_TYPE = "diffusion_gemma"


@dataclass(frozen=True)
class AttentionShape:
    """What differs between sliding and full layers (reference: transformers `modeling_diffusion_gemma.py`)."""

    head_dim: int
    num_key_value_heads: int
    has_value_proj: bool  # full layers take V from the key projection
    window: int | None  # keys a query sees causally, itself included; None: all
    rope_theta: float
    rotary_fraction: float  # share of head_dim that rotates; the rest has frequency 0


@dataclass(frozen=True)
class NetworkConfig:
    """Field names as in `config.json`'s `text_config`. No field that shapes a tensor has a default: those of the
    classes in transformers are not those of any released checkpoint."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    layer_types: tuple[str, ...]
    sliding: AttentionShape
    full: AttentionShape
    num_experts: int
    top_k_experts: int
    moe_intermediate_size: int
    rms_norm_eps: float
    final_logit_softcapping: float
    pad_token_id: int
    eos_token_id: tuple[int, ...]
    bos_token_id: int
    max_position_embeddings: int
    canvas_length: int

    def attention(self, layer_idx: int) -> AttentionShape:
        return self.sliding if self.layer_types[layer_idx] == SLIDING else self.full

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> NetworkConfig:
        """Reads the root of a `config.json`. Raises EngineError naming the field that is missing or unsupported."""
        if config.get("model_type") != MODEL_TYPE:
            raise EngineError(f"config.json: model_type is {config.get('model_type')!r}, expected {MODEL_TYPE!r}")
        text = config.get("text_config")
        if not isinstance(text, Mapping):
            raise EngineError("config.json: text_config is missing")

        def field(name: str, kind: type = int, default: Any = None) -> Any:
            return _positive(text.get(name, default), f"text_config.{name}", kind)

        for scope, where, name, supported in (
            (text, "text_config.", "hidden_activation", "gelu_pytorch_tanh"),
            (text, "text_config.", "attention_bias", False),
            (text, "text_config.", "tie_word_embeddings", True),
            (config, "", "tie_word_embeddings", True),
        ):
            if scope.get(name, supported) != supported:
                raise EngineError(f"config.json: {where}{name} must be {supported!r}, is {scope[name]!r}")
        if text.get("use_bidirectional_attention") == "all":
            raise EngineError(
                "config.json: a bidirectional text encoder (use_bidirectional_attention: all) is unsupported"
            )

        layers = field("num_hidden_layers")
        types = text.get("layer_types")
        if types is None:
            types = [FULL if i % 6 == 5 or i == layers - 1 else SLIDING for i in range(layers)]
        if not isinstance(types, (list, tuple)) or len(types) != layers or any(t not in (SLIDING, FULL) for t in types):
            raise EngineError(f"config.json: text_config.layer_types must be {layers} of {SLIDING} / {FULL}")
        if types[-1] != FULL:
            raise EngineError(f"config.json: the last of text_config.layer_types must be {FULL}")
        layer_types = tuple(types)

        head_dim, kv_heads, heads = field("head_dim"), field("num_key_value_heads"), field("num_attention_heads")
        full_head_dim, full_kv_heads = _full_attention_shape(text, layer_types, head_dim, kv_heads)
        for layer_type, dim, n_kv in ((SLIDING, head_dim, kv_heads), (FULL, full_head_dim, full_kv_heads)):
            if heads % n_kv:
                raise EngineError(
                    f"config.json: {layer_type}: {heads} num_attention_heads cannot share {n_kv} num_key_value_heads"
                )
            if dim % 2:
                raise EngineError(f"config.json: {layer_type}: head_dim is {dim}, expected an even number")
        if field("top_k_experts") > field("num_experts"):
            raise EngineError("config.json: text_config.top_k_experts is larger than num_experts")

        sliding_theta, _ = _rope(text, SLIDING, "default", theta=10_000.0, fraction=1.0)
        full_theta, full_fraction = _rope(text, FULL, "proportional", theta=1_000_000.0, fraction=0.25)

        return cls(
            vocab_size=field("vocab_size"),
            hidden_size=field("hidden_size"),
            intermediate_size=field("intermediate_size"),
            num_hidden_layers=layers,
            num_attention_heads=heads,
            layer_types=layer_types,
            sliding=AttentionShape(
                head_dim=head_dim,
                num_key_value_heads=kv_heads,
                has_value_proj=True,
                window=field("sliding_window"),
                rope_theta=sliding_theta,
                rotary_fraction=1.0,
            ),
            full=AttentionShape(
                head_dim=full_head_dim,
                num_key_value_heads=full_kv_heads,
                has_value_proj=False,
                window=None,
                rope_theta=full_theta,
                rotary_fraction=full_fraction,
            ),
            num_experts=field("num_experts"),
            top_k_experts=field("top_k_experts"),
            moe_intermediate_size=field("moe_intermediate_size"),
            rms_norm_eps=field("rms_norm_eps", float),
            final_logit_softcapping=field("final_logit_softcapping", float, 30.0),
            pad_token_id=_token_ids(text, "pad_token_id", 0)[0],
            eos_token_id=_token_ids(text, "eos_token_id", 1),
            bos_token_id=_token_ids(text, "bos_token_id", 2)[0],
            max_position_embeddings=field("max_position_embeddings", int, 131_072),
            canvas_length=_positive(config.get("canvas_length", 256), "canvas_length"),
        )


def _positive(value: Any, name: str, kind: type = int) -> Any:
    if isinstance(value, bool) or not isinstance(value, (kind, int)) or not value > 0:
        raise EngineError(f"config.json: {name} is {value!r}, expected a positive {kind.__name__}")
    return kind(value)


def _token_ids(text: Mapping[str, Any], name: str, default: int) -> tuple[int, ...]:
    value = text.get(name)
    listed = value if isinstance(value, (list, tuple)) and value else [default if value is None else value]
    ids: tuple[Any, ...] = tuple(listed)
    if any(isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < text["vocab_size"] for i in ids):
        raise EngineError(f"config.json: text_config.{name} is {value!r}, expected ids below vocab_size")
    return ids


def _full_attention_shape(
    text: Mapping[str, Any], layer_types: tuple[str, ...], head_dim: int, kv_heads: int
) -> tuple[int, int]:
    """head_dim and num_key_value_heads of full layers.

    Released checkpoints name them global_head_dim and num_global_key_value_heads. transformers replaces both, when it
    saves, by per_layer_config: overrides per layer, and only of what differs from the sliding layers.
    """
    if not isinstance(text.get("per_layer_config", {}), Mapping | None):
        raise EngineError("config.json: text_config.per_layer_config must be an object")
    if "per_layer_config" not in text:
        shape = (text.get("global_head_dim", 512), text.get("num_global_key_value_heads"))
        shape = (shape[0], kv_heads if shape[1] is None else shape[1])
    else:
        # JSON turns the layer indices into strings.
        per_layer = {str(key): value for key, value in dict(text["per_layer_config"] or {}).items()}
        overrides = [per_layer.get(str(i), {}) for i in range(len(layer_types))]
        override = overrides[layer_types.index(FULL)]
        expected = [override if layer_type == FULL else {} for layer_type in layer_types]
        known = {"head_dim", "num_key_value_heads"}
        if overrides != expected or not isinstance(override, Mapping) or not set(override) <= known:
            raise EngineError(
                "config.json: text_config.per_layer_config may set head_dim and num_key_value_heads only, "
                "and the same on every full layer"
            )
        shape = (override.get("head_dim", head_dim), override.get("num_key_value_heads", kv_heads))
    return (
        _positive(shape[0], "text_config.global_head_dim"),
        _positive(shape[1], "text_config.num_global_key_value_heads"),
    )


def _rope(
    text: Mapping[str, Any], layer_type: str, rope_type: str, theta: float, fraction: float
) -> tuple[float, float]:
    """Theta and rotating share of a layer type; `theta` and `fraction` hold where rope_parameters is absent."""
    where = f"config.json: text_config.rope_parameters.{layer_type}"
    ropes = text.get("rope_parameters")
    if ropes is None:
        return theta, fraction
    rope = ropes.get(layer_type) if isinstance(ropes, Mapping) else None
    if not isinstance(rope, Mapping):
        raise EngineError(f"{where} is missing")
    if rope.get("rope_type", rope_type) != rope_type or rope.get("factor", 1.0) != 1.0:
        raise EngineError(f"{where} must have rope_type {rope_type!r} and no factor")
    base, share = rope.get("rope_theta"), rope.get("partial_rotary_factor", 1.0)
    if not isinstance(base, (int, float)) or base <= 0:
        raise EngineError(f"{where}.rope_theta is {base!r}, expected a positive number")
    if not isinstance(share, (int, float)) or not 0 <= share <= 1 or (rope_type == "default" and share != 1):
        raise EngineError(f"{where}.partial_rotary_factor is {share!r}, expected a share (1 on sliding layers)")
    return float(base), float(share)
