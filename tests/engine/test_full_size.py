"""The released checkpoint and its published quantisations at full size, without their weights."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from midspan.engine.checkpoints import checkpoint, plan
from midspan.engine.checkpoints.layouts import match
from midspan.engine.checkpoints.stored import Header
from midspan.engine.config import NetworkConfig
from midspan.engine.network import Network

# Which matrices besides the experts are quantised.
QUANTISED = {"fp8": r"self_attn\.\w_proj|\.mlp\.", "nvfp4": r"\.mlp\.", "modelopt": r"(?!)"}


def full_headers(shapes: dict[str, tuple[int, ...]], layout: str) -> dict[str, Header]:
    """Every tensor of the released checkpoint or of its published quantisations, by name, dtype and shape."""
    found: dict[str, Header] = {}
    file = Path("model.safetensors")

    def add(name: str, dtype: str, shape: tuple[int, ...]) -> None:
        found[name] = Header(file, dtype, shape)

    def matrix(module: str, n: int, k: int) -> None:
        if layout == "fp8":
            add(f"{module}.weight", "F8_E4M3", (n, k))
            add(f"{module}.weight_scale", "BF16", (n, 1))
            return
        packed, last, activation = {
            "nvfp4": ("weight_packed", "weight_global_scale", "input_global_scale"),
            "modelopt": ("weight", "weight_scale_2", "input_scale"),
        }[layout]
        add(f"{module}.{packed}", "U8", (n, k // 2))
        add(f"{module}.weight_scale", "F8_E4M3", (n, k // 16))
        add(f"{module}.{last}", "F32", (1,) if layout == "nvfp4" else ())
        add(f"{module}.{activation}", "F32", ())

    for name, shape in shapes.items():
        if ".experts." in name and layout != "bf16":
            module, _, leaf = name.rpartition(".")
            for expert in range(shape[0]):
                for projection in ("gate_proj", "up_proj") if leaf == "gate_up_proj" else ("down_proj",):
                    rows = shape[1] // 2 if leaf == "gate_up_proj" else shape[1]
                    matrix(f"model.decoder.{module}.{expert}.{projection}", rows, shape[2])
        elif layout != "bf16" and len(shape) == 2 and re.search(QUANTISED[layout], name):
            matrix("model.decoder." + name.removesuffix(".weight"), *shape)
        elif name.endswith("encoder_layer_scalar"):
            add("model.encoder.language_model." + name.replace("encoder_layer", "layer"), "BF16", shape)
        else:
            add("model.decoder." + name, "BF16", shape)
    for i in range(355):
        add(f"model.encoder.vision_tower.encoder.layers.{i}.self_attn.q_proj.linear.weight", "BF16", (1152, 1152))
    add("model.encoder.embed_vision.embedding_projection.weight", "BF16", (2816, 1152))
    return found


# Tensors by dtype. Of the 1047 in bf16, 60 are experts (11520 matrices when apart), 90 dense MLP, 115 attention.
PUBLISHED = {
    "bf16": {"BF16": 1_047},
    "fp8": {"BF16": 1_047 - 60 - 90 - 115 + 11_725, "F8_E4M3": 11_725},
    "nvfp4": {"BF16": 897, "F32": 23_220, "F8_E4M3": 11_610, "U8": 11_610},
    "modelopt": {"BF16": 1_047 - 60, "F32": 23_040, "F8_E4M3": 11_520, "U8": 11_520},
}


@pytest.mark.parametrize("layout", PUBLISHED)
def test_every_name_of_the_released_checkpoints_has_its_place(full_config: dict[str, Any], layout: str) -> None:
    config = NetworkConfig.from_hf(full_config)
    shapes = checkpoint.shapes(config)
    found = full_headers(shapes, layout)
    assert Counter(header.dtype for header in found.values()) == PUBLISHED[layout]
    parts = match(found, shapes)
    assert {part.target for part in parts} == set(shapes)
    assert len(parts) == (691 if layout == "bf16" else 691 - 60 + 30 * 128 * 3)
    used = {name for part in parts for name in part.names.values()}
    unused = {name for name in found if name not in used}
    assert all(re.search(r"vision|input_scale|input_global_scale", name) for name in unused)
    for target, shape in shapes.items():
        rows = sum(torch.Size(part.shape).numel() for part in parts if part.target == target)
        assert rows == torch.Size(shape).numel(), target


def test_the_released_shape_has_the_parameters_it_is_known_by(full_config: dict[str, Any]) -> None:
    with torch.device("meta"):
        network = Network(NetworkConfig.from_hf(full_config))
    counted = dict.fromkeys(plan.parameters(network.config), 0)
    for name, parameter in network.named_parameters():
        counted[plan.part_of(name)] += parameter.numel()
    assert counted == plan.parameters(network.config)
    in_billions = {part: round(count / 1e9, 3) for part, count in counted.items()}
    assert in_billions == {
        "experts": 22.838,
        "attention": 1.110,
        "mlp": 0.535,
        "embedding": 0.738,
        "self_conditioning": 0.018,
        "other": 0.012,
    }
    assert round(sum(counted.values()) / 1e9, 2) == 25.25
    assert len(network.state_dict()) == 691
    assert [i for i, layer in enumerate(network.layers) if layer.self_attn.v_proj is None] == [5, 11, 17, 23, 29]
