"""A network's shape written as `config.json`, as transformers reads it: the inverse of `NetworkConfig.from_hf`."""

from __future__ import annotations

from typing import Any

from ..config import FULL, MODEL_TYPE, SLIDING, NetworkConfig

# transformers builds a vision tower whatever the checkpoint holds. This is the smallest it accepts: no layers and
# three tensors, which it draws at random, with a warning, because they are not in the checkpoint.
NO_VISION = {
    "model_type": "gemma4_vision",
    "hidden_size": 1,
    "intermediate_size": 1,
    "num_hidden_layers": 0,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "patch_size": 1,
    "pooling_kernel_size": 1,
    "position_embedding_size": 1,
}


def hf_config(config: NetworkConfig) -> dict[str, Any]:
    """The root of a `config.json` for a text-only checkpoint of this shape: `NetworkConfig.from_hf`'s inverse."""
    eos = config.eos_token_id
    return {
        "architectures": ["DiffusionGemmaForBlockDiffusion"],
        "model_type": MODEL_TYPE,
        "dtype": "float32",
        "canvas_length": config.canvas_length,
        "tie_word_embeddings": True,
        "boi_token_id": None,
        "eoi_token_id": None,
        "image_token_id": None,
        "vision_config": dict(NO_VISION),
        "text_config": {
            "model_type": f"{MODEL_TYPE}_text",
            "vocab_size": config.vocab_size,
            "hidden_size": config.hidden_size,
            "intermediate_size": config.intermediate_size,
            "num_hidden_layers": config.num_hidden_layers,
            "layer_types": list(config.layer_types),
            "num_attention_heads": config.num_attention_heads,
            "num_key_value_heads": config.sliding.num_key_value_heads,
            "num_global_key_value_heads": config.full.num_key_value_heads,
            "head_dim": config.sliding.head_dim,
            "global_head_dim": config.full.head_dim,
            "sliding_window": config.sliding.window,
            "rope_parameters": {
                SLIDING: {"rope_type": "default", "rope_theta": config.sliding.rope_theta},
                FULL: {
                    "rope_type": "proportional",
                    "rope_theta": config.full.rope_theta,
                    "partial_rotary_factor": config.full.rotary_fraction,
                },
            },
            "num_experts": config.num_experts,
            "top_k_experts": config.top_k_experts,
            "moe_intermediate_size": config.moe_intermediate_size,
            "hidden_activation": "gelu_pytorch_tanh",
            "attention_bias": False,
            "use_bidirectional_attention": None,
            "rms_norm_eps": config.rms_norm_eps,
            "final_logit_softcapping": config.final_logit_softcapping,
            "max_position_embeddings": config.max_position_embeddings,
            "pad_token_id": config.pad_token_id,
            "eos_token_id": eos[0] if len(eos) == 1 else list(eos),
            "bos_token_id": config.bos_token_id,
            "tie_word_embeddings": True,
        },
    }
