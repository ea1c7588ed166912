"""Every way to fill a gap against every other, on HumanEval-Infilling: pass@1, exact match, steps, seconds.

    python tests/quality/infilling.py FOLDER [--tasks N] [--model DIRECTORY] [--no-write]

FOLDER (or the variable MIDSPAN_EVAL) holds the benchmark as `data/humaneval_infilling` and its scorer
`score_humaneval_infill.py`. Of the tasks every n-th is taken. First the canvas alone, each length mode with each stop
mode; then the engine with drafts and gate; then the product, `complete` as the server calls it, with the shipped
threshold and without one. Writes `infilling.csv` next to this file. The engine is never told a gap's length.

Steps and seconds are per task, seconds with the prefix encoded already, as while someone types. Spans of one problem
are much alike, so the intervals are of a bootstrap over problems; rows are best compared with each other.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from midspan.engine import Engine, InfillRequest
from midspan.engine.filling.method import Method
from midspan.grammars import Syntax
from midspan.lsp.complete import Limits, Snapshot, complete
from midspan.lsp.settings.settings import Settings
from rich.console import Console
from rich.progress import track
from rich.table import Table

CSV = Path(__file__).with_name("infilling.csv")
FILES = {"single-line": "SingleLineInfilling", "random-span": "RandomSpanInfillingLight"}
FIELDS = ("set", "tasks", "fill", "length", "stop", "pass", "low", "high", "exact", "parses", "steps", "ms", "filled")
MAX_TOKENS = 32
REPEATS = 1000


@dataclass(frozen=True)
class Task:
    """ending: what the benchmark counts to a gap's text and an editor does not, the line break of a whole line."""

    bench: str
    name: str
    prefix: str
    suffix: str
    truth: str
    ending: str

    @property
    def single_line(self) -> bool:
        return bool(self.ending)


@dataclass(frozen=True)
class Way:
    """fill: task → (text, denoise steps)."""

    name: str
    length: str
    stop: str
    fill: Callable[[Task], tuple[str, int]]


@dataclass(frozen=True)
class Answer:
    text: str
    steps: int
    seconds: float


def tasks_of(folder: Path, bench: str, most: int) -> list[Task]:
    path = folder / "data" / "humaneval_infilling" / f"HumanEval-{FILES[bench]}.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = [json.loads(line) for line in file if line.strip()]
    ending = "\n" if bench == "single-line" else ""
    return [
        Task(bench, row["task_id"], row["prompt"], ending + row["suffix"], row["canonical_solution"], ending)
        for row in rows[:: max(1, math.ceil(len(rows) / most))]
    ]


def ways_of(engine: Engine) -> Iterator[Way]:
    lengths = [Method("contract"), Method("batch"), Method("polish"), *(Method("fixed", slots=n) for n in (16, 32, 64))]
    for length in lengths:
        for stop in ("reference", "commit", "fast"):
            method = Method(length.length, stop, length.slots, drafts=False)
            name = length.length + (f" {length.slots}" if length.length == "fixed" else "")
            yield Way("canvas", name, stop, by_engine(engine, method))
    usual = engine.method
    for length in ("contract", "batch"):
        yield Way("engine", length, usual.stop, by_engine(engine, replace(usual, length=length)))
    for name, threshold in (("product, any confidence", 0.0), ("product", Settings().min_confidence)):
        yield Way(name, usual.length, usual.stop, by_product(engine, threshold))


def by_engine(engine: Engine, method: Method) -> Callable[[Task], tuple[str, int]]:
    def fill(task: Task) -> tuple[str, int]:
        infill = engine.infill(
            InfillRequest(
                task.prefix,
                task.suffix,
                max_tokens=MAX_TOKENS,
                single_line=task.single_line,
                document=task.name,
                method=method,
            )
        )
        return infill.text, infill.steps

    return fill


