"""The product on published benchmarks: HumanEval-Infilling and the Python part of SAFIM.

    python tests/quality/benchmarks.py FOLDER [--tasks N] [--sets SET ...] [--model DIRECTORY] [--fresh] [--no-write]

FOLDER (or the variable MIDSPAN_EVAL) holds the tasks as `data/humaneval_infilling` and `data/safim` and their sandboxed
scorers, `score_humaneval_infill.py` and `score_safim_py.py`; nothing of it enters the repository. Every task goes the
way of a keystroke, `complete`: syntax chooses the span, the engine fills it, the result has to parse no worse. Once as
shipped, once whatever the confidence; beside it the canvas alone, without drafts, and the empty fill. No gap's true
length is told. Answers are kept in a journal, so an interrupted run goes on. Writes `benchmarks.csv`.

Random spans are also told apart by their length, up to SHORT characters or over it.

pass and exact count a gap without a suggestion as an empty fill; pass_shown is over the gaps with one. The interval is
of a bootstrap over problems, 95 %, for the spans of one problem are much alike.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import sheet
from journal import Journal
from midspan.engine import Engine, InfillRequest
from midspan.lsp.settings.settings import Settings
from product import filled
from rich.console import Console
from rich.progress import track

CSV = Path(__file__).with_name("benchmarks.csv")
HUMAN_EVAL = {
    "single-line": "SingleLineInfilling",
    "multi-line": "MultiLineInfilling",
    "random-span-light": "RandomSpanInfillingLight",
    "random-span": "RandomSpanInfilling",
}
SAFIM = ("block", "control")
SETS = (*HUMAN_EVAL, *(f"safim-{part}" for part in SAFIM))
FIELDS = ("set", "tasks", "fill", "shown", "pass", "low", "high", "exact", "pass_shown", "steps", "cpu_ms")
SHORT = 20  # characters
REPEATS = 1000


@dataclass(frozen=True)
class Task:
    """ending: what the benchmark counts to a gap's text and an editor does not, the line break of whole lines."""

    name: str
    problem: str
    prefix: str
    suffix: str
    truth: str
    ending: str = ""


