"""What it gives to search for what the causal mode could write, and what it costs.

    python tests/quality/search.py [--gaps 100] [--model DIRECTORY]

On gaps of the `val` packages, each with the files beside it as in a workspace: in Python `--gaps` at the end of a line,
as many that are whole lines, twice as many inside of a line, and of those as many in JavaScript and in Go. Without a
search, as while somebody types ("inside": only where the line goes on behind the gap), and as for whoever asks for
several suggestions ("always"): exact match of the first suggestion, of the best of three and of any, of those that are
likely enough to be shown by themselves how many there are and how many of them are right, in percent, and the CPU time
from an encoded prefix on. Writes `search.csv`, and a journal: interrupted, it goes on from there (after a change of
code: --fresh).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

import sheet
from journal import Journal
from midspan.engine import Engine, InfillRequest
from midspan.engine.training.cases import Case, cases
from midspan.lsp.settings.settings import Settings
from rich.progress import track

CSV = Path(__file__).with_name("search.csv")
FIELDS = ("language", "gap", "search", "gaps", "first", "of_3", "any", "shown", "shown_right", "cpu_ms_p50")
Search = Literal["never", "inside", "always"]
GAPS: tuple[tuple[str, str, int, tuple[Search, ...]], ...] = (  # language, kind, times --gaps, searches
    ("python", "rest", 1, ("never", "always")),
    ("python", "line", 1, ("never", "always")),
    ("python", "inside", 2, ("never", "inside", "always")),
    ("javascript", "inside", 1, ("never", "inside", "always")),
    ("go", "inside", 1, ("never", "inside", "always")),
)
INSIDE_TOKENS = 16  # what the server asks for there
SEED = 83


def measured(engine: Engine, case: Case, key: str, kind: str, search: Search) -> dict[str, float]:
    """place: of the right text among those that differ, from 0; -1: none is right."""
    request = InfillRequest(
        case.prefix,
        case.suffix,
        max_tokens=INSIDE_TOKENS if kind == "inside" else 32,
        library=case.library,
        document=key,
        method=replace(engine.method, search=search),
    )
    engine.infill(replace(request, library=(), method=engine.method.alone))  # encodes the prefix
    began = time.process_time()
    infill = engine.infill(request)
    spent = time.process_time() - began
    texts = list(dict.fromkeys(one.text.strip() for one in infill.candidates))
    truth = case.truth.strip()
    place = texts.index(truth) if truth in texts else -1
    return {"place": place, "confidence": infill.confidence, "empty": not infill.text.strip(), "ms": 1000 * spent}


def row(seen: Sequence[dict[str, Any]]) -> dict[str, object]:
    def share(right: int, of: int) -> float:
        return round(100 * right / max(1, of), 1)

    shown = [one for one in seen if one["confidence"] >= Settings().min_confidence and not one["empty"]]
    return {
        "gaps": len(seen),
        **{
            name: share(sum(0 <= one["place"] < most for one in seen), len(seen))
            for name, most in (("first", 1), ("of_3", 3), ("any", 1000))
        },
        "shown": share(len(shown), len(seen)),
        "shown_right": share(sum(one["place"] == 0 for one in shown), len(shown)),
        "cpu_ms_p50": round(median(one["ms"] for one in seen)),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--gaps", type=int, default=100)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fresh", action="store_true", help="forget what the journal holds")
    parser.add_argument("--no-write", action="store_true")
    args = parser.parse_args(argv)
    engine = Engine.load(args.model, threads=args.threads)
    journal = Journal.of("search", args.model, args.fresh)
    rows: list[dict[str, object]] = []
    for language, kind, times, searches in GAPS:
        found = cases("val", kind, times * args.gaps, seed=SEED, language=language)
        for search in searches:
            place = (language, kind, search)
            for number, case in enumerate(track(found, description=", ".join(place))):
                if journal.get(*place, number) is None:
                    journal.put(measured(engine, case, f"{language} {kind} {number}", kind, search), *place, number)
            seen = [journal.get(*place, number) for number in range(len(found))]
            rows.append({"language": language, "gap": kind, "search": search, **row(seen)})
    sheet.show(rows, FIELDS)
    if not args.no_write:
        sheet.write(CSV, rows, FIELDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
