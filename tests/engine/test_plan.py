"""The plan says in how many bits a model fits, in bytes that come true, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from midspan.engine import Engine, EngineError
from midspan.engine.checkpoints import checkpoint, loading, plan
from midspan.engine.config import NetworkConfig
from midspan.engine.kernels.packing import Packed
from midspan.engine.network import Network

GB = 10**9
H200, RTX_5090, RTX_4090, TWENTY, SIXTEEN = 140 * GB, 31.3 * GB, 23.5 * GB, 19.6 * GB, 15.6 * GB


@pytest.fixture(scope="module")
def full(full_config: dict[str, Any]) -> NetworkConfig:
    return NetworkConfig.from_hf(full_config)


def weights(each: plan.Plan) -> float:
    return round(sum(each.weights.values()) / 1e9, 1)


def test_weights_of_the_released_model_by_kind(full: NetworkConfig) -> None:
    assert [weights(each) for each in plan.ladder(full)] == [50.5, 27.7, 25.3, 17.7, 15.3]
    assert weights(plan.plan(full, float_bytes=4)) == 101.0


@pytest.mark.parametrize(
    ("free", "kinds"),
    [
        (H200, ("bf16", "bf16")),
        (RTX_5090, ("fp8", "fp8")),
        (RTX_4090, ("int4", "bf16")),
        (TWENTY, ("int4", "fp8")),
        (None, ("bf16", "bf16")),
    ],
)
def test_the_largest_that_fits_is_taken(full: NetworkConfig, free: float | None, kinds: tuple[str, str]) -> None:
    chosen = plan.choose(plan.ladder(full), None if free is None else int(free))
    assert (chosen.experts, chosen.rest) == kinds


def test_what_does_not_fit_is_one_sentence_with_the_need(full: NetworkConfig) -> None:
    with pytest.raises(EngineError) as caught:
        plan.choose(plan.ladder(full), int(SIXTEEN), "cuda:0")
    message = str(caught.value)
    assert "does not fit" in message and "cuda:0 has 15.6 GB free" in message and "int4" in message
    needed = float(message.split("needs ")[1].split(" GB", maxsplit=1)[0])
    assert plan.choose(plan.ladder(full), int((needed + 0.1) * GB)).experts == "int4"


@given(free=st.integers(0, 200 * GB))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_more_memory_never_means_fewer_bits(full: NetworkConfig, free: int) -> None:
    ladder = plan.ladder(full)
    chosen = [plan.choose(ladder, n) for n in (free, free + GB) if n * plan.USABLE >= ladder[-1].total]
    if len(chosen) == 2:
        assert chosen[0].total <= chosen[1].total
        assert chosen[0].total <= free


def test_a_checkpoint_stored_in_fp8_is_never_widened(full: NetworkConfig) -> None:
    assert plan.choose(plan.ladder(full, stored="fp8"), H200).experts == "fp8"
    assert plan.choose(plan.asked(full, "bf16"), H200).experts == "bf16"


def test_a_device_without_fp8_takes_int8(full: NetworkConfig) -> None:
    kinds = ("bf16", "int8", "int4")
    assert [(each.experts, each.rest) for each in plan.ladder(full, kinds)] == [
        ("bf16", "bf16"),
        ("int8", "bf16"),
        ("int8", "int8"),
        ("int4", "bf16"),
        ("int4", "int8"),
    ]
    with pytest.raises(EngineError, match="fp8"):
        plan.asked(full, "fp8", kinds)


@pytest.mark.parametrize(
    ("quantize", "rests"), [("bf16", ["bf16"]), ("fp8", ["bf16", "fp8"]), ("int8", ["bf16", "int8"])]
)
def test_who_names_a_kind_gets_it(full: NetworkConfig, quantize: str, rests: list[str]) -> None:
    plans = plan.asked(full, quantize)
    assert [each.experts for each in plans] == [quantize] * len(rests)
    assert [each.rest for each in plans] == rests
    with pytest.raises(EngineError, match="does not fit"):
        plan.choose(plans, 20 * GB)


def test_what_is_smaller_has_experts_of_fewer_bits(full: NetworkConfig) -> None:
    plans = plan.ladder(full)
    kinds = [below and below.experts for below in (plan.smaller(each, plans) for each in plans)]
    assert kinds == ["fp8", "int4", "int4", None, None]


def test_a_longer_prefix_costs_what_its_keys_and_values_take(full: NetworkConfig) -> None:
    short, long = (plan.plan(full, prefix_tokens=tokens).prefixes for tokens in (2048, 4096))
    assert long - short == 2048 * (25 * 8192 + 5 * 4096)
    assert plan.plan(full, prefix_bytes=2 * GB).prefixes == 2 * GB


@pytest.mark.parametrize("quantize", ["8bit", "", "nf4"])
def test_an_unknown_kind_is_said(full: NetworkConfig, quantize: str) -> None:
    with pytest.raises(EngineError, match="expected one of bf16, fp8, int8, int4"):
        plan.asked(full, quantize)


def test_a_shape_that_cannot_be_packed_is_said_and_never_planned(tiny_config: Callable) -> None:
    config = NetworkConfig.from_hf(tiny_config("small"))  # 32 wide, experts 12
    assert [each.experts for each in plan.ladder(config)] == ["bf16"]
    with pytest.raises(EngineError, match="32 is no multiple of 64"):
        plan.asked(config, "int4")


def packable(tiny_config: Callable) -> NetworkConfig:
    config = tiny_config("experts")
    config["text_config"] |= {"hidden_size": 64, "intermediate_size": 128, "moe_intermediate_size": 64, "head_dim": 16}
    config["text_config"]["global_head_dim"] = 32
    return NetworkConfig.from_hf(config)


@pytest.mark.parametrize("float_bytes", [2, 4])
@pytest.mark.parametrize(
    ("experts", "rest"), [("bf16", "bf16"), ("fp8", "bf16"), ("int8", "int8"), ("int4", "fp8"), ("int4", "bf16")]
)
def test_the_planned_bytes_are_the_loaded_ones(
    tiny_config: Callable, tmp_path: Path, experts: Any, rest: Any, float_bytes: int
) -> None:
    config = packable(tiny_config)
    network = Network(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    checkpoint.save(network, tmp_path)
    planned = plan.plan(config, experts, rest, float_bytes=float_bytes)
    dtype = torch.bfloat16 if float_bytes == 2 else torch.float32
    loaded, _ = checkpoint.load(tmp_path, dtype=dtype, kept=planned)
    held = sum(parameter.nbytes for parameter in loaded.parameters())
    held += sum(
        each.nbytes for module in loaded.modules() for each in vars(module).values() if isinstance(each, Packed)
    )
    assert held == sum(planned.weights.values())
    assert {planned.kind(name) for name in checkpoint.shapes(config)} == {experts, rest, "bf16"}


def test_a_small_model_is_never_packed_unasked(tiny_config: Callable) -> None:
    """Else what midspan-mini answers would depend on how much memory is free."""
    config = packable(tiny_config)
    assert plan.choose(plan.ladder(config), 0).experts == "bf16"


def test_kinds_are_named_as_people_know_them(full: NetworkConfig) -> None:
    assert str(plan.plan(full)).startswith("all in bf16: 50.5 GB of weights, ")
    assert str(plan.plan(full, float_bytes=4)).startswith("all in float32: 101.0 GB")
    assert str(plan.plan(full, "int4", "fp8")).startswith("experts in int4, the rest in fp8: 15.3 GB")


def test_prefixes_of_several_documents_are_kept_where_there_is_room(
    monkeypatch: pytest.MonkeyPatch, full: NetworkConfig
) -> None:
    looked = loading.look()
    plans = plan.ladder(full, prefix_bytes=256 * 2**20)
    rooms = [
        loading.Outlook(looked.contents, looked.manifest, looked.device, free, plans, plans[0]).prefix_bytes
        for free in (None, int(plans[0].total / plan.USABLE), H200)
    ]
    one = plans[0].longest_prefix
    assert one == 2048 * (25 * 8192 + 5 * 4096)
    assert rooms[0] == one and one <= rooms[1] < 1.1 * one and rooms[2] == loading.DOCUMENTS * one
    assert looked.prefix_bytes == loading.BYTE_BUDGET  # the bundled model's are small


def test_nothing_is_read_to_make_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "Reader", lambda found: pytest.fail("a tensor was about to be read"))
    looked = loading.look()
    assert looked.contents.nbytes > 10**7 and looked.plan.experts == "bf16"
    with pytest.raises(EngineError, match="quantize is 'q4'"):
        Engine.load(quantize="q4")
