"""A pass of midspan-mini by the compiled layers against the same by torch: `python tests/bench/native_bench.py`.

On one thread, in float32, what is measured taking turns with what it is measured against. Causal passes of a few
tokens, as drafts take them, of a batch, as candidates are ranked, and of a prefix; a canvas; a whole fill. CPU
milliseconds, medians. Writes `results/native.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from midspan.engine import Engine, InfillRequest
from midspan.engine.checkpoints import loading
from midspan.engine.kernels import native
from midspan.engine.kernels.target import torch_only
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).with_name("results") / "native.json"
BEHIND = 400  # tokens of prefix
PASSES = {"a token": (1, 1), "8 tokens": (1, 8), "6 candidates": (6, 20), "a window of tokens": (1, 256)}
CANVAS = 48
SOURCE = "def area(width, height):\n    return width * height\n\n\ndef volume(width, height, depth):\n    return "


def cases(engine: Engine) -> dict[str, Callable[[], object]]:
    network = engine._network
    generator = torch.Generator().manual_seed(0)

    def tokens(batch: int, length: int) -> torch.Tensor:
        return torch.randint(32, network.config.vocab_size, (batch, length), generator=generator)

    cache = network.new_cache()
    network.encode(tokens(1, BEHIND), cache)

    def causal(batch: int, length: int) -> Callable[[], object]:
        own, ids = cache.fork(batch, BEHIND), tokens(batch, length)

        def run() -> object:
            own.truncate(BEHIND)
            return network.logits(network.encode(ids, own)[:, -1:])

        return run

    canvas = tokens(1, CANVAS)
    return {
        **{name: causal(*size) for name, size in PASSES.items()},
        "a canvas": lambda: network.logits(network.denoise(canvas, cache)),
        "a fill": lambda: engine.infill(InfillRequest(SOURCE, "\n", single_line=True)),
    }


def milliseconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return 1000 * (time.process_time() - start)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--no-write", action="store_true")
    args = parser.parse_args()
    console = Console()
    if native.library() is None:
        console.print("nothing was compiled: install midspan anew where there is a C compiler")
        return 2
    loading.best_dtype = lambda device: torch.float32
    engine, rows = Engine.load(threads=1), {}
    with torch.inference_mode():
        for name, run in cases(engine).items():
            compiled, by_torch = [], []
            for _ in range(args.repeats):
                compiled.append(milliseconds(run))
                with torch_only():
                    by_torch.append(milliseconds(run))
            ours, theirs = median(compiled), median(by_torch)
            rows[name] = {"compiled_ms": round(ours, 1), "torch_ms": round(theirs, 1), "share": round(ours / theirs, 2)}
    table = Table("", "compiled, ms", "torch, ms", "share")
    for name, row in rows.items():
        table.add_row(name, *map(str, row.values()))
    console.print(table)
    if not args.no_write:
        RESULTS.write_text(json.dumps({"behind_tokens": BEHIND, "passes": rows}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
