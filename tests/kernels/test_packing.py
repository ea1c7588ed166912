"""Packed weights: how far they are from the weights they stand for, and that nothing depends on how they were cut."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midspan.engine.errors import EngineError
from midspan.engine.kernels.packing import GROUP, Kind, adopt_fp8, pack, unpack
from torch import Tensor

QUANTISED: list[Kind] = ["fp8", "int8", "int4"]
BITS = {"bf16": 16, "fp8": 8, "int8": 8, "int4": 4.5}


def largest_error(weight: Tensor, kind: Kind) -> Tensor:
    """Half a step of each weight's own scale, [..., N, K]: what rounding to the nearest level can cost."""
    if kind == "int4":
        # Half a step; but level 8 is missing, so a weight nearly as large as the largest and of the other sign is
        # clipped to 7. The scale is a bfloat16, off by 2^-8 at most.
        groups = weight.unflatten(-1, (-1, GROUP))
        eighth = groups.abs().amax(-1, keepdim=True) / 8
        half_step = eighth * (1 + 2**-8) / 2
        clipped = groups.abs() - 7 * eighth * (1 - 2**-8)
        return torch.maximum(half_step, clipped).flatten(-2)
    largest = weight.abs().amax(-1, keepdim=True)
    if kind == "int8":
        return (largest / 127 / 2 * 1.001).expand_as(weight)
    subnormal = largest / 448 * 2**-10
    return torch.maximum(weight.abs() * 2**-4, subnormal)  # 3 mantissa bits


@pytest.mark.parametrize("kind", QUANTISED)
@given(seed=st.integers(0, 999), n=st.integers(1, 5), blocks=st.integers(1, 3), spread=st.floats(1e-6, 1e6))
@settings(max_examples=30, deadline=None)
def test_every_weight_is_rounded_to_a_neighbouring_level(
    kind: Kind, seed: int, n: int, blocks: int, spread: float
) -> None:
    weight = torch.randn(2, n, blocks * 2 * GROUP, generator=torch.Generator().manual_seed(seed)) * spread
    error = (unpack(pack(weight, kind), torch.float32) - weight).abs()
    assert (error <= largest_error(weight, kind) * 1.0001).all()


@pytest.mark.parametrize("kind", [*QUANTISED, "bf16"])
def test_what_was_packed_packs_to_itself(kind: Kind) -> None:
    once = unpack(pack(torch.randn(3, 8, 64), kind), torch.float32)
    torch.testing.assert_close(unpack(pack(once, kind), torch.float32), once, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", [*QUANTISED, "bf16"])
@pytest.mark.parametrize("shape", [(4, 64), (3, 4, 64), (2, 3, 4, 64), (9000, 64)])
def test_shapes_and_bytes(kind: Kind, shape: tuple[int, ...]) -> None:
    packed = pack(torch.randn(shape), kind)
    assert packed.shape == shape and unpack(packed, torch.float16).shape == shape
    per_channel = 4 * (shape[-2] if kind in {"fp8", "int8"} else 0) * packed.data[..., 0, 0].numel()
    assert packed.nbytes == torch.Size(shape).numel() * BITS[kind] / 8 + per_channel
    moved = packed.to("cpu")
    assert torch.equal(unpack(moved, torch.float32), unpack(packed, torch.float32))


@pytest.mark.parametrize("kind", [*QUANTISED, "bf16"])
def test_an_expert_is_what_it_would_be_alone(kind: Kind) -> None:
    weight = torch.randn(3, 4, 64)
    packed = pack(weight, kind)
    for i in range(3):
        assert torch.equal(unpack(packed[i], torch.float32), unpack(pack(weight[i], kind), torch.float32))


@pytest.mark.parametrize("kind", QUANTISED)
def test_a_row_of_zeros_stays_zero(kind: Kind) -> None:
    weight = torch.randn(2, 2 * GROUP)
    weight[1] = 0
    assert (unpack(pack(weight, kind), torch.float32)[1] == 0).all()


def test_one_group_at_all_its_levels() -> None:
    """The sixteen levels of a group come back exactly: nibbles, planes and signs are where the layout says."""
    levels = torch.arange(-8, 8).repeat(4)
    weight = torch.stack((levels, -levels)).float() / 4
    packed = pack(weight, "int4")
    assert torch.equal(unpack(packed, torch.float32), weight)
    words = packed.data[0].view(torch.int16).int()
    assert words.shape == (16,) and [words[3] >> 4 * i & 15 for i in range(4)] == [3] * 4


def test_the_order_of_bytes_is_as_documented() -> None:
    eight = torch.arange(1.0, 33.0)[None] * 127 / 32
    order = pack(eight, "int8").data[0].argsort().argsort()
    assert order[::2].tolist() == list(range(16)) and order[1::2].tolist() == list(range(16, 32))
    four = torch.zeros(1, 64)
    for at, (byte, bits) in {0: (0, 15), 16: (0, 240), 32: (1, 15), 48: (1, 240), 5: (10, 15), 63: (31, 240)}.items():
        four.zero_()[0, at] = -1.0
        changed = pack(four, "int4").data[0] != 0x88
        assert changed.nonzero().tolist() == [[byte]] and pack(four, "int4").data[0, byte] & bits == 0


def test_a_published_fp8_weight_is_taken_bit_for_bit() -> None:
    data, scale = torch.randn(3, 4, 64).to(torch.float8_e4m3fn), torch.rand(3, 4, 1)
    back = unpack(adopt_fp8(data, scale), torch.float32)
    assert torch.equal(back, data.float() * scale)


def test_outliers_stay_in_their_group() -> None:
    weight = torch.full((1, 2 * GROUP), 0.01)
    weight[0, 0] = 100.0
    back = unpack(pack(weight, "int4"), torch.float32)
    torch.testing.assert_close(back[0, GROUP:], weight[0, GROUP:], rtol=2**-8, atol=0)


def test_what_cannot_be_packed_is_said() -> None:
    with pytest.raises(EngineError, match="multiple of 64 inputs, not 96"):
        pack(torch.randn(4, 96), "int4")
    with pytest.raises(EngineError, match="'int3'"):
        pack(torch.randn(4, 32), cast(Kind, "int3"))
