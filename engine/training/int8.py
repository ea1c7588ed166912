"""A network as an int8 checkpoint: half the size of bfloat16.

Every matrix is stored as whole numbers of -127..127 with one float32 scale per output row, in the layout of
compressed-tensors ("int-quantized", by channel), experts apart as published quantised checkpoints have them. Norms,
the router and other small tensors stay bfloat16. Knows nothing of training.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..checkpoints.checkpoint import CONFIG
from ..checkpoints.hf_config import hf_config
from ..checkpoints.layouts import stored_name
from ..checkpoints.stored import WEIGHTS
from ..network import Network

QUANTIZATION = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["re:.*router.*"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear", "Embedding"],
            "input_activations": None,
            "output_activations": None,
            "weights": {"type": "int", "num_bits": 8, "strategy": "channel", "symmetric": True, "dynamic": False},
        }
    },
}


def rows_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight [N, K] -> int8 [N, K] and scale [N, 1] float32, one per row."""
    largest = weight.float().abs().amax(-1, keepdim=True)
    scale = torch.where(largest == 0, torch.ones_like(largest), largest / 127)
    return (weight.float() / scale).round().clamp(-127, 127).to(torch.int8), scale


def int8_tensors(network: Network) -> dict[str, Tensor]:
    """What the file holds, by stored name."""
    tensors: dict[str, Tensor] = {}

    def put(module: str, weight: Tensor) -> None:
        tensors[f"{module}.weight"], tensors[f"{module}.weight_scale"] = rows_int8(weight)

    for name, tensor in network.state_dict().items():
        stored, value = stored_name(name), tensor.detach().cpu()
        if name.endswith("experts.gate_up_proj"):
            for expert, both in enumerate(value):
                for half, weight in zip(("gate_proj", "up_proj"), both.chunk(2), strict=True):
                    put(f"{stored.removesuffix('gate_up_proj')}{expert}.{half}", weight.contiguous())
        elif name.endswith("experts.down_proj"):
            for expert, weight in enumerate(value):
                put(f"{stored.removesuffix('down_proj')}{expert}.down_proj", weight.contiguous())
        elif value.dim() == 2 and "router" not in name:
            put(stored.removesuffix(".weight"), value)
        else:
            tensors[stored] = value.to(torch.bfloat16).contiguous()
    return tensors


def save_int8(network: Network, directory: Path) -> None:
    """Writes `config.json` and `model.safetensors`."""
    directory.mkdir(parents=True, exist_ok=True)
    config = {**hf_config(network.config), "dtype": "bfloat16", "quantization_config": QUANTIZATION}
    (directory / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(int8_tensors(network), directory / WEIGHTS, metadata={"format": "pt"})
