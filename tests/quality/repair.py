"""What repair is worth: parse rate and pass@1 of fills before and after, beside other ways to choose what to redo.

    python tests/quality/repair.py FOLDER [--model DIRECTORY] [--cases N] [--no-write]

FOLDER holds the HumanEval-Infilling and SAFIM splits as `data/humaneval_infilling` and `data/safim`, and the scorer
`score_humaneval_infill.py` (without it pass@1 is left out). For every gap the canvas alone fills; where its text brings
a new error, each way mends the same text. Two rounds of at most three denoise steps each for all of them, the same
number of tokens, the same check. What the product shows after that, `shown.py` judges. The true length of a gap is
never told.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import json
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import sheet
import torch
from midspan.engine import Engine, InfillRequest
from midspan.engine.filling import fill as fill_module
from midspan.engine.filling import repair
from midspan.grammars import Syntax
from midspan.grammars.repair import culprits
from rich.console import Console
from rich.progress import track

CSV = Path(__file__).with_name("repair.csv")
N_WAYS = 9  # rows of one set
LANGUAGES = {"python": "python", "cpp": "cpp", "java": "java", "csharp": "csharp"}
FIELDS: tuple[str, ...] = ("set", "gaps", "way", "parses", "compiles", "pass", "mended", "of", "steps", "ms", "how")


@dataclass(frozen=True)
class Case:
    """A gap: the text before and after it, and how a fill of it becomes the benchmark's completion."""

    task: str
    language: str
    prefix: str
    suffix: str
    single_line: bool
    ending: str = ""

    @property
    def document(self) -> str:
        return self.prefix + self.suffix


@dataclass(frozen=True)
class Mended:
    text: str
    how: str
    steps: int
    seconds: float


