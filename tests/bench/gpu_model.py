"""A DiffusionGemma of random weights, full size or tiny: transformers' model, and ours over the same tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

FULL = {
    "vocab_size": 262144, "hidden_size": 2816, "intermediate_size": 2112, "num_hidden_layers": 30,
    "num_attention_heads": 16, "num_key_value_heads": 8, "num_global_key_value_heads": 2, "head_dim": 256,
    "global_head_dim": 512, "sliding_window": 1024, "num_experts": 128, "top_k_experts": 8,
    "moe_intermediate_size": 704, "max_position_embeddings": 262144,
}  # fmt: skip
TINY = FULL | {
    "vocab_size": 128, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "num_global_key_value_heads": 1, "head_dim": 16, "global_head_dim": 16,
    "sliding_window": 8, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 64,
    "max_position_embeddings": 256,
}  # fmt: skip
VISION = {
    "model_type": "gemma4_vision", "hidden_size": 1, "intermediate_size": 1, "num_hidden_layers": 0,
    "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 4, "patch_size": 1, "position_embedding_size": 1,
    "pooling_kernel_size": 1,
}  # fmt: skip


def config_dict(dims: dict[str, int], canvas: int) -> dict[str, Any]:
    """The root of a `config.json`."""
    n = dims["num_hidden_layers"]
    full = "full_attention"
    types = [full if i % 6 == 5 or i == n - 1 else "sliding_attention" for i in range(n)]
    ropes = {
        "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        full: {"rope_type": "proportional", "rope_theta": 1_000_000.0, "partial_rotary_factor": 0.25},
    }
    return {
        "model_type": "diffusion_gemma", "canvas_length": canvas, "tie_word_embeddings": True, "vision_config": VISION,
        "text_config": {
            "model_type": "diffusion_gemma_text", **dims, "layer_types": types, "rope_parameters": ropes,
            "hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "final_logit_softcapping": 30.0,
            "use_bidirectional_attention": "vision", "pad_token_id": 0, "eos_token_id": [1], "bos_token_id": 2,
        },
    }  # fmt: skip


def hugging_face(config: dict[str, Any], device: torch.device, dtype: torch.dtype) -> Any:
    """transformers' model with random weights, built in place: every tensor once, tied ones tied."""
    import transformers  # noqa: PLC0415

    hf_config = transformers.DiffusionGemmaConfig(**config)
    with torch.device("meta"):
        model = transformers.DiffusionGemmaForBlockDiffusion(hf_config)
    small = config_dict({**config["text_config"], "num_hidden_layers": 2, "vocab_size": 8, "num_experts": 1,
                         "top_k_experts": 1, "moe_intermediate_size": 8, "intermediate_size": 8}, 8)  # fmt: skip
    small["text_config"] |= {k: config["text_config"][k] for k in ("rope_parameters",)}
    like = dict(
        transformers.DiffusionGemmaForBlockDiffusion(transformers.DiffusionGemmaConfig(**small)).named_buffers()
    )
    made: dict[int, nn.Parameter] = {}
    generator = torch.Generator(device).manual_seed(0)
    for path, module in model.named_modules():
        for name, old in list(module.named_parameters(recurse=False)):
            if id(old) not in made:
                made[id(old)] = nn.Parameter(_random(name, old, device, dtype, generator), requires_grad=False)
            setattr(module, name, made[id(old)])
        for name, old in list(module.named_buffers(recurse=False)):
            full_name = f"{path}.{name}"
            if name == "layer_scalar":
                value = torch.ones(old.shape, dtype=dtype)
            elif full_name in like:
                value = like[full_name]
            else:
                raise KeyError(f"a buffer nobody knows: {full_name}")
            setattr(module, name, value.to(device))
    return model.eval()


def _random(name: str, like: Tensor, device: torch.device, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Norms and scales are one; a matrix keeps the size of what goes through it; embeddings have standard deviation 1
    after their factor."""
    made = torch.empty(like.shape, dtype=dtype, device=device)
    if like.ndim == 1:
        return made.fill_(1.0)
    std = like.shape[-1] ** -0.5
    for piece in made.view(-1, like.shape[-1]).split(2**20):  # of a 2 GB tensor, a piece at a time
        piece.normal_(0.0, std, generator=generator)
    return made


def ours(config: dict[str, Any], model: Any) -> Any:
    """Our network over the same tensors."""
    from midspan.engine.config import NetworkConfig  # noqa: PLC0415
    from midspan.engine.network import Network  # noqa: PLC0415

    with torch.device("meta"):
        network = Network(NetworkConfig.from_hf(config))
    state = dict(model.state_dict())
    for name in list(network.state_dict()):
        source = "model.decoder." + name
        if name.endswith(".encoder_layer_scalar"):
            source = "model.encoder.language_model." + name.replace("encoder_layer_scalar", "layer_scalar")
        path, _, leaf = name.rpartition(".")
        module = network.get_submodule(path)
        tensor = state[source]
        setattr(module, leaf, tensor if leaf in module._buffers else nn.Parameter(tensor, requires_grad=False))
    return network.eval()


@contextmanager
def packed(network: Any, experts: str, rest: str) -> Iterator[None]:
    """The network with packed weights (rest "bf16": left as they are), and as it was afterwards."""
    from midspan.engine.kernels.packing import pack  # noqa: PLC0415
    from midspan.engine.weights import install  # noqa: PLC0415

    def matrices(module: nn.Module) -> list[str]:
        return [f"{name}.weight" for name, each in module.named_modules() if isinstance(each, nn.Linear)]

    undo = []
    for i, layer in enumerate(network.layers):
        for name in ("gate_up_proj", "down_proj"):
            weight = getattr(layer.experts, name)
            undo.append((layer.experts, name, weight))
            install(network, f"layers.{i}.experts.{name}", pack(weight, experts), weight.dtype)
        if rest == "bf16":
            continue
        for part in ("self_attn", "mlp"):
            for name in matrices(getattr(layer, part)):
                module = getattr(layer, part)
                undo.append((module, name.removesuffix(".weight"), getattr(module, name.removesuffix(".weight"))))
                weight = module.get_parameter(name)
                install(network, f"layers.{i}.{part}.{name}", pack(weight, rest), weight.dtype)
    if rest != "bf16":
        undo.append((network, "embed_tokens", network.embed_tokens))
        install(network, "embed_tokens.weight", pack(network.embed_tokens.weight, rest), network.dtype)
    try:
        yield
    finally:
        for module, name, value in undo:
            if name in module.__dict__:
                delattr(module, name)
            setattr(module, name, value)
