"""Tiny networks with nothing left at one: every norm, router scale and layer scalar is drawn at random.

`tiny_network` needs only the engine; `oracle` is transformers' own model holding the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from midspan.engine.config import NetworkConfig
from midspan.engine.network import Network
from torch import Tensor

# transformers cannot do without a vision tower: no layers, one channel, one patch.
VISION = {
    "model_type": "gemma4_vision",
    "hidden_size": 1,
    "intermediate_size": 1,
    "num_hidden_layers": 0,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "patch_size": 1,
    "position_embedding_size": 1,
    "pooling_kernel_size": 1,
}

S, F = "sliding_attention", "full_attention"
SHAPES: dict[str, dict[str, Any]] = {
    # Sliding and full layers differ in head size and in kv heads, as in the released checkpoint.
    "small": {
        "layer_types": [S, S, F],
        "num_key_value_heads": 2,
        "num_global_key_value_heads": 1,
        "head_dim": 8,
        "global_head_dim": 16,
        "sliding_window": 8,
        "partial_rotary_factor": 0.25,
        "num_experts": 8,
        "top_k_experts": 2,
        "eos_token_id": [1, 5],
        "final_logit_softcapping": 30.0,
    },
    # Two full layers, one shape for both kinds, everything rotates, the softcap left to its default.
    "mini": {
        "layer_types": [S, S, F, S, S, F],
        "num_key_value_heads": 2,
        "num_global_key_value_heads": 2,
        "head_dim": 8,
        "global_head_dim": 8,
        "sliding_window": 16,
        "partial_rotary_factor": 1.0,
        "num_experts": 8,
        "top_k_experts": 2,
        "eos_token_id": 1,
    },
    # More experts than run densely, no kv head shared on sliding layers, a softcap of its own.
    "experts": {
        "layer_types": [S, F, S, F],
        "num_key_value_heads": 4,
        "num_global_key_value_heads": 2,
        "head_dim": 12,
        "global_head_dim": 8,
        "sliding_window": 8,
        "partial_rotary_factor": 0.5,
        "num_experts": 24,
        "top_k_experts": 4,
        "eos_token_id": [1],
        "final_logit_softcapping": 20.0,
    },
    # Every width in whole panels of 16: frozen, so that compiled layers compute it where there are any.
    "panels": {
        "layer_types": [S, F, S, F],
        "vocab_size": 112,
        "hidden_size": 48,
        "intermediate_size": 80,
        "moe_intermediate_size": 32,
        "num_key_value_heads": 2,
        "num_global_key_value_heads": 1,
        "head_dim": 16,
        "global_head_dim": 32,
        "sliding_window": 8,
        "partial_rotary_factor": 0.5,
        "num_experts": 20,
        "top_k_experts": 3,
        "eos_token_id": 1,
    },
}
FROZEN = "panels"


def hf_dict(shape: str) -> dict[str, Any]:
    """The root of a `config.json` as released checkpoints write it."""
    special = dict(SHAPES[shape])
    share = special.pop("partial_rotary_factor")
    return {
        "model_type": "diffusion_gemma",
        "canvas_length": 8,
        "tie_word_embeddings": True,
        "vision_config": dict(VISION),
        "text_config": {
            "model_type": "diffusion_gemma_text",
            "vocab_size": 97,
            "hidden_size": 32,
            "intermediate_size": 24,
            "num_hidden_layers": len(special["layer_types"]),
            "num_attention_heads": 4,
            "moe_intermediate_size": 12,
            "hidden_activation": "gelu_pytorch_tanh",
            "rms_norm_eps": 1e-6,
            "max_position_embeddings": 512,
            "use_bidirectional_attention": "vision",
            "pad_token_id": 0,
            "bos_token_id": 2,
            "rope_parameters": {
                S: {"rope_type": "default", "rope_theta": 10_000.0},
                F: {"rope_type": "proportional", "rope_theta": 1_000_000.0, "partial_rotary_factor": share},
            },
            **special,
        },
    }


def randomise(network: Network, seed: int = 0) -> Network:
    """Draws every tensor at a scale where attention, routing and the softcap all bite."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.ndim == 1:  # norms, router.scale, per_expert_scale, both layer scalars
            drawn = torch.rand(tensor.shape, generator=generator) + 0.5
        elif name == "embed_tokens.weight":
            drawn = torch.randn(tensor.shape, generator=generator)
        else:
            drawn = torch.randn(tensor.shape, generator=generator) * 1.5 * tensor.shape[-1] ** -0.5
        tensor.copy_(drawn)
    return network.eval().requires_grad_(False)


