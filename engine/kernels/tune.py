"""Searches tile sizes on the GPU at hand, for the products that read nearly all of a step's bytes.

`python -m midspan.engine.kernels.tune --seconds 300` writes `tuned/<device>.json`, which `launch.choose` prefers to the
heuristics from then on. The search starts from the heuristic and changes one number at a time, keeping what is faster,
one kernel and kind of weights after the other; each compiles for a second or two, so a minute tries some thirty.
Weights rotate, so that none comes from the cache. Not yet run on a device.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .alignment_triton import align_triton
from .experts_triton import block_rows, expert_rows, heuristic
from .launch import TUNED, Launch, force, key, slug, tuned
from .packing import Kind, pack
from .target import target_of

ROTATION = 3  # layers' worth of weights: together several times any cache
KINDS: tuple[Kind, ...] = ("bf16", "fp8", "int4")


CHOICES: dict[str, tuple[int, ...]] = {
    "depth": (64, 128, 256),
    "stages": (3, 4, 5, 6, 2),
    "columns": (64, 128),
    "warps": (4, 8),
}  # what is changed, in this order


def neighbours(launch: Launch) -> Iterator[Launch]:
    """One number changed; of the depth also together with the stages, so that as many bytes are on their way."""
    for name, values in CHOICES.items():
        for value in values:
            yield replace(launch, **{name: value})
            if name == "depth":
                yield replace(launch, depth=value, stages=max(2, min(6, launch.depth * launch.stages // value)))


def fastest(
    call: Callable[[int], object],
    start: Launch,
    op: str,
    until: float,
    measure: Callable[[Callable[[int], object]], float] | None = None,
) -> tuple[Launch, float] | None:
    """The launch with the least median milliseconds that is found from `start` on by changing one number at a time,
    round after round until none helps or time is up; None where not even `start` could be launched. Those that do not
    compile or do not fit are passed over."""
    clock, known = measure or _median, dict[Launch, float | None]()

    def took(launch: Launch) -> float | None:
        if launch not in known and (not known or time.monotonic() < until):
            with force(op, launch):
                try:
                    known[launch] = clock(call)
                except (RuntimeError, ValueError):
                    known[launch] = None
                except Exception as error:
                    if not type(error).__module__.startswith("triton"):
                        raise
                    known[launch] = None
        return known.get(launch)

    best, least = start, took(start)
    changed = True
    while changed and time.monotonic() < until:
        changed = False
        for other in neighbours(best):
            now = took(other)
            if now is not None and (least is None or now < least):
                best, least, changed = other, now, True
    return None if least is None else (best, least)


def _median(call: Callable[[int], object], reps: int = 9) -> float:
    times = []
    for i in range(reps + 2):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call(i % ROTATION)
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return sorted(times[2:])[reps // 2]


def tune(network: Any, seconds: float, device: torch.device, rows: int = 256) -> dict[str, Any]:
    """Tunes the experts of `network`, of which at least ROTATION layers are used, at `rows` tokens. Returns and writes
    what it found; the file then also keeps what it held before."""
    config = network.config
    hidden, width = config.hidden_size, config.moe_intermediate_size
    n_experts, top_k = config.num_experts, config.top_k_experts
    target = target_of(device)
    until = time.monotonic() + seconds
    share = seconds / (2 * len(KINDS))
    x = torch.randn(rows, hidden, device=device).to(network.dtype)
    chosen = torch.rand(rows, n_experts, device=device).argsort(-1)[:, :top_k].int().contiguous()
    weights = torch.full((rows, top_k), 1 / top_k, device=device)
    block = block_rows(chosen.numel(), n_experts)
    aligned = align_triton(chosen, n_experts, block)
    found: dict[str, Launch] = {}
    report: dict[str, Any] = {}
    for kind in KINDS:
        layers = [network.layers[i % len(network.layers)].experts for i in range(ROTATION)]
        packs: list[tuple[Any, Any]] = [
            (each.gate_up_proj, each.down_proj)
            if kind == "bf16"
            else (pack(each.gate_up_proj, kind), pack(each.down_proj, kind))
            for each in layers
        ]

        def both(i: int, packs: list[tuple[Any, Any]] = packs) -> object:
            return expert_rows(x, weights, aligned, packs[i][0], packs[i][1], block)

        name = "plain" if kind == "bf16" else kind
        for op, sizes in (("gate_up", (width, hidden)), ("down", (hidden, width))):
            deadline = min(until, time.monotonic() + share)
            before = _median(both)
            best = fastest(both, heuristic(target, block, name), op, deadline)
            if best is not None and best[1] < 0.99 * before:
                found[key(op, name, sizes, block)] = best[0]
            report[f"{op} {kind}"] = {
                "heuristic_ms": before,
                "best_ms": best and best[1],
                "best": best and vars(best[0]),
            }
    path = TUNED / f"{slug(target.name)}.json"
    TUNED.mkdir(exist_ok=True)
    launches = {name: vars(launch) for name, launch in {**tuned(target.name), **found}.items()}
    path.write_text(json.dumps({"device": target.name, "launches": launches}, indent=1, sort_keys=True) + "\n")
    tuned.cache_clear()
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description="Search tile sizes for DiffusionGemma's experts on this GPU.")
    parser.add_argument("--seconds", type=float, default=300)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no GPU here, so nothing was tuned.")
        return 0
    device = torch.device("cuda")
    with torch.inference_mode():
        print(json.dumps(tune(_Layers(device), options.seconds, device), indent=1))
    return 0


class _Layers:
    """ROTATION layers of experts at DiffusionGemma's size with random weights: all that `tune` looks at."""

    def __init__(self, device: torch.device) -> None:
        from types import SimpleNamespace  # noqa: PLC0415

        from .matrix import GEMMA  # noqa: PLC0415

        shape, self.dtype = GEMMA, torch.bfloat16

        def weight(*size: int) -> Tensor:
            return torch.empty(size, dtype=self.dtype, device=device).normal_(0, size[-1] ** -0.5)

        def experts() -> SimpleNamespace:
            gate_up = weight(shape.experts, 2 * shape.width, shape.hidden)
            return SimpleNamespace(gate_up_proj=gate_up, down_proj=weight(shape.experts, shape.hidden, shape.width))

        self.layers = [SimpleNamespace(experts=experts()) for _ in range(ROTATION)]
        self.config = SimpleNamespace(
            hidden_size=shape.hidden,
            moe_intermediate_size=shape.width,
            num_experts=shape.experts,
            top_k_experts=shape.top_k,
        )


if __name__ == "__main__":
    sys.exit(main())
