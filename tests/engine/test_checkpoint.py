"""A checkpoint directory becomes the network it describes, or one clear sentence; and transformers reads ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from midspan.engine.checkpoints import checkpoint
from midspan.engine.config import NetworkConfig
from midspan.engine.errors import EngineError
from midspan.engine.network import Network
from safetensors.torch import load_file, save_file

SHAPES = ["small", "mini", "experts"]
BUNDLED = Path(str(files("midspan.engine.bundled"))) / "midspan-mini"


@pytest.fixture
def saved(tmp_path: Path, tiny_network: Callable) -> Path:
    checkpoint.save(tiny_network("small"), tmp_path / "saved")
    return tmp_path / "saved"


def assert_same(a: Network, b: Network) -> None:
    expected = b.state_dict()
    assert a.state_dict().keys() == expected.keys()
    for name, tensor in a.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def change_config(directory: Path, scope: str | None = None, **fields: Any) -> None:
    config = json.loads((directory / "config.json").read_text())
    (config if scope is None else config[scope]).update(fields)
    (directory / "config.json").write_text(json.dumps(config))


def change_weights(directory: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def shard(directory: Path) -> dict[str, str]:
    """Splits `model.safetensors` in two with an index, as large checkpoints are published; returns the weight map."""
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, directory / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(part, file))
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return weight_map


@pytest.mark.parametrize("shape", SHAPES)
def test_saved_network_loads_bit_for_bit(tmp_path: Path, tiny_network: Callable, shape: str) -> None:
    checkpoint.save(tiny_network(shape), tmp_path)
    network, config = checkpoint.load(tmp_path)
    assert config == tiny_network(shape).config == network.config
    assert_same(network, tiny_network(shape))
    assert not network.training and not any(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("shape", SHAPES)
def test_hf_config_is_the_inverse_of_from_hf(tiny_config: Callable, shape: str) -> None:
    config = NetworkConfig.from_hf(tiny_config(shape))
    assert NetworkConfig.from_hf(checkpoint.hf_config(config)) == config


def test_half_precision_on_disk_is_read_in_the_dtype_asked_for(tmp_path: Path, tiny_network: Callable) -> None:
    original = tiny_network("small")
    checkpoint.save(original, tmp_path, dtype=torch.float16)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float16"
    network, _ = checkpoint.load(tmp_path, dtype=torch.float32)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, original.state_dict()[name].half().float()), name
    assert checkpoint.load(tmp_path, dtype=torch.bfloat16)[0].dtype == torch.bfloat16


def test_shards_load_like_one_file(saved: Path, tiny_network: Callable) -> None:
    shard(saved)
    assert_same(checkpoint.load(saved)[0], tiny_network("small"))


def test_saving_again_replaces_the_checkpoint(saved: Path, tiny_network: Callable) -> None:
    checkpoint.save(tiny_network("mini"), saved)
    assert_same(checkpoint.load(saved)[0], tiny_network("mini"))
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors"]


def test_fields_of_one_s_own_survive_in_config_json(tmp_path: Path, tiny_network: Callable) -> None:
    config = {**checkpoint.hf_config(tiny_network("small").config), "midspan": {"noise": "mask"}}
    checkpoint.save(tiny_network("small"), tmp_path, config)
    assert json.loads((tmp_path / "config.json").read_text())["midspan"] == {"noise": "mask"}


def test_config_of_another_network_is_not_saved(tmp_path: Path, tiny_network: Callable) -> None:
    with pytest.raises(ValueError, match="another network"):
        checkpoint.save(tiny_network("small"), tmp_path, checkpoint.hf_config(tiny_network("mini").config))


def test_encoder_scalars_default_to_the_decoder_s(saved: Path) -> None:
    def drop(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if name.startswith("model.encoder.")]:
            del tensors[name]

    change_weights(saved, drop)
    for layer in checkpoint.load(saved)[0].layers:
        assert torch.equal(layer.encoder_layer_scalar, layer.layer_scalar)
        assert layer.encoder_layer_scalar.data_ptr() != layer.layer_scalar.data_ptr()


def test_other_ends_of_ties_and_vision_are_tolerated(saved: Path, tiny_network: Callable) -> None:
    def add(tensors: dict[str, torch.Tensor]) -> None:
        embedding = tensors["model.decoder.embed_tokens.weight"]
        tensors["lm_head.weight"] = embedding.clone()
        tensors["model.encoder.language_model.embed_tokens.weight"] = embedding.clone()
        for name in [name for name in tensors if name.startswith("model.decoder.layers.")]:
            if not name.endswith("layer_scalar"):
                tensors[name.replace("decoder", "encoder.language_model")] = tensors[name].clone()
        tensors["model.encoder.vision_tower.patch_embedder.input_proj.weight"] = torch.ones(1, 3)
        tensors["model.encoder.embed_vision.embedding_projection.weight"] = torch.ones(32, 1)

    change_weights(saved, add)
    assert_same(checkpoint.load(saved)[0], tiny_network("small"))


@pytest.mark.parametrize("shape", SHAPES)
def test_what_transformers_saves_loads(tmp_path: Path, oracle: Callable, tiny_network: Callable, shape: str) -> None:
    """It rewrites the config (per-layer overrides, fields left out where they equal a default) and adds vision."""
    oracle(shape).save_pretrained(tmp_path)
    network, config = checkpoint.load(tmp_path)
    assert config == tiny_network(shape).config
    assert_same(network, tiny_network(shape))


def assert_transformers_agrees(directory: Path) -> None:
    """Within 1e-5 of the largest magnitude, or, where sharp attention amplifies rounding beyond that, four times as far
    as transformers' own two ways of computing the same logits lie apart."""
    transformers = pytest.importorskip("transformers")
    oracles = []
    for attention, experts in (("eager", "eager"), ("sdpa", None)):
        model, report = transformers.DiffusionGemmaForBlockDiffusion.from_pretrained(
            directory,
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            attn_implementation=attention,
            experts_implementation=experts,
        )
        assert not report["unexpected_keys"] and not report["mismatched_keys"]
        assert all("vision" in name for name in report["missing_keys"]), report["missing_keys"]
        oracles.append((model.eval(), transformers.DynamicCache(config=model.config.text_config)))
    network, config = checkpoint.load(directory)
    cache = network.new_cache()

    def agree(actual: torch.Tensor, expected: list[torch.Tensor]) -> None:
        scale = expected[0].abs().max()
        noise = (expected[0] - expected[1]).abs().max() / scale
        assert noise < 1e-3, "rounding alone moves these logits: nothing can be compared"
        assert (actual - expected[0]).abs().max() / scale <= max(1e-5, 4 * float(noise))

    generator = torch.Generator().manual_seed(0)
    prefix = torch.randint(config.vocab_size, (1, (config.sliding.window or 0) + 40), generator=generator)
    canvas = torch.randint(config.vocab_size, (1, 48), generator=generator)
    with torch.inference_mode():
        expected = [
            model.model.encoder(input_ids=prefix, past_key_values=seen).last_hidden_state for model, seen in oracles
        ]
        agree(network.encode(prefix, cache), expected)
        scaled = None
        for _ in range(3):
            soft = None if scaled is None else network.soft_embeddings(scaled)
            expected = [
                model(decoder_input_ids=canvas, past_key_values=seen, self_conditioning_logits=scaled).logits
                for model, seen in oracles
            ]
            agree(network.logits(network.denoise(canvas, cache, soft)), expected)
            scaled = expected[0] / 0.6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_transformers_loads_what_we_save(
    tmp_path: Path, tiny_network: Callable, shape: str, dtype: torch.dtype
) -> None:
    checkpoint.save(tiny_network(shape), tmp_path, dtype=dtype)
    assert_transformers_agrees(tmp_path)