def hf_state(network: Network) -> dict[str, Tensor]:
    """The network's tensors under the names of a checkpoint."""

    def published(name: str) -> str:
        if name.endswith(".encoder_layer_scalar"):
            return "model.encoder.language_model." + name.replace("encoder_layer_scalar", "layer_scalar")
        return "model.decoder." + name

    return {published(name): tensor for name, tensor in network.state_dict().items()}


@pytest.fixture(scope="session")
def full_config() -> dict[str, Any]:
    """The root of google/diffusiongemma-26B-A4B-it's `config.json`, as far as text goes."""
    return {
        "architectures": ["DiffusionGemmaForBlockDiffusion"],
        "model_type": "diffusion_gemma",
        "canvas_length": 256,
        "tie_word_embeddings": True,
        "boi_token_id": 255999,
        "eoi_token_id": 258882,
        "image_token_id": 258880,
        "text_config": {
            "model_type": "diffusion_gemma_text",
            "vocab_size": 262144,
            "hidden_size": 2816,
            "intermediate_size": 2112,
            "num_hidden_layers": 30,
            "layer_types": ([S] * 5 + [F]) * 5,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "num_global_key_value_heads": 2,
            "head_dim": 256,
            "global_head_dim": 512,
            "sliding_window": 1024,
            "rope_parameters": {
                S: {"rope_type": "default", "rope_theta": 10_000.0},
                F: {"rope_type": "proportional", "rope_theta": 1_000_000.0, "partial_rotary_factor": 0.25},
            },
            "max_position_embeddings": 262144,
            "final_logit_softcapping": 30.0,
            "num_experts": 128,
            "top_k_experts": 8,
            "moe_intermediate_size": 704,
            "rms_norm_eps": 1e-6,
            "hidden_activation": "gelu_pytorch_tanh",
            "attention_bias": False,
            "use_bidirectional_attention": "vision",
            "pad_token_id": 0,
            "eos_token_id": 1,
            "bos_token_id": 2,
            "tie_word_embeddings": True,
        },
    }


@pytest.fixture(scope="session")
def tiny_config() -> Callable[[str], dict[str, Any]]:
    """shape name ("small" | "mini" | "experts") -> the root of its `config.json`."""
    return hf_dict


@pytest.fixture(scope="session")
def tiny_network() -> Callable[[str], Network]:
    """shape name -> float32 network on the CPU; the same object every time, so leave its weights alone."""
    made: dict[str, Network] = {}

    def make(shape: str) -> Network:
        if shape not in made:
            made[shape] = randomise(Network(NetworkConfig.from_hf(hf_dict(shape))))
            if shape == FROZEN:
                made[shape].freeze()
        return made[shape]

    return make


@pytest.fixture(scope="session")
def oracle(tiny_network: Callable[[str], Network]) -> Callable[[str], Any]:
    """shape name -> transformers' DiffusionGemmaForBlockDiffusion with the weights of `tiny_network(shape)`."""
    transformers = pytest.importorskip("transformers")
    made: dict[str, Any] = {}

    def make(shape: str) -> Any:
        if shape not in made:
            config = transformers.DiffusionGemmaConfig(**hf_dict(shape))
            model = transformers.DiffusionGemmaForBlockDiffusion._from_config(
                config, attn_implementation="eager", experts_implementation="eager"
            )
            missing, unexpected = model.load_state_dict(hf_state(tiny_network(shape)), strict=False)
            # Left over: the other names of tied tensors, and the vision tower.
            tied = {name.replace("encoder.language_model", "decoder") for name in missing if "vision" not in name}
            assert not unexpected and tied <= set(hf_state(tiny_network(shape))) | {"lm_head.weight"}
            made[shape] = model.eval().requires_grad_(False)
        return made[shape]

    return make
