"""Fills of packages the model has never seen, beside what needs no model: `make quality`.

Cuts gaps out of the held-out packages of the corpus (`make corpus` fetches them): the rest of a line, a whole line, the
next line while its block is written (nothing of that stands below yet), several lines. Asks the engine as the server
does, with the files beside each and without, and compares with trivial fills.
`canvas alone` is denoised by itself, from the left on; `canvas` and `causal` are what each of them proposed beside the
other. Writes `held_out.csv` (a row per language, gap and source of fills) and `coverage.csv` (exact match among the
share of gaps the engine is surest of) next to this file. The engine is never told a gap's length. Exact match and edit
similarity are over stripped text; a parse rate alone would reward saying nothing, so none is given.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import lru_cache
from pathlib import Path
from statistics import mean, median

import sheet
from midspan.engine import Engine, Infill, InfillRequest
from midspan.engine.filling.copies import Library, copies
from midspan.engine.training.cases import Case, cases
from midspan.engine.training.corpus import cache_directory
from rich.console import Console
from rich.progress import track

HELD_OUT = Path(__file__).with_name("held_out.csv")
COVERAGE = Path(__file__).with_name("coverage.csv")
SHARES = range(5, 101, 5)  # percent of the gaps
SOURCES = ("canvas", "causal")


@dataclass(frozen=True)
class Gaps:
    """One row group: gaps of one kind in one language."""

    language: str
    kind: str
    share: float = 1.0  # of the number of cases asked for


GAPS = (
    Gaps("python", "rest"),
    Gaps("python", "line"),
    Gaps("python", "next"),
    Gaps("python", "lines", 0.5),
    Gaps("javascript", "rest", 0.5),
    Gaps("javascript", "line", 0.5),
    Gaps("typescript", "rest", 0.5),
    Gaps("typescript", "line", 0.5),
    Gaps("typescript", "next", 0.5),
    Gaps("go", "rest", 0.5),
    Gaps("go", "line", 0.5),
    Gaps("go", "next", 0.5),
    Gaps("rust", "rest", 0.5),
    Gaps("rust", "line", 0.5),
    Gaps("cpp", "rest", 0.5),
    Gaps("cpp", "line", 0.5),
)


def previous_line(case: Case) -> str:
    lines = [line for line in case.prefix.split("\n")[:-1] if line.strip()]
    return lines[-1].strip() if lines else ""


def best_copy(case: Case) -> str:
    found = copies(case.prefix, case.suffix)
    return found[0].text if found else ""


def library_copy(case: Case) -> str:
    found = _library(case.library).copies(case.prefix, case.suffix)
    return found[0].text if found else ""


_library = lru_cache(maxsize=64)(Library)
BASELINES: dict[str, Callable[[Case], str]] = {
    "empty": lambda case: "",
    "previous line": previous_line,
    "copy": best_copy,
    "copy from beside": library_copy,
}


def scores(fills: Sequence[str], truths: Sequence[str]) -> dict[str, object]:
    """Exact match and edit similarity in percent."""
    pairs = [(fill.strip(), truth.strip()) for fill, truth in zip(fills, truths, strict=True)]
    exact = mean(fill == truth for fill, truth in pairs)
    similar = mean(SequenceMatcher(None, fill, truth, autojunk=False).ratio() for fill, truth in pairs)
    return {"exact": round(100 * exact, 1), "similarity": round(100 * similar, 1)}


def best_of(infill: Infill, source: str) -> str:
    """The text `source` proposed first."""
    return next((one.text for one in infill.candidates if source in one.sources), "")


def coverage(infills: Sequence[Infill], truths: Sequence[str]) -> list[dict[str, object]]:
    """Exact match among the share of the gaps the engine is surest of, and how sure it is there."""
    ranked = sorted(zip(infills, truths, strict=True), key=lambda pair: -pair[0].confidence)
    rows: list[dict[str, object]] = []
    for share in SHARES:
        sure = ranked[: max(1, len(ranked) * share // 100)]
        exact = mean(infill.text.strip() == truth.strip() for infill, truth in sure)
        rows.append({"share": share, "exact": round(100 * exact, 1), "confidence": round(sure[-1][0].confidence, 3)})
    return rows


def measure(
    engine: Engine, gaps: Gaps, split: str, n_cases: int, seed: int, console: Console
) -> tuple[list[dict], list[dict]]:
    """Rows of held_out.csv and of coverage.csv."""
    found = cases(split, gaps.kind, round(gaps.share * n_cases), seed, language=gaps.language)
    truths = [case.truth for case in found]
    infills: list[Infill] = []
    canvas_alone: list[Infill] = []
    file_alone: list[Infill] = []
    seconds: list[float] = []
    for case in track(found, description=f"{gaps.language} {gaps.kind}: {len(found)} gaps", console=console):
        one_line = gaps.kind != "lines"
        request = InfillRequest(case.prefix, case.suffix, 32 if one_line else 64, one_line)
        canvas_alone.append(engine.infill(replace(request, method=engine.method.alone)))
        file_alone.append(engine.infill(request))
        start = time.perf_counter()
        infills.append(engine.infill(replace(request, library=case.library)))
        seconds.append(time.perf_counter() - start)
    fills = {name: [fill(case) for case in found] for name, fill in BASELINES.items()}
    fills["canvas alone"] = [infill.text for infill in canvas_alone]
    fills |= {source: [best_of(infill, source) for infill in infills] for source in SOURCES}
    fills[f"{engine.name}, file alone"] = [infill.text for infill in file_alone]
    fills[engine.name] = [infill.text for infill in infills]
    head: dict[str, object] = {"language": gaps.language, "gap": gaps.kind, "gaps": len(found)}
    rows = [{**head, "fill": name, **scores(texts, truths)} for name, texts in fills.items()]
    sure = coverage(infills, truths)
    rows[-1] |= {
        "exact_at_25": next(row["exact"] for row in sure if row["share"] == 25),
        "steps": round(mean(infill.steps for infill in infills), 1),
        "p50_ms": round(1000 * median(seconds)),
    }
    return rows, [{**head, **row} for row in sure]


def write(path: Path, rows: Sequence[dict]) -> None:
    fields = list(dict.fromkeys(key for row in rows for key in row))
    sheet.write(path, rows, fields)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--split", default="val", choices=("val", "tune"))
    parser.add_argument("--cases", type=int, default=300, help="gaps of each kind in Python, half as many in others")
    parser.add_argument("--seed", type=int, default=0, help="another one cuts other gaps")
    parser.add_argument("--languages", nargs="+", default=list(dict.fromkeys(g.language for g in GAPS)))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-write", action="store_true")
    args = parser.parse_args()
    console = Console()
    if not (cache_directory() / "corpus" / f"{args.split}.python.txt").exists():
        console.print("the held-out packages are not here; `make corpus` fetches them")
        return 1
    engine = Engine.load(args.model, threads=args.threads)
    rows: list[dict] = []
    sure: list[dict] = []
    for gaps in GAPS:
        if gaps.language in args.languages:
            measured = measure(engine, gaps, args.split, args.cases, args.seed, console)
            rows += measured[0]
            sure += measured[1]
    fields = list(dict.fromkeys(key for row in rows for key in row))
    sheet.show(rows, fields, console)
    if not args.no_write:
        write(HELD_OUT, rows)
        write(COVERAGE, sure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
