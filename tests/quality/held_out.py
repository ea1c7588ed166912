"""Fills of packages the model has never seen, beside what needs no model: `make quality`.

Cuts rest-of-line and whole-line gaps out of the held-out packages of the corpus (`make corpus` fetches them), asks the
engine as the server does, and compares with trivial fills. Writes `held_out.csv` next to this file and prints it. The
engine is never told a gap's length. Exact match and edit similarity are over stripped text; a parse rate alone would
reward saying nothing, so none is given.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable
from difflib import SequenceMatcher
from pathlib import Path
from statistics import mean, median

from midspan.engine import Engine, Infill, InfillRequest
from midspan.engine.drafts import copies
from midspan.engine.training.cases import Case, cases
from midspan.engine.training.corpus import cache_directory
from rich.console import Console
from rich.progress import track
from rich.table import Table

CSV = Path(__file__).with_name("held_out.csv")


def previous_line(case: Case) -> str:
    lines = [line for line in case.prefix.split("\n")[:-1] if line.strip()]
    return lines[-1].strip() if lines else ""


def best_copy(case: Case) -> str:
    found = copies(case.prefix, case.suffix)
    return found[0].text if found else ""


def scores(fills: list[str], truths: list[str]) -> tuple[float, float]:
    """Exact match and edit similarity in percent."""
    pairs = [(fill.strip(), truth.strip()) for fill, truth in zip(fills, truths, strict=True)]
    exact = mean(fill == truth for fill, truth in pairs)
    similar = mean(SequenceMatcher(None, fill, truth, autojunk=False).ratio() for fill, truth in pairs)
    return 100 * exact, 100 * similar


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--split", default="val", choices=("val", "tune"))
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-write", action="store_true")
    args = parser.parse_args()
    console = Console()
    if not (cache_directory() / "corpus" / f"{args.split}.python.txt").exists():
        console.print("the held-out packages are not here; `make corpus` fetches them")
        return 1
    engine = Engine.load(args.model, threads=args.threads)
    rows: list[dict[str, object]] = []
    for kind in ("rest", "line"):
        found = cases(args.split, kind, args.cases, seed=0)
        truths = [case.truth for case in found]
        plain: dict[str, Callable[[Case], str]] = {
            "empty": lambda case: "",
            "previous line": previous_line,
            "copy": best_copy,
        }
        for name, fill in plain.items():
            exact, similar = scores([fill(case) for case in found], truths)
            rows.append({"gap": kind, "fill": name, "exact": round(exact, 1), "similarity": round(similar, 1)})
        infills: list[Infill] = []
        seconds: list[float] = []
        for case in track(found, description=f"{kind}: {args.cases} gaps", console=console):
            start = time.perf_counter()
            infills.append(engine.infill(InfillRequest(case.prefix, case.suffix, max_tokens=32)))
            seconds.append(time.perf_counter() - start)
        for source in ("canvas", "causal", ""):
            texts = [best_of(infill, source) for infill in infills]
            exact, similar = scores(texts, truths)
            row = {
                "gap": kind,
                "fill": source or engine.name,
                "exact": round(exact, 1),
                "similarity": round(similar, 1),
            }
            if not source:
                row |= gate_row(infills, truths)
                row |= {
                    "steps": round(mean(infill.steps for infill in infills), 1),
                    "p50_ms": round(1000 * median(seconds)),
                }
            rows.append(row)
    fields = ["gap", "fill", "exact", "similarity", "exact_at_25", "threshold_at_25", "steps", "p50_ms"]
    table = Table(*fields)
    for row in rows:
        table.add_row(*(str(row.get(field, "")) for field in fields))
    console.print(table)
    if not args.no_write:
        with CSV.open("w", newline="") as file:
            writer = csv.DictWriter(file, fields, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return 0


def best_of(infill: Infill, source: str) -> str:
    """The text `source` proposed first; the engine's own choice for no source."""
    if not source:
        return infill.text
    return next((one.text for one in infill.candidates if source in one.sources), "")


def gate_row(infills: list[Infill], truths: list[str]) -> dict[str, object]:
    """Exact match among the quarter of the gaps the engine is surest of, and how sure it is there."""
    ranked = sorted(zip(infills, truths, strict=True), key=lambda pair: -pair[0].confidence)
    quarter = ranked[: max(1, len(ranked) // 4)]
    exact = mean(infill.text.strip() == truth.strip() for infill, truth in quarter)
    return {"exact_at_25": round(100 * exact, 1), "threshold_at_25": round(quarter[-1][0].confidence, 3)}


if __name__ == "__main__":
    sys.exit(main())
