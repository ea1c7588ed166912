"""Packed weights in place compute what the weights they stand for would."""

from __future__ import annotations

import pytest
import torch
from midspan.engine import weights
from midspan.engine.kernels.packing import Kind, pack, unpack
from midspan.engine.weights import Embedding, PackedEmbedding, PackedLinear, Slot

KINDS: list[Kind] = ["fp8", "int8", "int4"]


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.randn(50, 64, generator=torch.Generator().manual_seed(0))


def plain(kind: Kind, weight: torch.Tensor) -> Embedding:
    embedding = Embedding(*weight.shape).requires_grad_(False)
    embedding.weight.copy_(unpack(pack(weight, kind), torch.float32))
    return embedding


@pytest.mark.parametrize("rows", [7, 50, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_an_embedding_in_its_three_uses(
    monkeypatch: pytest.MonkeyPatch, weight: torch.Tensor, kind: Kind, rows: int
) -> None:
    monkeypatch.setattr(weights, "ROWS", rows)
    packed, reference = PackedEmbedding(pack(weight, kind), torch.float32), plain(kind, weight)
    ids = torch.tensor([[3, 49, 0], [3, 7, 21]])
    assert torch.equal(packed(ids), reference(ids))
    hidden = torch.randn(2, 3, 64)
    torch.testing.assert_close(packed.head(hidden), reference.head(hidden))
    probs = torch.softmax(3 * torch.randn(2, 3, 50), -1)
    torch.testing.assert_close(packed.expected(probs), reference.expected(probs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_a_linear_module(weight: torch.Tensor, kind: Kind, dtype: torch.dtype) -> None:
    packed, x = pack(weight, kind), torch.randn(5, 64, dtype=dtype)
    assert torch.equal(PackedLinear(packed)(x), torch.nn.functional.linear(x, unpack(packed, dtype)))


@pytest.mark.parametrize("kind", ["bf16", *KINDS])
def test_experts_put_in_any_order_and_by_halves_are_those_packed_at_once(kind: Kind) -> None:
    whole = torch.randn(3, 20, 64, generator=torch.Generator().manual_seed(0))
    slot = Slot((3, 20, 64), kind, torch.float32)
    for expert in (2, 0, 1):
        for start in (10, 0):
            slot.put(whole[expert, start : start + 10], expert, start)
    if kind == "bf16":
        assert isinstance(slot.value, torch.Tensor) and torch.equal(slot.value, whole)
        return
    expected = pack(whole, kind)
    assert not isinstance(slot.value, torch.Tensor) and slot.value is not None
    assert slot.value.shape == expected.shape and slot.value.nbytes == expected.nbytes
    assert torch.equal(unpack(slot.value, torch.float32), unpack(expected, torch.float32))
