"""Which sizes of gap midspan-mini should denoise: one that contracts, or several as one batch, and which.

    python tests/quality/lengths.py [--gaps 300] [--model DIRECTORY] [--seconds N]

On gaps of the `tune` packages (the gate's, but cut with another seed; neither training nor `held_out.py` sees these),
rest-of-line and whole-line in equal parts. Every way is measured by the canvas alone and by the whole engine, drafts
and gate included: exact match, steps, milliseconds of CPU time. Writes `lengths.csv`, and after every fill a line of a
journal: interrupted, or stopped by --seconds, it goes on from there (after a change of code: --fresh).

What comes out is decided in one place, `engine/filling/method.py`, `usual`. The gate ships fitted to one way
(`fit_gate`), so beside `exact` by that gate there is `exact_own`: by a gate fitted to the way itself, on the half of
the gaps that is not being judged.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import sheet
from journal import Journal
from midspan.engine import Engine, InfillRequest
from midspan.engine.filling.method import Method
from midspan.engine.filling.signs import features
from midspan.engine.training.cases import Case, cases
from midspan.engine.training.corpus import cache_directory
from midspan.engine.training.fit_gate import fit
from rich.console import Console
from rich.progress import track

CSV = Path(__file__).with_name("lengths.csv")
FIELDS: tuple[str, ...] = (
    "fill", "length", "sizes", "gaps", "exact", "exact_own", "exact_rest", "exact_line", "similarity", "exact_at_25",
    "steps", "cpu_ms_p50", "cpu_ms_p95", "cpu_ms",
)  # fmt: skip
KINDS = ("rest", "line")
SEED = 47
MAX_TOKENS = 32
SIZES = ((16,), (4, 16), (16, 32), (2, 8, 32), (4, 8, 16), (8, 16, 32), (4, 8, 16, 32))


@dataclass(frozen=True)
class Way:
    fill: str
    method: Method

    @property
    def key(self) -> tuple[str, str, str]:
        return self.fill, self.method.length, " ".join(map(str, self.method.sizes))


def ways_of(usual: Method) -> list[Way]:
    lengths = [replace(usual, length="contract", sizes=())]
    lengths += [replace(usual, length="batch", sizes=sizes) for sizes in SIZES]
    fills = (("canvas", False), ("engine", True))
    return [Way(name, replace(method, drafts=drafts)) for name, drafts in fills for method in lengths]


def measured(engine: Engine, case: Case, way: Way, number: int) -> dict[str, Any]:
    """The prefix is encoded already, as while someone types. features, right: what the gate sees of each candidate, and
    whether it is right."""
    began = time.process_time()
    infill = engine.infill(
        InfillRequest(case.prefix, case.suffix, max_tokens=MAX_TOKENS, document=str(number), method=way.method)
    )
    spent = time.process_time() - began
    text, truth = infill.text.strip(), case.truth.strip()
    judged = [one for one in infill.candidates if one.signs]
    return {
        "features": [[round(x, 4) for x in row] for row in features([one.signs for one in judged if one.signs])],
        "right": [one.text.strip() == truth for one in judged],
        "exact": float(text == truth),
        "similarity": SequenceMatcher(None, text, truth, autojunk=False).ratio(),
        "confidence": infill.confidence,
        "steps": infill.steps,
        "ms": 1000 * spent,
    }


def own_gate(found: Sequence[dict[str, Any]]) -> float | str:
    """Percent exact where each half of the gaps is judged by a gate fitted to the other half."""
    if len(found) < 8 or not all(row["features"] for row in found):
        return ""
    right = 0
    for side in (0, 1):
        scorer = fit([(row["features"], row["right"]) for row in found[side::2]])
        for row in found[1 - side :: 2]:
            right += row["right"][int(scorer.shares(np.array(row["features"])).argmax())]
    return round(100 * right / len(found), 1)


def row_of(way: Way, kinds: Sequence[str], found: Sequence[dict[str, Any]]) -> dict[str, object]:
    def percent(rows: Sequence[dict[str, Any]]) -> float:
        return round(100 * mean(row["exact"] for row in rows), 1) if rows else 0.0

    by_kind = {kind: [row for of, row in zip(kinds, found, strict=True) if of == kind] for kind in KINDS}
    times = sorted(row["ms"] for row in found)
    surest = sorted(found, key=lambda row: -row["confidence"])[: max(1, len(found) // 4)]
    return {
        **dict(zip(FIELDS[:3], way.key, strict=True)),
        "gaps": len(found),
        "exact": percent(found),
        "exact_own": own_gate(found) if way.method.drafts else "",
        **{f"exact_{kind}": percent(by_kind[kind]) for kind in KINDS},
        "similarity": round(100 * mean(row["similarity"] for row in found), 1),
        "exact_at_25": percent(surest),
        "steps": round(mean(row["steps"] for row in found), 2),
        "cpu_ms_p50": round(times[len(times) // 2]),
        "cpu_ms_p95": round(times[min(len(times) - 1, len(times) * 95 // 100)]),
        "cpu_ms": round(mean(times)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--gaps", type=int, default=300)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop behind the gap that is being filled")
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before")
    parser.add_argument("--no-write", action="store_true")
    args = parser.parse_args()
    console, until = Console(), time.monotonic() + args.seconds
    if not (cache_directory() / "corpus" / "tune.python.txt").exists():
        console.print("the tune packages are not here; `make corpus` fetches them")
        return 1
    engine, journal = Engine.load(args.model, threads=1), Journal.of("lengths", args.model, args.fresh)
    ways = ways_of(engine.method)
    by_kind = [[(kind, case) for case in cases("tune", kind, args.gaps // 2, seed=SEED)] for kind in KINDS]
    gaps = [gap for pair in zip(*by_kind, strict=True) for gap in pair]  # in turns: half a run is a fair one
    kinds: list[str] = []
    found: list[list[dict[str, Any]]] = [[] for _ in ways]
    for number, (kind, case) in enumerate(track(gaps, description=f"{len(ways)} ways", console=console)):
        if any(journal.get(number, *way.key) is None for way in ways):
            if time.monotonic() > until:
                break
            measured(engine, case, ways[0], number)  # encodes the prefix
            for way in ways:
                if journal.get(number, *way.key) is None:
                    journal.put(measured(engine, case, way, number), number, *way.key)
        kinds.append(kind)
        for way, rows in zip(ways, found, strict=True):
            rows.append(journal.get(number, *way.key))
    if not kinds:
        return 1
    rows = [row_of(way, kinds, rows) for way, rows in zip(ways, found, strict=True)]
    sheet.show(rows, FIELDS, console)
    if not args.no_write:
        sheet.write(CSV, rows, FIELDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
