"""Time, ceilings and poison for `gpu.py`, on a GPU or, to rehearse, on a CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

Call = Callable[[], object]


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def once(call: Call) -> float:
    """Milliseconds of one call, by events on the device where there is one."""
    if not torch.cuda.is_available():
        began = time.perf_counter()
        call()
        return (time.perf_counter() - began) * 1e3
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def race(
    arms: Mapping[str, Call],
    reps: int,
    warm_up: int,
    each: int = 1,
    notes: dict[str, str] | None = None,
    seconds: float = 60.0,
) -> dict[str, dict[str, float]]:
    """Median, p10 and p90 milliseconds of every arm, taken in turns so that a drift of the clock hits all alike.

    each: how many of the unit in question a call does; times are per unit. notes: where there are some, an arm that
    fails is noted there and left out. seconds: no round begins later; at least one is run.
    """
    ready: dict[str, Call] = {}
    for name, call in arms.items():
        try:
            for _ in range(warm_up):
                call()
            wait()
        except Exception as error:
            if notes is None:
                raise
            notes[name] = f"failed: {type(error).__name__}: {str(error)[:200]}"
            continue
        ready[name] = call
    times: dict[str, list[float]] = {name: [] for name in ready}
    until = time.monotonic() + seconds
    for _ in range(reps):
        for name, call in ready.items():
            times[name].append(once(call) / each)
        if time.monotonic() > until:
            break
    return {name: summary(values) for name, values in times.items()}


def summary(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 4)

    return {"median_ms": at(0.5), "p10_ms": at(0.1), "p90_ms": at(0.9), "n": len(ordered)}


def captured(call: Call, notes: dict[str, str], name: str) -> Call:
    """The call as one CUDA graph; as it is, with a note, where that cannot be."""
    if not torch.cuda.is_available():
        return call
    try:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                call()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
    except Exception as error:
        wait()
        notes[name] = f"not captured: {str(error).splitlines()[0][:120]}"
        return call
    return graph.replay


def read(words: torch.Tensor, sums: torch.Tensor) -> None:
    """Every word once, by programs that each take a contiguous share; torch's own reductions are a little slower."""
    from standin import read_kernel  # noqa: PLC0415

    block = 2048 if words.is_cuda else 64
    per_program = len(words) // len(sums)
    assert per_program % block == 0 or words.is_cuda
    read_kernel[(len(sums),)](words, sums, len(words), per_program // block * block + block, BLOCK=block, num_warps=8)


def ceilings(device: torch.device, rehearse: bool) -> dict[str, float]:
    """What this device does at most, in this call: copied bytes (read and written), read bytes, bf16 products."""
    n = 2**14 if rehearse else 2**33
    side = 64 if rehearse else 8192
    source = torch.empty(n, dtype=torch.uint8, device=device).random_()
    target = torch.empty_like(source)
    words = source.view(torch.int64)
    a, b = (torch.randn(side, side, device=device).to(torch.bfloat16) for _ in range(2))
    sums = torch.empty(16 if rehearse else 16 * 132, dtype=torch.int32, device=device)
    arms: dict[str, Call] = {
        "copy": lambda: target.copy_(source),
        "read by torch": words.max,
        "read": lambda: read(source.view(torch.int32), sums),
        "matmul": lambda: a @ b,
    }
    notes: dict[str, str] = {}
    found = race(arms, *((2, 1) if rehearse else (10, 3)), notes=notes)
    per_second = {name: 1e3 / values["median_ms"] for name, values in found.items()}
    per_second["read"] = max(per_second[name] for name in ("read", "read by torch") if name in per_second)
    return {
        "copy_TB_per_s": round(2 * n * per_second["copy"] / 1e12, 3),
        "read_TB_per_s": round(n * per_second["read"] / 1e12, 3),
        "matmul_TFLOP_per_s": round(2 * side**3 * per_second["matmul"] / 1e12, 1),
    }


@contextmanager
def poisoned() -> Iterator[None]:
    """Memory that nobody wrote is NaN, or the largest integer: what a kernel leaves out, shows."""
    empty, empty_like = torch.empty, torch.empty_like

    def poison(made: torch.Tensor) -> torch.Tensor:
        if made.device.type == "meta" or made.dtype in (torch.bool, torch.float8_e4m3fn):
            return made
        return made.fill_(torch.nan if made.dtype.is_floating_point else torch.iinfo(made.dtype).max)

    patched: Any = torch
    patched.empty = lambda *args, **kwargs: poison(empty(*args, **kwargs))
    patched.empty_like = lambda *args, **kwargs: poison(empty_like(*args, **kwargs))
    try:
        yield
    finally:
        patched.empty, patched.empty_like = empty, empty_like


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """||actual - expected|| / ||expected||; NaN where anything is NaN."""
    difference = (actual.float() - expected.float()).norm() / expected.float().norm()
    return float(difference)
