"""What it gives to search for several suggestions: of those that may be cycled through, is one right?

    python tests/quality/several.py [--gaps 100] [--model DIRECTORY]

On gaps of the `val` packages in Python, `--gaps` of each kind, each with the files beside it as in a workspace: exact
match of the first suggestion, of the best of three and of any, and the milliseconds of CPU time from an encoded prefix
on, for a request of one suggestion and for one of `several`. Writes `several.csv`, and a journal: interrupted, it goes
on from there (after a change of code: --fresh).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import sheet
from journal import Journal
from midspan.engine import Engine, InfillRequest
from midspan.engine.training.cases import Case, cases
from rich.progress import track

CSV = Path(__file__).with_name("several.csv")
FIELDS = ("gap", "suggestions", "gaps", "first", "of_3", "any", "cpu_ms_p50")
KINDS = ("rest", "line")
SEED = 83


def measured(engine: Engine, case: Case, key: str, several: bool) -> dict[str, float]:
    """place: of the right text among those that differ, from 0; -1: none is right."""
    engine.infill(InfillRequest(case.prefix, case.suffix, library=case.library, document=key))  # encodes the prefix
    began = time.process_time()
    infill = engine.infill(InfillRequest(case.prefix, case.suffix, library=case.library, document=key, several=several))
    spent = time.process_time() - began
    texts = list(dict.fromkeys(one.text.strip() for one in infill.candidates))
    truth = case.truth.strip()
    return {"place": texts.index(truth) if truth in texts else -1, "ms": 1000 * spent}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--gaps", type=int, default=100)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fresh", action="store_true", help="forget what the journal holds")
    parser.add_argument("--no-write", action="store_true")
    args = parser.parse_args(argv)
    engine = Engine.load(args.model, threads=args.threads)
    journal = Journal.of("several", args.model, args.fresh)
    rows: list[dict[str, object]] = []
    for kind in KINDS:
        found = cases("val", kind, args.gaps, seed=SEED)
        for name, several in (("one", False), ("several", True)):
            for number, case in enumerate(track(found, description=f"{kind}, {name}")):
                if journal.get(kind, name, number) is None:
                    journal.put(measured(engine, case, f"{kind} {number}", several), kind, name, number)
            seen = [journal.get(kind, name, number) for number in range(len(found))]
            row: dict[str, object] = {"gap": kind, "suggestions": name, "gaps": len(found)}
            for field, most in (("first", 1), ("of_3", 3), ("any", 1000)):
                row[field] = round(100 * sum(0 <= one["place"] < most for one in seen) / len(seen), 1)
            rows.append({**row, "cpu_ms_p50": round(median(one["ms"] for one in seen))})
    sheet.show(rows, FIELDS)
    if not args.no_write:
        sheet.write(CSV, rows, FIELDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
