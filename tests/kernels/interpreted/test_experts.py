"""Experts and their alignment, against the plain-torch forms: every routing that can go wrong, every kind of weight."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midspan.engine.kernels import linear as linear_module
from midspan.engine.kernels.alignment import align_torch
from midspan.engine.kernels.alignment_triton import align_triton
from midspan.engine.kernels.experts import experts_torch
from midspan.engine.kernels.experts_triton import experts_triton
from midspan.engine.kernels.linear import linear_torch
from midspan.engine.kernels.linear_triton import gated_triton, linear_triton
from midspan.engine.kernels.packing import Kind, Packed, pack, unpack
from midspan.engine.weights import PackedLinear
from torch import Tensor
from torch.nn.functional import gelu

N_EXPERTS, HIDDEN, WIDTH = 4, 128, 64


def routing(name: str) -> Tensor:
    """Expert choices [N, 2]."""
    torch.manual_seed(1)
    if name == "one row":
        return torch.tensor([[3, 1]])
    if name == "all on two experts, two empty":
        return torch.tensor([[2, 0]]).expand(37, 2)
    return torch.stack([torch.randperm(N_EXPERTS)[:2] for _ in range(19)])


def weights_of(kind: Kind | None, *shape: int, dtype: torch.dtype) -> tuple[Tensor | Packed, Tensor]:
    """A weight as the kernel gets it, and what it stands for in float32."""
    weight = torch.randn(shape) * shape[-1] ** -0.5
    if kind is None:
        return weight.to(dtype), weight.to(dtype).float()
    packed = pack(weight, kind)
    return packed, unpack(packed, torch.float32)


@pytest.mark.parametrize("kind", [None, "fp8", "int8", "int4"])
@pytest.mark.parametrize("rows", ["ragged"])
def test_every_kind_of_weight(kind: Kind | None, rows: str, dtype: torch.dtype, close: Callable) -> None:
    check_experts(kind, rows, dtype, close)


@pytest.mark.parametrize("rows", ["one row", "all on two experts, two empty"])
def test_every_routing(rows: str, dtype: torch.dtype, close: Callable) -> None:
    check_experts("int4" if dtype == torch.float32 else None, rows, dtype, close)


def check_experts(kind: Kind | None, rows: str, dtype: torch.dtype, close: Callable) -> None:
    chosen = routing(rows)
    x, weights = torch.randn(len(chosen), HIDDEN).to(dtype), torch.rand(chosen.shape)
    gate_up, whole_gate_up = weights_of(kind, N_EXPERTS, 2 * WIDTH, HIDDEN, dtype=dtype)
    down, whole_down = weights_of(kind, N_EXPERTS, HIDDEN, WIDTH, dtype=dtype)
    expected = experts_torch(x.float(), weights, chosen, whole_gate_up, whole_down)
    close(experts_triton(x, weights, chosen.int(), gate_up, down), expected)


def test_widths_that_no_tile_divides(dtype: torch.dtype, close: Callable) -> None:
    chosen = routing("ragged")[:5]
    x, weights = torch.randn(5, 90).to(dtype), torch.rand(5, 2)
    gate_up, down = torch.randn(N_EXPERTS, 2 * 70, 90) * 0.1, torch.randn(N_EXPERTS, 90, 70) * 0.1
    expected = experts_torch(x.float(), weights, chosen, gate_up.to(dtype).float(), down.to(dtype).float())
    close(experts_triton(x, weights, chosen.int(), gate_up.to(dtype), down.to(dtype)), expected)


@pytest.mark.parametrize("kind", ["fp8", "int8", "int4"])
def test_linear_layers_and_ragged_tails(kind: Kind, dtype: torch.dtype, close: Callable) -> None:
    """192 inputs: one and a half tiles deep. 70 outputs: a tile and six rows."""
    x = torch.randn(3, 192).to(dtype)
    packed = pack(torch.randn(70, 192), kind)
    close(linear_triton(x, packed), linear_torch(x.float(), packed))


def test_a_packed_module_is_multiplied_as_it_is(dtype: torch.dtype, close: Callable) -> None:
    """Whatever the layout of its input, and never unpacked."""
    weight, x = torch.randn(48, 64), torch.randn(3, 64, 5).to(dtype).transpose(1, 2)
    packed = pack(weight, "int8")
    expected = linear_torch(x, packed)
    module = PackedLinear(packed)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(linear_module, "unpack", lambda *_: pytest.fail("unpacked"))
        close(module(x), expected)


def test_gate(dtype: torch.dtype, close: Callable) -> None:
    gate, up = (torch.randn(5, 301).to(dtype) * 3 for _ in range(2))
    close(gated_triton(gate, up), gelu(gate.float(), approximate="tanh") * up.float())


@given(data=st.data(), n=st.integers(1, 70), n_experts=st.integers(2, 9), block=st.sampled_from([16, 32]))
@settings(max_examples=12, deadline=None)
def test_alignment_is_the_stable_sort_cut_into_blocks(data: st.DataObject, n: int, n_experts: int, block: int) -> None:
    expert = st.integers(0, n_experts - 1)
    chosen = torch.tensor(data.draw(st.lists(expert, min_size=n, max_size=n)), dtype=torch.int32)[:, None]
    actual, expected = align_triton(chosen, n_experts, block), align_torch(chosen, n_experts, block)
    assert torch.equal(actual.order, expected.order) and torch.equal(actual.blocks, expected.blocks)
    # And the reference is what it says: every assignment is in exactly one block, of its own expert.
    seen = []
    for expert_no, first, end in expected.blocks.tolist():
        if expert_no >= 0:
            rows = expected.order[first:end].tolist()
            assert 0 < len(rows) <= block and all(chosen[row, 0] == expert_no for row in rows)
            seen += rows
    assert sorted(seen) == list(range(n))
