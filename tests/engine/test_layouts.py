"""Checkpoints as they are published, bf16, FP8-dynamic and NVFP4, become the network that their numbers stand for.

The writers below are the reference: they quantise a tiny network the way the published checkpoints were, name by name,
shape by shape, dtype by dtype, and give the weights that the stored numbers mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from midspan.engine.checkpoints import checkpoint, plan
from midspan.engine.config import NetworkConfig
from midspan.engine.errors import EngineError
from midspan.engine.kernels.packing import Packed, pack, unpack
from midspan.engine.network import Network
from safetensors.torch import load_file, save_file
from torch import Tensor

FP4 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
State = dict[str, Tensor]

FP8_CONFIG = {
    "quant_method": "compressed-tensors",
    "format": "float-quantized",
    "quantization_status": "compressed",
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "float", "strategy": "channel", "dynamic": False, "symmetric": True},
            "input_activations": {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True},
        }
    },
    "ignore": ["lm_head"],
}
NVFP4_CONFIG = {
    "quant_method": "compressed-tensors",
    "format": "nvfp4-pack-quantized",
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16},
            "input_activations": {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16},
        }
    },
}
MODELOPT_CONFIG = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["*mlp*", "*self_attn*"]}


def fp8(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    scale = (weight.abs().amax(-1, keepdim=True) / 448).bfloat16()
    data = (weight / scale.float()).clamp(-448, 448).to(torch.float8_e4m3fn)
    return {"weight": data, "weight_scale": scale}, data.float() * scale.float()


def nvfp4(weight: Tensor, scale_2: Tensor, factor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Packed levels, group scales and what they mean; `factor` is what a group's scale is multiplied with."""
    groups = weight.unflatten(-1, (-1, 16))
    scale = (groups.abs().amax(-1) / 6 / scale_2).clamp(max=448).to(torch.float8_e4m3fn)
    step = (scale.float() * factor if factor is scale_2 else scale.float() / factor)[..., None]
    level = (groups / step).nan_to_num().abs()[..., None].sub(FP4).abs().argmin(-1)
    value = FP4[level] * groups.sign() * step
    nibbles = (level + 8 * (groups < 0)).flatten(-2).to(torch.uint8)
    return nibbles[..., 0::2] | nibbles[..., 1::2] << 4, scale, value.flatten(-2)


