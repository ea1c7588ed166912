"""Tests of the Triton kernels in Triton's interpreter, on the CPU.

The interpreter has to be asked for before a kernel is imported, so these files are collected only in a process of their
own: `tests/kernels/test_interpreted.py` starts it. float32 and float16 only: a dot of bfloat16 is silently wrong there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
collect_ignore_glob = [] if INTERPRETED else ["test_*.py"]

TOLERANCE = {torch.float32: 5e-6, torch.float16: 2e-3}


@pytest.fixture(params=[torch.float32, torch.float16], ids=["fp32", "fp16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture
def close(dtype: torch.dtype) -> Callable[[Tensor, Tensor], None]:
    """Fails unless the two are the same within rounding: ||a - b|| / ||b||, and nothing is NaN."""

    def check(actual: Tensor, expected: Tensor) -> None:
        assert actual.shape == expected.shape
        error = (actual.float() - expected.float()).norm() / expected.float().norm()
        assert error <= TOLERANCE[dtype], f"off by {error:.1e}"  # false for NaN, too

    return check


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Memory that nobody wrote is NaN, or the largest integer there is: what a kernel leaves out, shows."""
    torch.manual_seed(0)
    empty = torch.empty

    def poisoned(*args: object, **kwargs: object) -> Tensor:
        made = empty(*args, **kwargs)  # type: ignore[call-overload]
        return made.fill_(torch.nan if made.dtype.is_floating_point else torch.iinfo(made.dtype).max)

    monkeypatch.setattr(torch, "empty", poisoned)
    monkeypatch.setattr(torch, "empty_like", lambda x, **kwargs: poisoned(x.shape, dtype=x.dtype))
    with torch.inference_mode():
        yield