def rows_of(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return [json.loads(line) for line in file if line.strip()]


def human_eval(folder: Path, name: str) -> Iterator[Task]:
    ending = "\n" if "Line" in name else ""
    for row in rows_of(folder / "data" / "humaneval_infilling" / f"HumanEval-{name}.jsonl.gz"):
        task, suffix = row["task_id"], ending + row["suffix"]
        yield Task(task, task.split("/")[2], row["prompt"], suffix, row["canonical_solution"], ending)


def safim(folder: Path, part: str) -> Iterator[Task]:
    fails = folder / "data" / "safim" / f"python_{part}_gold_fails.json"
    dropped = set(json.loads(fails.read_text())) if fails.exists() else set()
    for row in rows_of(folder / "data" / "safim" / f"{part}_completion.jsonl.gz"):
        if row["lang"] == "python" and row["task_id"] not in dropped:
            before, _, after = row["eval_prompt"].partition("{{completion}}")
            yield Task(row["task_id"], row["task_id"], before, after, row["ground_truth"])


def tasks_of(folder: Path, name: str, most: int) -> list[Task]:
    """At most so many, evenly over the set."""
    found = list(human_eval(folder, HUMAN_EVAL[name]) if name in HUMAN_EVAL else safim(folder, name[6:]))
    return found[:: max(1, -(-len(found) // most))]


Fill = Callable[[Task], tuple[str, int]]  # the new text and how many denoise steps it took


def product(engine: Engine, threshold: float) -> Fill:
    def fill(task: Task) -> tuple[str, int]:
        text, outcome = filled(engine, task.name, task.prefix, task.suffix, threshold)
        return text, outcome.steps

    return fill


def canvas(engine: Engine) -> Fill:
    def fill(task: Task) -> tuple[str, int]:
        method, most = engine.method.alone, Settings().max_tokens
        infill = engine.infill(InfillRequest(task.prefix, task.suffix, most, document=task.name, method=method))
        return infill.text, infill.steps

    return fill


def human_eval_passed(folder: Path, fills: Sequence[tuple[str, str]]) -> list[bool]:
    """Whether each (task, completion) passes its problem's tests."""
    with tempfile.TemporaryDirectory() as directory:
        samples, out = Path(directory) / "samples.jsonl", Path(directory) / "out.jsonl"
        write_samples(samples, fills)
        score(folder / "score_humaneval_infill.py", samples, "--subset", "--out", out)
        verdicts = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    passed = {(row["task_id"], row["completion"]): row["passed"] for row in verdicts}
    return [passed[one] for one in fills]


def safim_passed(folder: Path, part: str, fills: Sequence[tuple[str, str]]) -> list[bool]:
    with tempfile.TemporaryDirectory() as directory:
        samples, bad = Path(directory) / "samples.jsonl", Path(directory) / "bad.json"
        write_samples(samples, fills)
        score(folder / "score_safim_py.py", part, samples, "--bad", bad)
        failed = set(json.loads(bad.read_text()))
    return [task not in failed for task, _ in fills]


def write_samples(path: Path, fills: Sequence[tuple[str, str]]) -> None:
    lines = [json.dumps({"task_id": task, "completion": text}) for task, text in fills]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def score(*command: str | Path) -> None:
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def interval(tasks: Sequence[Task], passed: Sequence[bool]) -> tuple[float, float]:
    """95 % in percent, whole problems drawn anew."""
    problems: dict[str, list[bool]] = defaultdict(list)
    for task, yes in zip(tasks, passed, strict=True):
        problems[task.problem].append(yes)
    groups, rng = list(problems.values()), random.Random(0)
    means = sorted(100 * mean(yes for _ in groups for yes in rng.choice(groups)) for _ in range(REPEATS))
    return means[REPEATS // 40], means[-1 - REPEATS // 40]


def measured(folder: Path, name: str, tasks: Sequence[Task], fill: str, given: Sequence[dict]) -> dict[str, object]:
    """A row of the table. given: text, steps and CPU seconds of each task."""
    fills = [(task.name, one["text"] + task.ending) for task, one in zip(tasks, given, strict=True)]
    passed = human_eval_passed(folder, fills) if name in HUMAN_EVAL else safim_passed(folder, name[6:], fills)
    low, high = interval(tasks, passed)
    shown = [bool(one["text"].strip()) for one in given]
    of_shown = [yes for yes, there in zip(passed, shown, strict=True) if there]
    exact = [one["text"].strip() == task.truth.strip() for task, one in zip(tasks, given, strict=True)]
    return {
        "set": name,
        "tasks": len(tasks),
        "fill": fill,
        "shown": round(100 * mean(shown), 1),
        "pass": round(100 * mean(passed), 1),
        "low": round(low, 1),
        "high": round(high, 1),
        "exact": round(100 * mean(exact), 1),
        "pass_shown": round(100 * mean(of_shown), 1) if of_shown else "",
        "steps": round(mean(one["steps"] for one in given), 1),
        "cpu_ms": round(1000 * mean(one["seconds"] for one in given)),
    }


def by_length(
    folder: Path, name: str, tasks: Sequence[Task], answers: dict[str, list[dict]]
) -> list[dict[str, object]]:
    """Rows of the short gaps and of the long ones alone."""
    rows = []
    for label, short in ((f"{name}, to {SHORT}", True), (f"{name}, over {SHORT}", False)):
        places = [i for i, task in enumerate(tasks) if (len(task.truth) <= SHORT) == short]
        kept = [tasks[i] for i in places]
        rows += [
            {**measured(folder, name, kept, way, [given[i] for i in places]), "set": label}
            for way, given in answers.items()
        ]
    return rows


def answered(journal: Journal, name: str, fill_name: str, fill: Fill, task: Task) -> dict:
    done = journal.get(name, fill_name, task.name)
    if done is None:
        start = time.process_time()
        text, steps = fill(task)
        done = {"text": text, "steps": steps, "seconds": round(time.process_time() - start, 4)}
        journal.put(done, name, fill_name, task.name)
    return done


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=os.environ.get("MIDSPAN_EVAL"))
    parser.add_argument("--tasks", type=int, default=250, help="of each set, at most")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fresh", action="store_true", help="forget what the journal holds")
    parser.add_argument("--no-write", action="store_true")
    args = parser.parse_args(argv)
    console = Console()
    if args.folder is None or not (Path(args.folder) / "data").is_dir():
        console.print("name the folder of the benchmarks, or set MIDSPAN_EVAL")
        return 1
    folder = Path(args.folder)
    engine = Engine.load(args.model, threads=args.threads)
    journal = Journal.of("benchmarks", args.model, args.fresh)
    ways: dict[str, Fill] = {
        "product": product(engine, Settings().min_confidence),
        "product, any confidence": product(engine, 0.0),
        "canvas alone": canvas(engine),
        "empty": lambda task: ("", 0),
    }
    rows: list[dict[str, object]] = []
    for name in args.sets:
        tasks = tasks_of(folder, name, args.tasks)
        answers: dict[str, list[dict]] = {way: [] for way in ways}
        for task in track(tasks, description=f"{name}: {len(tasks)} gaps", console=console):
            for way, fill in ways.items():
                answers[way].append(answered(journal, name, way, fill, task))
        rows += [measured(folder, name, tasks, way, given) for way, given in answers.items()]
        if name.startswith("random-span"):
            rows += by_length(folder, name, tasks, answers)
        if not args.no_write:
            sheet.write(CSV, rows, FIELDS)
    sheet.show(rows, FIELDS, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