def by_product(engine: Engine, threshold: float) -> Callable[[Task], tuple[str, int]]:
    def fill(task: Task) -> tuple[str, int]:
        text, at = task.prefix + task.suffix, len(task.prefix)
        snapshot = Snapshot(task.name, 0, "python", text, at, at)
        limits = Limits(MAX_TOKENS, threshold, 0, time.monotonic() + 60, lambda: False)
        outcome = complete(snapshot, Syntax.parse(text, "python"), engine, limits)
        shown = outcome.suggestion
        return shown.text[: shown.filled] if shown else "", outcome.steps

    return fill


def scored(folder: Path, bench: str, fills: set[tuple[str, str]]) -> dict[tuple[str, str], dict[str, bool]]:
    """(task, completion) → the scorer's row."""
    with tempfile.TemporaryDirectory() as directory:
        samples, out = Path(directory) / "samples.jsonl", Path(directory) / "out.jsonl"
        lines = [json.dumps({"task_id": task, "completion": text}) for task, text in sorted(fills)]
        samples.write_text("\n".join(lines) + "\n", encoding="utf-8")
        subprocess.run(
            [sys.executable, folder / "score_humaneval_infill.py", samples, "--subset", "--out", out],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    return {(row["task_id"], row["completion"]): row for row in rows}


def interval(tasks: Sequence[Task], passed: Sequence[bool]) -> tuple[float, float]:
    """95 % in percent, whole problems drawn anew."""
    problems: dict[str, list[bool]] = defaultdict(list)
    for task, yes in zip(tasks, passed, strict=True):
        problems[task.name.split("/")[2]].append(yes)
    groups, rng, means = list(problems.values()), random.Random(0), []
    for _ in range(REPEATS):
        drawn = [yes for _ in groups for yes in rng.choice(groups)]
        means.append(100 * mean(drawn))
    means.sort()
    return means[REPEATS // 40], means[-1 - REPEATS // 40]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=os.environ.get("MIDSPAN_EVAL"))
    parser.add_argument("--tasks", type=int, default=125, help="of each set, at most")
    parser.add_argument("--sets", nargs="+", default=list(FILES), choices=list(FILES))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-write", action="store_true")
    args = parser.parse_args()
    console = Console()
    if args.folder is None or not Path(args.folder).is_dir():
        console.print("name the folder of the benchmark, or set MIDSPAN_EVAL")
        return 1
    engine = Engine.load(args.model, threads=args.threads)
    ways = list(ways_of(engine))
    rows: list[dict[str, object]] = []
    for bench in args.sets:
        tasks = tasks_of(args.folder, bench, args.tasks)
        answers: list[list[Answer]] = [[] for _ in ways]
        for task in track(tasks, description=f"{bench}: {len(tasks)} gaps, {len(ways)} ways", console=console):
            ways[0].fill(task)  # encodes the prefix
            for way, given in zip(ways, answers, strict=True):
                start = time.perf_counter()
                text, steps = way.fill(task)
                given.append(Answer(text, steps, time.perf_counter() - start))
        texts = [[one.text + task.ending for one, task in zip(given, tasks, strict=True)] for given in answers]
        fills = {(task.name, text) for given in texts for task, text in zip(tasks, given, strict=True)}
        verdicts = scored(args.folder, bench, fills)
        for way, given, written in zip(ways, answers, texts, strict=True):
            judged = [verdicts[task.name, text] for task, text in zip(tasks, written, strict=True)]
            passed = [row["passed"] for row in judged]
            low, high = interval(tasks, passed)
            rows.append(
                {
                    "set": bench,
                    "tasks": len(tasks),
                    "fill": way.name,
                    "length": way.length,
                    "stop": way.stop,
                    "pass": round(100 * mean(passed), 1),
                    "low": round(low, 1),
                    "high": round(high, 1),
                    "exact": round(100 * mean(row["exact_stripped"] for row in judged), 1),
                    "parses": round(100 * mean(row["parses"] for row in judged), 1),
                    "steps": round(mean(one.steps for one in given), 1),
                    "ms": round(1000 * mean(one.seconds for one in given)),
                    "filled": round(100 * mean(bool(one.text.strip()) for one in given), 1),
                }
            )
    table = Table(*FIELDS)
    for row in rows:
        table.add_row(*(str(row[field]) for field in FIELDS))
    console.print(table)
    if not args.no_write:
        with CSV.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
