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
    """Field names as in `config.json`'s `text_config`; no field has a default, because the classes' defaults in
    transformers are not those of any released checkpoint."""

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

        def field(name: str, kind: type = int) -> Any:
            value = text.get(name)
            if isinstance(value, bool) or not isinstance(value, (kind, int)):
                raise EngineError(f"config.json: text_config.{name} is {value!r}, expected {kind.__name__}")
            return kind(value)

        for name, supported in (
            ("hidden_activation", "gelu_pytorch_tanh"),
            ("attention_bias", False),
            ("tie_word_embeddings", True),
        ):
            if text.get(name, supported) != supported:
                raise EngineError(f"config.json: text_config.{name} must be {supported!r}, is {text[name]!r}")
        if text.get("use_bidirectional_attention") == "all":
            raise EngineError(
                "config.json: a bidirectional text encoder (use_bidirectional_attention: all) is unsupported"
            )

        layers = field("num_hidden_layers")
        layer_types = tuple(text.get("layer_types") or (FULL if i % 6 == 5 else SLIDING for i in range(layers)))
        if len(layer_types) != layers or not set(layer_types) <= {SLIDING, FULL}:
            raise EngineError(f"config.json: text_config.layer_types must be {layers} of {SLIDING} / {FULL}")

        # transformers rewrites the two global_* fields as per-layer overrides when it saves a config.
        overrides: Mapping[str, Any] = {}
        for key, value in dict(text.get("per_layer_config") or {}).items():
            if layer_types[int(key)] == FULL:
                overrides = value
        kv_heads = field("num_key_value_heads")
        global_kv = overrides.get("num_key_value_heads", text.get("num_global_key_value_heads"))
        ropes = text.get("rope_parameters") or {}
        sliding_rope, full_rope = ropes.get(SLIDING) or {}, ropes.get(FULL) or {}
        if sliding_rope.get("rope_type", "default") != "default":
            raise EngineError("config.json: rope_parameters.sliding_attention.rope_type must be 'default'")
        if full_rope.get("rope_type", "proportional") != "proportional":
            raise EngineError("config.json: rope_parameters.full_attention.rope_type must be 'proportional'")
        eos = text.get("eos_token_id", 1)

        return cls(
            vocab_size=field("vocab_size"),
            hidden_size=field("hidden_size"),
            intermediate_size=field("intermediate_size"),
            num_hidden_layers=layers,
            num_attention_heads=field("num_attention_heads"),
            layer_types=layer_types,
            sliding=AttentionShape(
                head_dim=field("head_dim"),
                num_key_value_heads=kv_heads,
                has_value_proj=True,
                window=field("sliding_window"),
                rope_theta=float(sliding_rope.get("rope_theta", 10_000.0)),
                rotary_fraction=1.0,
            ),
            full=AttentionShape(
                head_dim=int(overrides.get("head_dim", text.get("global_head_dim") or 512)),
                num_key_value_heads=int(global_kv) if global_kv is not None else kv_heads,
                has_value_proj=False,
                window=None,
                rope_theta=float(full_rope.get("rope_theta", 1_000_000.0)),
                rotary_fraction=float(full_rope.get("partial_rotary_factor", 0.25)),
            ),
            num_experts=field("num_experts"),
            top_k_experts=field("top_k_experts"),
            moe_intermediate_size=field("moe_intermediate_size"),
            rms_norm_eps=field("rms_norm_eps", float),
            final_logit_softcapping=field("final_logit_softcapping", float),
            pad_token_id=int(text.get("pad_token_id") or 0),
            eos_token_id=tuple(eos) if isinstance(eos, (list, tuple)) else (int(eos),),
            bos_token_id=int(text.get("bos_token_id", 2)),
            max_position_embeddings=int(text.get("max_position_embeddings", 131_072)),
            canvas_length=int(config.get("canvas_length", 256)),
        )