@pytest.mark.skipif(not BUNDLED.is_dir(), reason="no bundled midspan-mini")
def test_transformers_loads_the_bundled_checkpoint() -> None:
    assert_transformers_agrees(BUNDLED)


def assert_refused(directory: Path, *words: str) -> None:
    with pytest.raises(EngineError) as caught:
        checkpoint.load(directory)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_missing_directory(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nowhere", str(tmp_path / "nowhere"), "no such checkpoint directory")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_file(saved: Path, name: str) -> None:
    (saved / name).unlink()
    assert_refused(saved, name, "missing")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "[" * 100_000, '{"model_type": "diffusion_gemma"}'])
def test_malformed_config(saved: Path, content: str) -> None:
    (saved / "config.json").write_text(content)
    assert_refused(saved, "config.json")


def test_config_that_is_no_text(saved: Path) -> None:
    (saved / "config.json").write_bytes(b"\xff\xfe\x00")
    assert_refused(saved, "config.json", "cannot be read")


@pytest.mark.parametrize("model_type", ["gemma4", None])
def test_wrong_architecture(saved: Path, model_type: str | None) -> None:
    change_config(saved, model_type=model_type)
    assert_refused(saved, "model_type", "diffusion_gemma")


def test_quantised_checkpoint(saved: Path) -> None:
    change_config(saved, quantization_config={"quant_method": "fp8"})
    assert_refused(saved, "quantization_config", "unsupported")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_size", None),
        ("hidden_size", "32"),
        ("hidden_size", 0),
        ("hidden_size", True),
        ("num_experts", None),
        ("num_experts", 1),
        ("num_key_value_heads", 3),
        ("num_global_key_value_heads", 3),
        ("head_dim", 7),
        ("global_head_dim", None),
        ("sliding_window", -1),
        ("rms_norm_eps", float("nan")),
        ("final_logit_softcapping", None),
        ("layer_types", ["sliding_attention"] * 3),
        ("layer_types", ["full_attention"]),
        ("layer_types", ["chunked_attention"] * 3),
        ("layer_types", 3),
        ("rope_parameters", {}),
        ("rope_parameters", {"sliding_attention": {"rope_theta": 1e4}, "full_attention": {}}),
        ("rope_parameters", {"sliding_attention": {"rope_type": "yarn"}, "full_attention": {}}),
        ("per_layer_config", {"0": {"head_dim": 16}}),
        ("per_layer_config", {"2": {"sliding_window": 4}}),
        ("per_layer_config", {"2": 5}),
        ("per_layer_config", 5),
        ("hidden_activation", "gelu"),
        ("attention_bias", True),
        ("tie_word_embeddings", False),
        ("use_bidirectional_attention", "all"),
        ("eos_token_id", [1, 97]),
        ("bos_token_id", "x"),
        ("pad_token_id", -1),
    ],
)
def test_unsupported_field_is_named(saved: Path, field: str, value: Any) -> None:
    change_config(saved, "text_config", **{field: value})
    assert_refused(saved, "config.json", field.replace("global_", ""))


