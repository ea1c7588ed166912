"""Checkpoints: a directory in the Hugging Face layout, read into a Network or written from one.

Reads `config.json` with `model.safetensors`, or with the shards of `model.safetensors.index.json`; writes what
transformers' `DiffusionGemmaForBlockDiffusion.from_pretrained` loads. Knows names, shapes and dtypes of tensors;
knows nothing of tokenizers, sampling or training state. Absent on purpose: pickled weights, downloads, vision.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .config import FULL, MODEL_TYPE, SLIDING, NetworkConfig
from .errors import EngineError
from .network import Network

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
DECODER, ENCODER = "model.decoder.", "model.encoder.language_model."
SKIPPED = ("model.encoder.vision_tower.", "model.encoder.embed_vision.")
FLOATS = {"F64", "F32", "F16", "BF16"}
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


def load(
    directory: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[Network, NetworkConfig]:
    """Reads a checkpoint for inference: evaluation mode, no gradients, every tensor on `device` in `dtype`.

    Raises EngineError naming the file, field or tensor that is missing, unexpected, misshapen or damaged. Only headers
    are read until all names and shapes agree; then at most one tensor is held beyond the network itself. On a CPU,
    tensors already stored in `dtype` stay mapped from the file (privately: writing to them does not reach it).
    """
    if not directory.is_dir():
        raise EngineError(f"{directory}: no such checkpoint directory")
    hf = read_json(directory / CONFIG)
    if "quantization_config" in hf:
        raise EngineError(f"{directory / CONFIG}: quantization_config: quantised checkpoints are unsupported")
    try:
        config = NetworkConfig.from_hf(hf)
    except EngineError as error:
        raise EngineError(f"{directory}: {error}") from None
    with torch.device("meta"):
        network = Network(config)

    files = _weight_files(directory)
    targets = _match(network, files, directory)
    state: dict[str, Tensor] = {}
    for file in sorted(set(files.values())):
        for stored, tensor in _tensors(file, [name for name in targets if files[name] == file]):
            name, moved = targets[stored], tensor.to(device, dtype)
            if name in state and not torch.equal(state[name], moved):
                raise EngineError(f"{file}: {stored} differs from the tensor it is tied to")
            state[name] = moved
    for name in network.state_dict():
        if name not in state:  # only an encoder's layer scalar can be: `_match` has seen to the others
            state[name] = state[name.replace("encoder_layer_scalar", "layer_scalar")].clone()
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval().requires_grad_(False), config


def save(
    network: Network, directory: Path, config: Mapping[str, Any] | None = None, dtype: torch.dtype | None = None
) -> None:
    """Writes `config.json` and `model.safetensors`, each replaced at once, so that a reader never sees half a file.

    config: the root of `config.json`, for a caller that keeps fields of its own there; None: `hf_config`. dtype:
    what the tensors are stored as; None: the network's. Raises ValueError if `config` describes another network.
    """
    hf = {**(hf_config(network.config) if config is None else config)}
    if NetworkConfig.from_hf(hf) != network.config:
        raise ValueError("config.json would describe another network than the one saved")
    dtype = dtype or network.dtype
    hf["dtype"] = str(dtype).removeprefix("torch.")
    state = {
        stored_names(name)[0]: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in network.state_dict().items()
    }
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / f".{WEIGHTS}.partial"
    save_file(state, partial, metadata={"format": "pt"})  # some versions of transformers refuse a file without it
    os.replace(partial, directory / WEIGHTS)
    partial = directory / f".{CONFIG}.partial"
    partial.write_text(json.dumps(hf, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, directory / CONFIG)


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


def stored_names(name: str) -> tuple[str, ...]:
    """Where a checkpoint may hold the network's tensor `name`: first its own name, then the other ends of a tie."""
    if name.endswith(".encoder_layer_scalar"):
        return (ENCODER + name.replace("encoder_layer_scalar", "layer_scalar"),)
    if name.endswith(".layer_scalar") or name.startswith("self_conditioning."):
        return (DECODER + name,)
    if name == "embed_tokens.weight":
        return (DECODER + name, ENCODER + name, "lm_head.weight")
    return (DECODER + name, ENCODER + name)


def _match(network: Network, files: Mapping[str, Path], directory: Path) -> dict[str, str]:
    """Stored name -> the network's name, for every stored tensor that will be read; shapes and dtypes checked."""
    targets = {}
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    for name in shapes:
        held = [stored for stored in stored_names(name) if stored in files]
        if not held and not name.endswith(".encoder_layer_scalar"):
            raise EngineError(f"{directory}: tensor {stored_names(name)[0]} is missing")
        targets.update(dict.fromkeys(held, name))
    for stored, file in files.items():
        if stored not in targets and not stored.startswith(SKIPPED):
            raise EngineError(f"{file}: unexpected tensor {stored}")
    for file in sorted(set(files.values())):
        with _open(file) as weights:
            for stored in (name for name in targets if files[name] == file):
                header = weights.get_slice(stored)
                shape, expected = tuple(header.get_shape()), shapes[targets[stored]]
                if shape != expected:
                    raise EngineError(f"{file}: {stored} has shape {list(shape)}, config.json asks {list(expected)}")
                if header.get_dtype() not in FLOATS:
                    raise EngineError(f"{file}: {stored} is stored as {header.get_dtype()}, which is unsupported")
    return targets


def _weight_files(directory: Path) -> dict[str, Path]:
    """Stored name -> the safetensors file that holds it."""
    if (directory / WEIGHTS).is_file():
        return dict.fromkeys(_names(directory / WEIGHTS), directory / WEIGHTS)
    if not (directory / INDEX).is_file():
        pickled = sorted(path.name for path in directory.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        if pickled:
            raise EngineError(
                f"{directory}: {pickled[0]} is a pickle, which can run code when it is read; "
                "convert the weights to safetensors"
            )
        raise EngineError(f"{directory / WEIGHTS} is missing")
    listed = read_json(directory / INDEX).get("weight_map")
    if not isinstance(listed, Mapping) or not listed:
        raise EngineError(f"{directory / INDEX}: weight_map is missing")
    for name in listed.values():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise EngineError(f"{directory / INDEX}: {name!r} is not the name of a safetensors file beside it")
    files = {stored: directory / name for stored, name in listed.items()}
    held = {file: _names(file) for file in sorted(set(files.values()))}
    for stored, file in files.items():
        if stored not in held[file]:
            raise EngineError(f"{file}: tensor {stored}, which {INDEX} places here, is missing")
    for file, names in held.items():
        for stored in names:
            if files.get(stored) != file:
                raise EngineError(f"{file}: unexpected tensor {stored}, which {INDEX} does not place here")
    return files


def _names(file: Path) -> list[str]:
    with _open(file) as weights:
        return sorted(weights.keys())


def _tensors(file: Path, names: list[str]) -> Iterator[tuple[str, Tensor]]:
    with _open(file) as weights:
        for name in names:
            yield name, weights.get_tensor(name)


def _open(file: Path) -> Any:
    if not file.is_file():
        raise EngineError(f"{file} is missing")
    try:
        return safe_open(file, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise EngineError(f"{file} is not a whole safetensors file: {error}") from None


def read_json(file: Path) -> Mapping[str, Any]:
    """The object in one of a checkpoint's JSON files. Raises EngineError."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EngineError(f"{file} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise EngineError(f"{file} cannot be read: {error}") from None
    if not isinstance(value, Mapping):
        raise EngineError(f"{file} holds no JSON object")
    return value