def compressed_tensors(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    global_scale = (448 * 6 / weight.abs().max()).float().reshape(1)
    data, scale, value = nvfp4(weight, 1 / global_scale, global_scale)
    stored = {"weight_packed": data, "weight_scale": scale, "weight_global_scale": global_scale}
    return {**stored, "input_global_scale": torch.tensor(3.0)}, value


def modelopt(weight: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    scale_2 = (weight.abs().max() / 448 / 6).float()
    data, scale, value = nvfp4(weight, scale_2, scale_2)
    return {"weight": data, "weight_scale": scale, "weight_scale_2": scale_2, "input_scale": torch.tensor(3.0)}, value


# layout -> quantization_config, how a matrix is stored, which modules besides the experts are quantised
LAYOUTS: dict[str, tuple[dict[str, Any], Callable[[Tensor], tuple[dict[str, Tensor], Tensor]], str]] = {
    "fp8": (FP8_CONFIG, fp8, r"self_attn\.\w_proj|\.mlp\."),
    "nvfp4": (NVFP4_CONFIG, compressed_tensors, r"\.mlp\."),
    "modelopt": (MODELOPT_CONFIG, modelopt, r"(?!)"),
}


@pytest.fixture(scope="module")
def original(tiny_config: Callable[[str], dict[str, Any]]) -> Network:
    """Widths that every format can take; more experts than run densely."""
    config = tiny_config("experts")
    config["text_config"] |= {"hidden_size": 64, "intermediate_size": 128, "moe_intermediate_size": 64}
    config["text_config"] |= {"head_dim": 16, "global_head_dim": 32, "num_experts": 18, "num_hidden_layers": 2}
    config["text_config"]["layer_types"] = config["text_config"]["layer_types"][:2]
    network = Network(NetworkConfig.from_hf(config))
    generator = torch.Generator().manual_seed(1)
    for name, tensor in network.state_dict().items():
        drawn = torch.rand(tensor.shape, generator=generator) + 0.5
        if tensor.ndim > 1:
            drawn = torch.randn(tensor.shape, generator=generator) * (
                1 if "embed" in name else tensor.shape[-1] ** -0.5
            )
        tensor.copy_(drawn.bfloat16())
    return network.eval().requires_grad_(False)


def write(network: Network, directory: Path, layout: str) -> State:
    """Writes the network's checkpoint in a published layout; returns the network's tensors as they then are."""
    quantization, quantise, others = LAYOUTS[layout]
    stored: State = {}
    meant: State = {}
    for name, tensor in network.state_dict().items():
        meant[name] = tensor.clone()
        if re.search(r"\.experts\.", name):
            for expert in range(len(tensor)):
                halves = tensor[expert].chunk(2) if "gate_up" in name else (tensor[expert],)
                for half, projection in enumerate(("gate_proj", "up_proj") if "gate_up" in name else ("down_proj",)):
                    leaves, value = quantise(halves[half])
                    module = f"model.decoder.{name.rpartition('.')[0]}.{expert}.{projection}"
                    stored |= {f"{module}.{leaf}": each for leaf, each in leaves.items()}
                    meant[name][expert, half * len(value) : (half + 1) * len(value)] = value
        elif re.search(others, name) and tensor.ndim == 2:
            leaves, meant[name] = quantise(tensor)
            stored |= {f"model.decoder.{name.removesuffix('weight')}{leaf}": each for leaf, each in leaves.items()}
        elif name.endswith("encoder_layer_scalar"):
            module = name.replace("encoder_layer_scalar", "layer_scalar")
            stored[f"model.encoder.language_model.{module}"] = tensor.bfloat16()
        else:
            stored[f"model.decoder.{name}"] = tensor.bfloat16()
    stored["model.encoder.vision_tower.encoder.layers.0.mlp.gate_proj.linear.weight"] = torch.ones(3, 3)
    stored["model.encoder.vision_tower.patch_embedder.position_embedding_table"] = torch.ones(3, 3)
    directory.mkdir(parents=True, exist_ok=True)
    names = sorted(stored)
    shards = {"model-00001-of-00002": names[::2], "model-00002-of-00002": names[1::2]}  # cuts every module in two
    weight_map = {}
    for shard, held in shards.items():
        save_file({name: stored[name].contiguous() for name in held}, directory / f"{shard}.safetensors")
        weight_map |= dict.fromkeys(held, f"{shard}.safetensors")
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    config = {**checkpoint.hf_config(network.config), "quantization_config": quantization}
    (directory / "config.json").write_text(json.dumps(config))
    return meant


@pytest.fixture(scope="module", params=LAYOUTS)
def published(
    request: pytest.FixtureRequest, original: Network, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, State]:
    directory = tmp_path_factory.mktemp(request.param)
    return request.param, directory, write(original, directory, request.param)


def passes(network: Network) -> Iterator[Tensor]:
    """What both modes of a network compute of some tokens."""
    generator = torch.Generator().manual_seed(0)
    prefix = torch.randint(network.config.vocab_size, (1, 20), generator=generator)
    canvas = torch.randint(network.config.vocab_size, (1, 8), generator=generator)
    cache = network.new_cache()
    yield network.encode(prefix, cache)
    logits = network.logits(network.denoise(canvas, cache))
    yield logits
    yield network.logits(network.denoise(canvas, cache, network.soft_embeddings(logits)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_published_layout_is_read_as_the_weights_it_means(
    published: tuple[str, Path, State], original: Network, dtype: torch.dtype
) -> None:
    layout, directory, meant = published
    network, config = checkpoint.load(directory, dtype=dtype)
    assert config == original.config
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, meant[name].to(dtype)), name
    changed = [name for name in meant if not torch.equal(meant[name], original.state_dict()[name])]
    assert any("experts" in name for name in changed)
    assert any("self_attn" in name for name in changed) == (layout == "fp8")
    assert any(".mlp." in name for name in changed) == (layout != "modelopt")
    assert checkpoint.inspect(directory).experts == ("fp8" if layout == "fp8" else "nvfp4")


def test_it_computes_what_transformers_computes_of_those_weights(published: tuple[str, Path, State]) -> None:
    transformers = pytest.importorskip("transformers")
    _, directory, meant = published
    network, _ = checkpoint.load(directory)
    config = transformers.DiffusionGemmaConfig(**checkpoint.hf_config(network.config))
    oracle = transformers.DiffusionGemmaForBlockDiffusion._from_config(
        config, attn_implementation="eager", experts_implementation="eager"
    ).eval()
    renamed = {
        "model.encoder.language_model." + name.replace("encoder_layer", "layer")
        if "encoder_layer" in name
        else "model.decoder." + name: tensor
        for name, tensor in meant.items()
    }
    assert not oracle.load_state_dict(renamed, strict=False).unexpected_keys
    generator = torch.Generator().manual_seed(0)
    prefix = torch.randint(network.config.vocab_size, (1, 20), generator=generator)
    canvas = torch.randint(network.config.vocab_size, (1, 8), generator=generator)
    cache = transformers.DynamicCache(config=config.text_config)
    with torch.inference_mode():
        hidden = oracle.model.encoder(input_ids=prefix, past_key_values=cache).last_hidden_state
        logits = oracle(decoder_input_ids=canvas, past_key_values=cache).logits
        again = oracle(decoder_input_ids=canvas, past_key_values=cache, self_conditioning_logits=logits).logits
        for ours, theirs in zip(passes(network), (hidden, logits, again), strict=True):
            assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


@pytest.mark.parametrize(("experts", "rest"), [("fp8", "bf16"), ("fp8", "fp8"), ("int8", "int8"), ("int4", "fp8")])
def test_packed_at_load_it_computes_what_its_packed_weights_mean(
    published: tuple[str, Path, State], original: Network, experts: Any, rest: Any
) -> None:
    layout, directory, meant = published
    kept = plan.plan(original.config, experts, rest, float_bytes=4)
    network, _ = checkpoint.load(directory, kept=kept)
    means = {}
    for name, tensor in meant.items():
        kind = kept.kind(name)
        means[name] = tensor if kind == "bf16" else unpack(pack(tensor, kind), torch.float32)
        if kind == "fp8" and layout == "fp8" and "embed" not in name:
            assert torch.equal(means[name], tensor), f"{name} is not kept as it was stored"
    reference = Network(original.config).eval().requires_grad_(False)
    reference.load_state_dict(means)
    packed = [module for module in network.modules() if any(isinstance(v, Packed) for v in vars(module).values())]
    # Per layer the experts; with the rest also 3 of the dense MLP and 4 or 3 of attention; the embedding.
    assert len(packed) == (2 if rest == "bf16" else 2 + 2 * 3 + 4 + 3 + 1)
    with torch.inference_mode():
        for ours, theirs in zip(passes(network), passes(reference), strict=True):
            assert torch.equal(ours, theirs)


# --- what is refused


def change(directory: Path, copy: Path, edit: Callable[[State], Any]) -> Path:
    """A copy of a checkpoint in one file, its tensors edited."""
    tensors: State = {}
    for shard in sorted(directory.glob("*.safetensors")):
        tensors |= load_file(shard)
    edit(tensors)
    save_file(tensors, copy / "model.safetensors")
    (copy / "config.json").write_bytes((directory / "config.json").read_bytes())
    return copy


def assert_refused(directory: Path, *words: str) -> None:
    with pytest.raises(EngineError) as caught:
        checkpoint.load(directory)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


EXPERT = "model.decoder.layers.0.experts.3.up_proj"
MLP = "model.decoder.layers.1.mlp.gate_proj"


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("fp8", f"{EXPERT}.weight_scale"),
        ("fp8", f"{MLP}.weight"),
        ("nvfp4", f"{EXPERT}.weight_packed"),
        ("nvfp4", f"{EXPERT}.weight_scale"),
        ("nvfp4", f"{MLP}.weight_global_scale"),
        ("modelopt", f"{EXPERT}.weight_scale_2"),
        ("modelopt", f"{EXPERT}.weight_scale"),
        ("modelopt", "model.decoder.layers.1.mlp.down_proj.weight"),
    ],
)
def test_a_missing_tensor_is_named(original: Network, tmp_path: Path, layout: str, name: str) -> None:
    write(original, tmp_path / layout, layout)
    assert_refused(change(tmp_path / layout, tmp_path, lambda tensors: tensors.pop(name)), name.rpartition(".")[0])


@pytest.mark.parametrize(
    "module", [f"{EXPERT}.", "model.decoder.layers.1.experts.17.down_proj.", "model.decoder.layers.0.experts.0.gate"]
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_missing_expert_is_named(original: Network, tmp_path: Path, layout: str, module: str) -> None:
    def drop(tensors: State) -> None:
        for name in [name for name in tensors if name.startswith(module)]:
            del tensors[name]

    write(original, tmp_path / layout, layout)
    assert_refused(change(tmp_path / layout, tmp_path, drop), module, "missing")


@pytest.mark.parametrize(
    ("layout", "name", "tensor", "words"),
    [
        ("fp8", f"{EXPERT}.weight_scale", torch.ones(3, 1), ("[3, 1]", "[64, 1]")),
        ("fp8", f"{EXPERT}.weight", torch.ones(64, 32).to(torch.float8_e4m3fn), ("[64, 32]", "[64, 64]")),
        ("fp8", f"{EXPERT}.weight_scale", torch.ones(64, 1, dtype=torch.int64), ("I64",)),
        ("fp8", f"{EXPERT}.weight", torch.ones(64, 64, dtype=torch.int16), ("I16",)),
        ("nvfp4", f"{EXPERT}.weight_packed", torch.ones(64, 64, dtype=torch.uint8), ("[64, 64]", "[64, 32]")),
        ("nvfp4", f"{EXPERT}.weight_scale", torch.ones(64, 2).to(torch.float8_e4m3fn), ("[64, 2]", "[64, 4]")),
        ("nvfp4", f"{EXPERT}.weight_scale", torch.ones(64, 4), ("F32",)),
        ("nvfp4", f"{EXPERT}.weight_global_scale", torch.ones(2), ("[2]", "[1]")),
        ("modelopt", f"{EXPERT}.weight_scale_2", torch.ones(64), ("[64]", "[1]")),
        ("modelopt", f"{EXPERT}.pre_quant_scale", torch.ones(64), ("unexpected",)),
        ("modelopt", "model.decoder.layers.0.experts.18.up_proj.weight", torch.ones(64, 64), ("unexpected",)),
        ("modelopt", "model.decoder.layers.0.experts.up_proj.3.weight", torch.ones(64, 64), ("unexpected",)),
        ("modelopt", "model.decoder.layers.0.experts.down_proj", torch.ones(18, 64, 64), ("beside",)),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(
    original: Network, tmp_path: Path, layout: str, name: str, tensor: Tensor, words: tuple[str, ...]
) -> None:
    write(original, tmp_path / layout, layout)
    copy = change(tmp_path / layout, tmp_path, lambda tensors: tensors.update({name: tensor}))
    assert_refused(copy, name, *words)


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        (5, ("quantization_config", "object")),
        ({}, ("quant_method", "None")),
        ({"quant_method": "gptq", "bits": 4}, ("quant_method", "'gptq'")),
        ({"quant_method": "bitsandbytes"}, ("quant_method",)),
        ({"quant_method": "modelopt", "quant_algo": "INT4_AWQ"}, ("quant_algo", "'INT4_AWQ'")),
        ({"quant_method": "compressed-tensors"}, ("config_groups", "missing")),
        ({"quant_method": "compressed-tensors", "config_groups": {"group_0": 3}}, ("group_0.weights", "missing")),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"g": {"weights": {"type": "int", "num_bits": 4, "strategy": "group"}}},
            },
            ("config_groups.g.weights", "int of 4 bits by group"),
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"g": {"weights": {"type": "float", "num_bits": 8, "strategy": "block"}}},
            },
            ("config_groups.g.weights", "block"),
        ),
    ],
)
def test_another_quantisation_is_named(original: Network, tmp_path: Path, quantization: Any, words: tuple) -> None:
    write(original, tmp_path, "fp8")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "quantization_config": quantization}))
    assert_refused(tmp_path, "config.json", *words)