@pytest.mark.parametrize(("field", "value"), [("canvas_length", 0), ("tie_word_embeddings", False)])
def test_unsupported_root_field_is_named(saved: Path, field: str, value: Any) -> None:
    change_config(saved, **{field: value})
    assert_refused(saved, "config.json", field)


@pytest.mark.parametrize(
    "name",
    [
        "model.decoder.embed_tokens.weight",
        "model.decoder.norm.weight",
        "model.decoder.layers.1.self_attn.v_proj.weight",
        "model.decoder.layers.2.experts.gate_up_proj",
        "model.decoder.layers.0.layer_scalar",
        "model.decoder.self_conditioning.pre_norm.weight",
    ],
)
def test_missing_tensor_is_named(saved: Path, name: str) -> None:
    change_weights(saved, lambda tensors: tensors.pop(name))
    assert_refused(saved, name, "missing")


def test_no_tensors_at_all(saved: Path) -> None:
    save_file({}, saved / "model.safetensors")
    assert_refused(saved, "model.decoder.embed_tokens.weight", "missing")


@pytest.mark.parametrize(
    "name",
    [
        "model.decoder.layers.3.layer_scalar",
        "model.decoder.layers.2.self_attn.v_proj.weight",
        "model.decoder.layers.0.self_attn.q_proj.bias",
        "model.decoder.layers.0.encoder_layer_scalar",
        "model.encoder.language_model.self_conditioning.pre_norm.weight",
        "model.embed_tokens.weight",
    ],
)
def test_unexpected_tensor_is_named(saved: Path, name: str) -> None:
    change_weights(saved, lambda tensors: tensors.update({name: torch.ones(1)}))
    assert_refused(saved, name, "unexpected")