def rows_of(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return [json.loads(line) for line in file if line.strip()]


def human_eval(folder: Path, name: str) -> list[Case]:
    rows = rows_of(folder / "data" / "humaneval_infilling" / f"HumanEval-{name}.jsonl.gz")
    if name == "SingleLineInfilling":
        # The gap is a line; its line break belongs to the completion.
        return [Case(row["task_id"], "python", row["prompt"], "\n" + row["suffix"], True, "\n") for row in rows]
    return [Case(row["task_id"], "python", row["prompt"], row["suffix"], False) for row in rows]


def safim(folder: Path, name: str) -> list[Case]:
    cases = []
    for row in rows_of(folder / "data" / "safim" / f"{name}_completion.jsonl.gz"):
        before, _, after = row["eval_prompt"].partition("{{completion}}")
        cases.append(Case(f"{name}/{row['task_id']}", LANGUAGES[row["lang"]], before, after, name == "control"))
    return cases


def check_of(case: Case) -> Callable[[str], list[tuple[int, int]]]:
    before, start = Syntax.parse(case.document, case.language), len(case.prefix)
    end = start

    def check(text: str) -> list[tuple[int, int]]:
        return culprits(before, before.edited(start, end, text), start, start + len(text))

    return check


def compiles(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, "<case>", "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


Choices = dict[str, repair.Plan]


def ways(entropies: Sequence[float], seed: int) -> Choices:
    """The plans that are compared. Those that choose take as many tokens as syntax would."""
    rng = random.Random(seed)

    def as_many(culprit: set[int], n: int) -> int:
        return len({i + d for i in culprit for d in (-1, 0, 1) if 0 <= i + d < n}) or 1

    def doubted(culprit: set[int], n: int) -> set[int]:
        order = sorted(range(n), key=lambda i: -(entropies[i] if i < len(entropies) else 0.0))
        return set(order[: as_many(culprit, n)])

    def drawn(culprit: set[int], n: int) -> set[int]:
        return set(rng.sample(range(n), min(n, as_many(culprit, n))))

    bare = repair.Plan(cuts=0)
    return {
        "syntax": bare,
        "confidence": replace(bare, choose=doubted),
        "random": replace(bare, choose=drawn),
        "resample": replace(bare, choose=lambda _, n: set(range(n))),
        "syntax, cut": repair.PLAN,
        "cut only": repair.Plan(rounds=0),
    }


def measured(engine: Engine, case: Case) -> dict[str, Mended]:
    """Every way's text of one gap."""
    caught: list[tuple[repair.Workbench, Sequence[int], repair.Check]] = []
    original = repair.repaired

    def spy(bench: repair.Workbench, ids: Sequence[int], check: repair.Check, plan: repair.Plan = repair.PLAN):
        caught.append((bench, ids, check))
        return repair.Repaired((), "", "nothing")

    request = InfillRequest(
        case.prefix.replace("\r\n", "\n"),
        case.suffix.replace("\r\n", "\n"),
        max_tokens=32,
        single_line=case.single_line,
        check=check_of(case),
        method=replace(engine.method, drafts=False),
    )
    fill_module.repair.repaired = spy
    try:
        began = time.perf_counter()
        infill = engine.infill(request)
        took = time.perf_counter() - began
    finally:
        fill_module.repair.repaired = original
    found = {"none": Mended(infill.text, "passed" if not caught else "failed", infill.steps, took)}
    plans = ways(infill.entropies, len(case.prefix))
    for name, plan in plans.items():
        if not caught:
            found[name] = Mended(infill.text, "passed", 0, 0.0)
            continue
        bench, ids, check = caught[0]
        bench = replace(bench, generator=torch.Generator(bench.pinned.device).manual_seed(1))
        began = time.perf_counter()
        with torch.inference_mode():
            one = original(bench, ids, check, plan)
        # Where nothing passes, the product shows nothing; the benchmark gets the canvas' text as it was.
        text = one.text if one.how != "nothing" else infill.text
        found[name] = Mended(text, one.how, one.steps, time.perf_counter() - began)
    drafted = engine.infill(replace(request, method=replace(engine.method, repair=False)))
    candidate = drafted.text if drafted.text.strip() or not caught else infill.text
    fits = not check_of(case)(candidate)
    found["next candidate"] = Mended(candidate, "repaired" if fits and caught else "passed", 0, 0.0)
    both = engine.infill(replace(request, method=engine.method))
    how = "repaired" if "repair" in both.source else "passed"
    found["product"] = Mended(both.text, how, both.steps - drafted.steps, 0.0)
    return found


def passed(folder: Path, bench: list[tuple[str, str]], console: Console) -> dict[tuple[str, str], bool]:
    """(task, completion) → whether it passes the task's tests, by the benchmark's own scorer."""
    scorer = folder / "score_humaneval_infill.py"
    if not scorer.exists() or not bench:
        return {}
    unique = sorted(set(bench))
    with tempfile.TemporaryDirectory() as place:
        samples, out = Path(place, "samples.jsonl"), Path(place, "out.jsonl")
        samples.write_text("".join(json.dumps({"task_id": t, "completion": c}) + "\n" for t, c in unique))
        command = [sys.executable, str(scorer), str(samples), "--subset", "--out", str(out), "--workers", "1"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            console.print(done.stderr)
            return {}
        verdicts = [json.loads(line)["passed"] for line in out.read_text().splitlines()]
    return dict(zip(unique, verdicts, strict=True))


def table_of(name: str, engine: Engine, cases: list[Case], folder: Path, console: Console) -> list[dict[str, object]]:
    fills = {case.task: measured(engine, case) for case in track(cases, description=name, console=console)}
    scored: dict[tuple[str, str], bool] = {}
    if name.startswith("HumanEval"):
        texts = [(case.task, one.text + case.ending) for case in cases for one in fills[case.task].values()]
        scored = passed(folder, texts, console)
    rows: list[dict[str, object]] = []
    for way in next(iter(fills.values())):
        ones = [(case, fills[case.task][way]) for case in cases]
        hurt = [one for case, one in ones if fills[case.task]["none"].how == "failed"]
        row: dict[str, object] = {"set": name, "gaps": len(cases), "way": way, "of": len(hurt)}
        row["parses"] = percent(not check_of(case)(one.text) for case, one in ones)
        row["compiles"] = percent(compiles(case.prefix + one.text + case.suffix) for case, one in ones)
        if scored:
            row["pass"] = percent(scored[case.task, one.text + case.ending] for case, one in ones)
        row["mended"] = sum(one.how in ("repaired", "cut") for one in hurt)
        row["how"] = " ".join(f"{how}:{n}" for how, n in sorted(Counter(one.how for one in hurt).items()))
        if hurt and way not in ("none", "next candidate", "product"):
            row["steps"] = round(mean(one.steps for one in hurt), 1)
            row["ms"] = round(1000 * mean(one.seconds for one in hurt), 1)
        rows.append(row)
    return rows


def percent(hits: Iterable[bool]) -> float:
    values = list(hits)
    return round(100 * sum(values) / max(1, len(values)), 2)


def show(rows: list[dict[str, object]], console: Console) -> None:
    sheet.show(rows, FIELDS, console)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cases", type=int, default=10_000, help="gaps of each set that are filled")
    parser.add_argument("--no-write", action="store_true")
    chosen = parser.parse_args()
    console = Console(width=150)
    engine = Engine.load(chosen.model, threads=chosen.threads)
    lines = human_eval(chosen.folder, "SingleLineInfilling")
    spans = human_eval(chosen.folder, "RandomSpanInfillingLight")
    block, control = safim(chosen.folder, "block"), safim(chosen.folder, "control")
    python = [[case for case in cases if case.language == "python"] for cases in (block, control)]
    rows: list[dict[str, object]] = []
    sets = {"HumanEval lines": lines, "HumanEval spans": spans, "SAFIM block": python[0], "SAFIM control": python[1]}
    for name, cases in sets.items():
        rows += table_of(name, engine, cases[: chosen.cases], chosen.folder, console)
        show(rows[-N_WAYS:], console)
    if not chosen.no_write:
        sheet.write(CSV, rows, FIELDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
