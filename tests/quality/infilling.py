"""Every way to fill a gap against every other, on HumanEval-Infilling: pass@1, exact match, steps, seconds.

    python tests/quality/infilling.py FOLDER [--tasks N] [--model DIRECTORY] [--seconds N] [--only WORDS] [--no-write]

FOLDER (or the variable MIDSPAN_EVAL) holds the benchmark as `data/humaneval_infilling` and its scorer
`score_humaneval_infill.py`. Of the tasks every n-th is taken. First the canvas alone, each length mode with each stop
mode; then the engine with drafts and gate; then the product, `complete` as the server calls it, with the shipped
threshold and without one. Writes `infilling.csv` next to this file. The engine is never told a gap's length.

Every fill and every verdict goes to a journal at once: interrupted, or stopped by --seconds, it goes on from there, and
what was filled so far is scored and written. More tasks cost only the new ones: tasks are taken in an order in which
each beginning is spread over the whole. The journal knows other weights and another gate by itself, other code it does
not: --fresh forgets it. --only takes the ways with these words in their name, length or stop.

Steps and milliseconds are per task, milliseconds of CPU time and with the prefix encoded already, as while someone
types. Spans of one problem are much alike, so the intervals are of a bootstrap over problems; rows are best compared
with each other.
"""

from __future__ import annotations

import argparse
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
from typing import Any

import sheet
from journal import Journal
from midspan.engine import Engine, InfillRequest
from midspan.engine.filling.method import Method
from midspan.lsp.settings.settings import Settings
from product import filled
from rich.console import Console
from rich.progress import track

CSV = Path(__file__).with_name("infilling.csv")
FILES = {"single-line": "SingleLineInfilling", "random-span": "RandomSpanInfillingLight"}
FIELDS: tuple[str, ...] = (
    "set",
    "tasks",
    "fill",
    "length",
    "stop",
    "pass",
    "low",
    "high",
    "exact",
    "parses",
    "steps",
    "ms",
    "filled",
)
VERDICTS = ("passed", "exact_stripped", "parses")
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
    threshold: float | None = None

    @property
    def key(self) -> tuple[str, str, str, float | None]:
        return self.name, self.length, self.stop, self.threshold


@dataclass(frozen=True)
class Answer:
    """seconds: of CPU time."""

    text: str
    steps: int
    seconds: float


def tasks_of(folder: Path, bench: str, most: int) -> list[Task]:
    path = folder / "data" / "humaneval_infilling" / f"HumanEval-{FILES[bench]}.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = [json.loads(line) for line in file if line.strip()]
    ending = "\n" if bench == "single-line" else ""
    spread = sorted(range(len(rows)), key=lambda n: int(f"{n:020b}"[::-1], 2))  # of any beginning, even over the whole
    return [
        Task(bench, row["task_id"], row["prompt"], ending + row["suffix"], row["canonical_solution"], ending)
        for row in (rows[n] for n in spread[:most])
    ]


def ways_of(engine: Engine) -> Iterator[Way]:
    lengths = [Method("contract"), Method("batch"), Method("polish"), *(Method("fixed", slots=n) for n in (16, 32, 64))]
    for length in lengths:
        for stop in ("reference", "commit", "fast", "left"):
            method = Method(length.length, stop, length.slots, drafts=False)
            name = length.length + (f" {length.slots}" if length.length == "fixed" else "")
            yield Way("canvas", name, stop, by_engine(engine, method))
    usual = engine.method
    for length in ("contract", "batch"):
        yield Way("engine", length, usual.stop, by_engine(engine, replace(usual, length=length)))
    for name, threshold in (("product, any confidence", 0.0), ("product", Settings().min_confidence)):
        yield Way(name, usual.length, usual.stop, by_product(engine, threshold), threshold)


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
        text, outcome = filled(engine, task.name, task.prefix, task.suffix, threshold, MAX_TOKENS)
        return text, outcome.steps

    return fill


def scored(folder: Path, fills: set[tuple[str, str]], journal: Journal) -> dict[tuple[str, str], dict[str, bool]]:
    """(task, completion) → the scorer's row, asked for once."""
    new = {fill for fill in fills if journal.get("verdict", *fill) is None}
    for row in score(folder, new) if new else []:
        verdict = {name: bool(row[name]) for name in VERDICTS}
        journal.put(verdict, "verdict", row["task_id"], row["completion"])
    return {fill: journal.get("verdict", *fill) for fill in fills}


def score(folder: Path, fills: set[tuple[str, str]]) -> list[dict[str, Any]]:
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
        return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


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


def all_filled(
    engine: Engine, ways: Sequence[Way], tasks: Sequence[Task], journal: Journal, seconds: float, console: Console
) -> tuple[list[Task], list[list[Answer]]]:
    """The tasks that every way has filled, and per way its answers to them."""
    until, done = time.monotonic() + seconds, []
    answers: list[list[Answer]] = [[] for _ in ways]
    for task in track(tasks, description=f"{len(tasks)} gaps, {len(ways)} ways", console=console):
        missing = [way for way in ways if journal.get("fill", task.name, *way.key) is None]
        if missing and time.monotonic() > until:
            continue  # others may have been filled before
        if missing:
            missing[0].fill(task)  # encodes the prefix
        for way in missing:
            start = time.process_time()
            text, steps = way.fill(task)
            journal.put([text, steps, time.process_time() - start], "fill", task.name, *way.key)
        done.append(task)
        for way, given in zip(ways, answers, strict=True):
            given.append(Answer(*journal.get("fill", task.name, *way.key)))
    return done, answers


def row_of(
    bench: str, way: Way, tasks: Sequence[Task], given: Sequence[Answer], judged: Sequence[dict[str, bool]]
) -> dict[str, object]:
    passed = [row["passed"] for row in judged]
    low, high = interval(tasks, passed)
    return {
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


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=os.environ.get("MIDSPAN_EVAL"))
    parser.add_argument("--tasks", type=int, default=125, help="of each set, at most")
    parser.add_argument("--sets", nargs="+", default=list(FILES), choices=list(FILES))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=math.inf, help="of each set; what is filled then is scored")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORDS", help="of the ways, any of these")
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before")
    parser.add_argument("--no-write", action="store_true")
    args = parser.parse_args()
    console = Console()
    if args.folder is None or not Path(args.folder).is_dir():
        console.print("name the folder of the benchmark, or set MIDSPAN_EVAL")
        return 1
    engine, journal = Engine.load(args.model, threads=args.threads), Journal.of("infilling", args.model, args.fresh)
    ways = [
        way
        for way in ways_of(engine)
        if not args.only or any(words in f"{way.name} {way.length} {way.stop}" for words in args.only)
    ]
    rows: list[dict[str, object]] = []
    for bench in args.sets:
        tasks, answers = all_filled(
            engine, ways, tasks_of(args.folder, bench, args.tasks), journal, args.seconds, console
        )
        texts = [[one.text + task.ending for one, task in zip(given, tasks, strict=True)] for given in answers]
        fills = {(task.name, text) for given in texts for task, text in zip(tasks, given, strict=True)}
        verdicts = scored(args.folder, fills, journal)
        for way, given, written in zip(ways, answers, texts, strict=True):
            judged = [verdicts[task.name, text] for task, text in zip(tasks, written, strict=True)]
            if tasks:
                rows.append(row_of(bench, way, tasks, given, judged))
    sheet.show(rows, FIELDS, console)
    if not args.no_write:
        sheet.write(CSV, rows, FIELDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