def test_wrong_shape_is_named(saved: Path) -> None:
    name = "model.decoder.layers.0.mlp.up_proj.weight"
    change_weights(saved, lambda tensors: tensors.update({name: torch.ones(24, 31)}))
    assert_refused(saved, name, "[24, 31]", "[24, 32]")


def test_quantised_tensor_is_named(saved: Path) -> None:
    name = "model.decoder.layers.0.mlp.up_proj.weight"
    change_weights(saved, lambda tensors: tensors.update({name: torch.ones(24, 32).to(torch.float8_e4m3fn)}))
    assert_refused(saved, name, "F8_E4M3")


@pytest.mark.parametrize("name", ["lm_head.weight", "model.encoder.language_model.embed_tokens.weight"])
def test_untied_weights_are_refused(saved: Path, name: str) -> None:
    change_weights(saved, lambda t: t.update({name: t["model.decoder.embed_tokens.weight"] + 1}))
    assert_refused(saved, "tied")


@pytest.mark.parametrize("kept", [0, 4, 100, 5_000, -1])
def test_truncated_weights(saved: Path, kept: int) -> None:
    content = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(content[:kept])
    assert_refused(saved, "model.safetensors", "not a whole safetensors file")


def test_truncated_shard_is_named(saved: Path) -> None:
    shard(saved)
    broken = saved / "model-00002-of-00002.safetensors"
    broken.write_bytes(broken.read_bytes()[:-1])
    assert_refused(saved, broken.name, "not a whole safetensors file")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickled_weights_are_refused_unread(saved: Path, name: str) -> None:
    (saved / "model.safetensors").rename(saved / name)
    assert_refused(saved, name, "pickle", "safetensors")


def test_missing_shard_is_named(saved: Path) -> None:
    shard(saved)
    (saved / "model-00001-of-00002.safetensors").unlink()
    assert_refused(saved, "model-00001-of-00002.safetensors", "missing")


@pytest.mark.parametrize("name", ["pytorch_model-00001-of-00002.bin", "../model.safetensors", "/etc/passwd", 5])
def test_index_points_only_at_safetensors_beside_it(saved: Path, name: Any) -> None:
    weight_map = {**shard(saved), "model.decoder.norm.weight": name}
    (saved / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert_refused(saved, "index.json", "safetensors file beside it")


@pytest.mark.parametrize("content", ["{}", '{"weight_map": []}', '{"weight_map": {}}'])
def test_index_without_weight_map(saved: Path, content: str) -> None:
    shard(saved)
    (saved / "model.safetensors.index.json").write_text(content)
    assert_refused(saved, "index.json", "weight_map")


def test_index_and_shards_must_agree(saved: Path) -> None:
    weight_map = shard(saved)
    index = saved / "model.safetensors.index.json"
    listed = {name: file for name, file in weight_map.items() if name != "model.decoder.norm.weight"}
    index.write_text(json.dumps({"weight_map": listed}))
    assert_refused(saved, "model.decoder.norm.weight", "unexpected")
    index.write_text(json.dumps({"weight_map": {**weight_map, "model.decoder.extra": weight_map[next(iter(listed))]}}))
    assert_refused(saved, "model.decoder.extra", "missing")
