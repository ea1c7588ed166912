"""What one keystroke costs against the length of the file: it must not grow.

    python tests/bench/prefix_bench.py [--keys 24] [--no-write]

Types a line, letter by letter, into files of 100 to 50,000 lines made of this repository's own source: once in the
middle of a line that stands in the middle of the file, once at the file's end. Every letter is a request to the bundled
engine, as the server asks. Counted per letter: tokens the encoder was given, CPU milliseconds of making the prompt and
of encoding, of the whole fill, and of what the server does with text before it asks. CPU time, so that a shared machine
does not show; one thread. Writes `results/prefix.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from midspan.engine import Engine, InfillRequest
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).with_name("results") / "prefix.json"
ROOT = Path(__file__).parents[2]
LENGTHS = (100, 1_000, 10_000, 50_000)
TYPED = "    result = compute(values[start : start + self.size])"


@dataclass
class Counting:
    """The network, with a count of the tokens it encodes and of the CPU seconds that takes, per key."""

    network: Any
    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def encode(self, ids: torch.Tensor, cache: Any) -> torch.Tensor:
        start = time.process_time()
        hidden = self.network.encode(ids, cache)
        self.tokens[-1] += ids.shape[1]
        self.seconds[-1] += time.process_time() - start
        return hidden


def source(n_lines: int) -> list[str]:
    """Lines of code; no stretch of them is said twice."""
    lines: list[str] = []
    files = sorted((ROOT / "engine").glob("*.py"))
    for copy in range(1 + n_lines // 1000):
        for path in files:
            text = path.read_text(encoding="utf-8").replace("self", f"self{copy}" if copy else "self")
            lines += text.splitlines(keepends=True)
        if len(lines) >= n_lines:
            break
    return lines[:n_lines]


def typing(engine: Engine, counting: Counting, n_lines: int, place: str, n_keys: int) -> dict[str, object]:
    lines = source(n_lines)
    at = len(lines) // 2 if place == "middle" else len(lines)
    before, after = "".join(lines[:at]), "".join(lines[at:])
    prompt: list[float] = []
    whole: list[float] = []
    text: list[float] = []
    counting.tokens.clear()
    counting.seconds.clear()
    for n_typed in range(4, 4 + n_keys):
        counting.tokens.append(0)
        counting.seconds.append(0.0)
        document = before + TYPED[:n_typed] + ")\n" + after
        start = time.process_time()
        prefix, suffix = document[: len(before) + n_typed], document[len(before) + n_typed :]
        text.append(time.process_time() - start)
        start = time.process_time()
        engine._prompt.frame(prefix, suffix)
        prompt.append(time.process_time() - start)
        start = time.process_time()
        engine.infill(InfillRequest(prefix, suffix, max_tokens=16, document=f"{n_lines} {place}"))
        whole.append(time.process_time() - start)
    typed = slice(1, None)  # the first key finds nothing encoded
    return {
        "lines": n_lines,
        "place": place,
        "keys": n_keys,
        "first_key_tokens": counting.tokens[0],
        "tokens_mean": round(mean(counting.tokens[typed]), 1),
        "tokens_max": max(counting.tokens[typed]),
        "text_ms": round(1000 * median(text[typed]), 2),
        "prompt_ms": round(1000 * median(prompt[typed]), 2),
        "encode_ms": round(1000 * mean(counting.seconds[typed]), 1),
        "fill_ms": round(1000 * median(whole[typed]), 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--keys", type=int, default=24)
    parser.add_argument("--no-write", action="store_true")
    args = parser.parse_args()
    engine = Engine.load(threads=1)
    counting = Counting(engine._network)
    engine._prefixes._network = counting  # type: ignore[assignment]
    rows = [typing(engine, counting, n_lines, place, args.keys) for place in ("middle", "end") for n_lines in LENGTHS]
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)
    if not args.no_write:
        unit = (
            "per keystroke behind the first: tokens given to the encoder; CPU ms of one thread, median, encode_ms mean"
        )
        RESULTS.write_text(json.dumps({"model": engine.name, "unit": unit, "rows": rows}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
