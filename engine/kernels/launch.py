"""How a kernel is launched: tile sizes, warps, pipeline stages.

A configuration measured on this very device (`tuned/<device>.json`, written by `tune.py`) wins over the kernel's own
heuristic. Knows nothing of what a kernel computes. `record` collects launches instead of making them, so that
compiling ahead of time sees exactly what would run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from .target import Target, target_of

TUNED = Path(__file__).parent / "tuned"


@dataclass(frozen=True)
class Launch:
    """rows: of activations per tile; columns: of the weight (or keys) per tile; depth: of the sum, per loop turn."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int


@dataclass(frozen=True)
class Started:
    """A recorded launch. arguments: by parameter name, constexprs among them; options: num_warps, num_stages."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: dict[str, Any]
    options: dict[str, int]


_recorded: ContextVar[list[Started] | None] = ContextVar("recorded", default=None)
_forced: ContextVar[dict[str, Launch] | None] = ContextVar("forced", default=None)


def start(kernel: Any, grid: tuple[int, ...], launch: Launch | None, *args: Any, **constants: Any) -> None:
    """kernel[grid](*args, **constants); launch None: the compiler's own four warps."""
    options = {"num_warps": launch.warps, "num_stages": launch.stages} if launch else {"num_warps": 4, "num_stages": 2}
    recorded = _recorded.get()
    if recorded is None:
        kernel[grid](*args, **constants, **options)
        return
    recorded.append(Started(kernel, grid, {**dict(zip(kernel.arg_names, args, strict=False)), **constants}, options))


@contextmanager
def record() -> Iterator[list[Started]]:
    """Launches within are collected, not made; tensors may be on the meta device."""
    launches: list[Started] = []
    token = _recorded.set(launches)
    try:
        yield launches
    finally:
        _recorded.reset(token)


@contextmanager
def force(op: str, launch: Launch) -> Iterator[None]:
    """`op` is launched with `launch` whatever else is known: for the tuner and for tests."""
    token = _forced.set({**(_forced.get() or {}), op: launch})
    try:
        yield
    finally:
        _forced.reset(token)


def choose(
    op: str, kind: str, sizes: Sequence[int], rows: int, device: torch.device, heuristic: Callable[[Target], Launch]
) -> Launch:
    """The configuration of one launch.

    kind: of weights; sizes: of the weight, fixed per checkpoint; rows: of activations per tile, on average. A tuned
    configuration serves the power of two of rows that it was measured at.
    """
    if forced := (_forced.get() or {}).get(op):
        return forced
    target = target_of(device)
    return tuned(target.name).get(key(op, kind, sizes, rows)) or heuristic(target)


def key(op: str, kind: str, sizes: Sequence[int], rows: int) -> str:
    """For example "gate_up int4 704x2816 rows16"."""
    return f"{op} {kind} {'x'.join(map(str, sizes))} rows{power_of_two(rows)}"


@lru_cache
def tuned(device_name: str, folder: Path = TUNED) -> dict[str, Launch]:
    """Configurations measured on that device; none where nobody measured."""
    path = folder / f"{slug(device_name)}.json"
    if not path.exists():
        return {}
    return {name: Launch(**launch) for name, launch in json.loads(path.read_text())["launches"].items()}


def slug(device_name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", device_name.lower()).strip("-")


def power_of_two(n: int, least: int = 1) -> int:
    """The smallest power of two that is at least n."""
    return max(least, 1 << max(0, n - 1).bit_length())


def blocks(n: int, size: int) -> int:
    """How many tiles of `size` cover n."""
    return -(-n // size)
