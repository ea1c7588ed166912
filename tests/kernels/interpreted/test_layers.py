"""Router, norms and attention of one layer, against the plain-torch forms."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from midspan.engine.kernels import norms, norms_triton
from midspan.engine.kernels.attention import rectangle_torch
from midspan.engine.kernels.attention_triton import rectangle_triton
from midspan.engine.kernels.routing import route_torch
from midspan.engine.kernels.routing_triton import route_triton
from midspan.engine.kernels.target import Target, pretend
from torch import Tensor

EPS = 1e-6


def drawn(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape).to(dtype)


def scale(width: int, dtype: torch.dtype) -> Tensor:
    return (torch.rand(width) + 0.5).to(dtype)


def test_router(dtype: torch.dtype, close: Callable) -> None:
    """Experts 3 and 5 are twins, so their scores tie in every row: the lower index comes first, always."""
    residual, proj = drawn(19, 96, dtype=dtype) * 3, drawn(24, 96, dtype=dtype) * 0.1
    proj[5] = proj[3]
    arguments = (residual, proj, scale(96, dtype), scale(24, dtype), 4, EPS)
    (weights, experts), (expected_weights, expected_experts) = route_triton(*arguments), route_torch(*arguments)
    assert torch.equal(experts, expected_experts.int())
    close(weights, expected_weights)
    both = (experts == 3).any(1) & (experts == 5).any(1)
    assert both.any()
    for row in experts[both].tolist():
        assert row.index(3) + 1 == row.index(5)


def test_router_of_rows_without_numbers() -> None:
    """NaN in, some experts out: indices in range and distinct, or a product would read beyond the weights."""
    residual = torch.full((2, 32), torch.nan)
    _, experts = route_triton(residual, torch.randn(5, 32), torch.ones(32), torch.ones(5), 2, EPS)
    assert all(len(set(row)) == 2 and set(row) <= set(range(5)) for row in experts.tolist())


def test_chains_of_norms(dtype: torch.dtype, close: Callable) -> None:
    x, y, routed = drawn(3, 96, dtype=dtype), drawn(3, 96, dtype=dtype), drawn(9, 96, dtype=dtype)
    w = [scale(96, dtype) for _ in range(4)]
    close(norms_triton.rms_norm_triton(x, w[0], EPS), norms.rms_norm_torch(x, w[0], EPS))
    close(norms_triton.rms_norm_triton(x, None, EPS, y), norms.rms_norm_torch(x + y, None, EPS))
    for actual, expected in zip(
        norms_triton.after_attention_triton(x, y, *w[:3], EPS),
        norms.after_attention_torch(x, y, *w[:3], EPS),
        strict=True,
    ):
        close(actual, expected)
    arguments = (x, y, routed, (w[0], w[1], w[2]), scale(1, dtype), w[3], EPS)
    for actual, expected in zip(
        norms_triton.after_feedforward_triton(*arguments), norms.after_feedforward_torch(*arguments), strict=True
    ):
        close(actual, expected)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rotated", [False, True])
def test_heads(weighted: bool, rotated: bool, dtype: torch.dtype, close: Callable) -> None:
    x = drawn(2, 3, 2, 12, dtype=dtype)
    rope = (drawn(3, 12, dtype=dtype), drawn(3, 12, dtype=dtype)) if rotated else None
    weight = scale(12, dtype) if weighted else None
    close(norms_triton.heads_triton(x, weight, rope, EPS), norms.heads_torch(x, weight, rope, EPS))


@pytest.mark.parametrize(
    ("lengths", "heads", "kv", "length", "dim", "span"),
    [
        ([8], 4, 2, 8, 16, (3, 37)),  # the window's end of a longer prefix
        ([5, 3], 2, 1, 5, 12, (0, 20)),  # two canvases behind one prefix, one padded; a head size no tile divides
        ([9], 2, 1, 9, 64, (0, 0)),  # nothing before the canvas; parts without keys
        ([66], 1, 1, 70, 16, (39, 40)),  # more rows than a tile, one key before
    ],
)
def test_attention_over_two_segments(
    lengths: list[int], heads: int, kv: int, length: int, dim: int, span: tuple[int, int],
    dtype: torch.dtype, close: Callable,
) -> None:  # fmt: skip
    """Keys outside the span are NaN, and so is padding: what is looked at shows."""
    batch = len(lengths)
    q = drawn(batch, heads, length, dim, dtype=dtype) * 0.5
    k, v = drawn(batch, kv, length, dim, dtype=dtype), drawn(batch, kv, length, dim, dtype=dtype)
    buffer = torch.full((2, 1, kv, 48, dim), torch.nan, dtype=dtype)
    buffer[:, :, :, span[0] : span[1]] = drawn(2, 1, kv, span[1] - span[0], dim, dtype=dtype)
    past_k, past_v = buffer[0, :, :, :40], buffer[1, :, :, :40]
    arguments = (q, past_k, past_v, k, v, torch.tensor(span, dtype=torch.int32), torch.tensor(lengths).int())
    expected = rectangle_torch(*arguments)
    for each, used in enumerate(lengths):
        k[each, :, used:] = v[each, :, used:] = torch.nan
    with pretend(Target("cuda", 90, "four", 4)):
        close(rectangle_triton(*arguments), expected)