def test_one_scale_for_a_whole_matrix_and_scales_of_activations_are_read(original: Network, tmp_path: Path) -> None:
    """As ModelOpt and other tools write FP8."""

    def edit(tensors: State) -> None:
        for shape, name in (((), EXPERT), ((1,), MLP)):
            # Rows that do not reach 448, as with one scale for all of them.
            tensors[f"{name}.weight"] = (tensors[f"{name}.weight"].float() * 0.3).to(torch.float8_e4m3fn)
            tensors[f"{name}.weight_scale"] = torch.full(shape, 0.5)
            tensors[f"{name}.input_scale"] = torch.tensor(2.0)
        tensors["model.decoder.layers.0.self_attn.k_proj.k_scale"] = torch.tensor(2.0)

    write(original, tmp_path / "fp8", "fp8")
    change(tmp_path / "fp8", tmp_path, edit)
    stored = load_file(tmp_path / "model.safetensors")
    state = checkpoint.load(tmp_path)[0].state_dict()
    expert, dense = stored[f"{EXPERT}.weight"].float() / 2, stored[f"{MLP}.weight"].float() / 2
    assert torch.equal(state["layers.0.experts.gate_up_proj"][3, 64:], expert)
    assert torch.equal(state["layers.1.mlp.gate_proj.weight"], dense)
    # In fp8 too the stored numbers are kept, not rounded anew to a scale by row.
    layers = checkpoint.load(tmp_path, kept=plan.plan(original.config, "fp8", "fp8"))[0].layers
    assert torch.equal(unpack(layers[0].experts.gate_up_proj[3], torch.float32)[64:], expert)
    assert torch.equal(unpack(layers[1].mlp.gate_proj.packed, torch.float32), dense)


def test_a_network_with_packed_weights_is_not_saved(original: Network, tmp_path: Path) -> None:
    write(original, tmp_path / "fp8", "fp8")
    network, _ = checkpoint.load(tmp_path / "fp8", kept=plan.plan(original.config, "fp8"))
    with pytest.raises(ValueError, match="packed"):
        checkpoint.save(network, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_an_encoder_s_copy_of_a_quantised_matrix_must_be_the_decoder_s(original: Network, tmp_path: Path) -> None:
    def tie(tensors: State) -> None:
        for name in [name for name in tensors if name.startswith(MLP)]:
            tensors[name.replace("decoder", "encoder.language_model")] = tensors[name].clone()

    def loosen(tensors: State) -> None:
        tie(tensors)
        tensors[f"{MLP}.weight_scale"].mul_(2)

    meant = write(original, tmp_path / "fp8", "fp8")
    state = checkpoint.load(change(tmp_path / "fp8", tmp_path, tie))[0].state_dict()
    assert torch.equal(state["layers.1.mlp.gate_proj.weight"], meant["layers.1.mlp.gate_proj.weight"])
    assert_refused(change(tmp_path / "fp8", tmp_path, loosen), MLP, "tied")
