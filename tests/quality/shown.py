"""The proof of what is shown: does it parse with no new error, and does it say the suffix' first line again?

    python tests/quality/shown.py FOLDER [--gaps N] [--confidence P] [--log FILE] [--model DIRECTORY] [--no-write]

FOLDER holds the HumanEval-Infilling and SAFIM splits as `data/humaneval_infilling` and `data/safim`. Every gap goes the
product's path, `complete`; at `--confidence 0`, the default, whatever the engine found is shown, which is a harder
test than what is shipped. Beside the gaps that the benchmarks cut, cursors are put at random places of SAFIM's files:
at the end of what is typed of a line, and between two characters of a line that goes on. In long modules of the running
Python's library the last letters before the cursor are typed into a tree of the file before them, and nothing waits for
the tree after.

The judge is not the check that the product uses. It parses the whole file afresh, before and after: a fill fails where
the file has more ERROR and MISSING nodes than it had, or one beside the fill that has no like before; and in Python
where `ast.parse` took the file before and takes it no longer, but for a header whose body is still to come. The true
length of a gap is never told. Writes `shown.csv`. With `--log`, what is done is kept and a second run goes on from it.
"""

from __future__ import annotations

import argparse
import doctest
import inspect
import json
import random
import sys
import tarfile
import time
import typing
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import sheet
from midspan.engine import Engine
from midspan.grammars import Syntax, syntax
from midspan.lsp.complete import Limits, Outcome, Snapshot, complete
from midspan.lsp.settings.settings import Settings
from repair import LANGUAGES, compiles, rows_of
from rich.console import Console
from rich.progress import track

CSV = Path(__file__).with_name("shown.csv")
PER_MODULE = 20
FIELDS: tuple[str, ...] = ("set", "gaps", "shown", "parse", "worse", "refused", "repeat", "repaired", "whole")


@dataclass(frozen=True)
class Case:
    """A gap: the text before and after it, as it stands in the file."""

    task: str
    group: str
    language: str
    prefix: str
    suffix: str
    n_typed: int = 0  # characters at the prefix' end that came after the tree

    @property
    def document(self) -> str:
        return self.prefix + self.suffix


@dataclass(frozen=True)
class Verdict:
    """What became of one gap. text: of the whole suggestion; the rest counts for what is shown."""

    task: str
    group: str
    reason: str
    text: str = ""
    source: str = ""
    worse: bool = False  # more errors than before, or a new one beside the fill
    refused: bool = False  # by CPython, which took the file before
    repeats: bool = False
    whole: bool = False  # the file has no error at all


def human_eval(folder: Path, name: str, group: str) -> Iterator[Case]:
    for row in rows_of(folder / "data" / "humaneval_infilling" / f"HumanEval-{name}.jsonl.gz"):
        # A gap of whole lines ends where the last of them does: its line break stays.
        ending = "\n" if "Line" in name else ""
        yield Case(f"{group}/{row['task_id']}", group, "python", row["prompt"], ending + row["suffix"])


def safim(folder: Path, name: str) -> Iterator[Case]:
    for row in rows_of(folder / "data" / "safim" / f"{name}_completion.jsonl.gz"):
        before, _, after = row["eval_prompt"].partition("{{completion}}")
        language = LANGUAGES[row["lang"]]
        yield Case(f"{name}/{row['task_id']}", f"SAFIM {name} {language}", language, before, after)


def cursors(folder: Path, rng: random.Random) -> Iterator[Case]:
    """Two cursors in every file of SAFIM's: where a line breaks off, and inside a line that goes on."""
    for row in rows_of(folder / "data" / "safim" / "block_completion.jsonl.gz"):
        text, language = row["eval_prompt"].replace("{{completion}}", row["ground_truth"]), LANGUAGES[row["lang"]]
        code = [at for at, char in enumerate(text) if not char.isspace()]
        for kind in ("rest of line", "inside a line"):
            at = rng.choice(code)
            feed = text.find("\n", at)
            end = len(text) if feed < 0 else feed - text.endswith("\r", 0, feed)
            rest = end if kind == "rest of line" else min(end, at + rng.randrange(1, 12))
            group = f"SAFIM {kind} {language}"
            yield Case(f"{kind}/{row['task_id']}", group, language, text[:at], text[rest:])


def library(rng: random.Random) -> Iterator[Case]:
    """Cursors in modules of 1,000 lines and more, where a line breaks off."""
    for module in (argparse, doctest, inspect, tarfile, typing, zipfile):
        text = inspect.getsource(module)
        code = [at for at, char in enumerate(text) if not char.isspace()]
        for at in rng.sample(code, PER_MODULE):
            end = text.find("\n", at)
            yield Case(
                f"{module.__name__}/{at}", "library, typed", "python", text[:at], text[end:], rng.randrange(1, 8)
            )


def every_case(folder: Path) -> dict[str, list[Case]]:
    """By group, each in a fixed random order."""
    found: dict[str, list[Case]] = {}
    rng = random.Random(0)
    makers = (
        human_eval(folder, "SingleLineInfilling", "HumanEval lines"),
        human_eval(folder, "MultiLineInfilling", "HumanEval blocks"),
        human_eval(folder, "RandomSpanInfilling", "HumanEval spans"),
        safim(folder, "block"),
        safim(folder, "control"),
        cursors(folder, rng),
        library(random.Random(1)),
    )
    for maker in makers:
        for case in maker:
            found.setdefault(case.group, []).append(case)
    for cases in found.values():
        rng.shuffle(cases)
    return found


def judged(engine: Engine, case: Case, confidence: float) -> Verdict:
    settings = Settings()
    limits = Limits(settings.max_tokens, confidence, 0, time.monotonic() + 60, lambda: False, 1, settings.prose)
    at = len(case.prefix)
    snapshot = Snapshot(case.task, 0, case.language, case.document, at, at)
    outcome: Outcome = complete(snapshot, syntax_of(case), engine, limits)
    one = outcome.suggestion
    if one is None:
        return Verdict(case.task, case.group, outcome.reason)
    text = case.document[: one.start] + one.text + case.document[one.end :]
    end = one.start + one.filled
    return Verdict(
        case.task,
        case.group,
        "shown",
        one.text,
        outcome.source,
        worse(case, text, one.start, end, one.end - len(one.text) + one.filled),
        refused(case, text, end),
        repeats(text, one.start, end),
        not Syntax.parse(text, case.language).flaws,
    )


def syntax_of(case: Case) -> Syntax:
    """The document's, its tree not there yet where the last characters were typed."""
    at = len(case.prefix) - case.n_typed
    typed = Syntax.parse(case.prefix[:at] + case.suffix, case.language)
    if case.n_typed:
        assert typed.tree is not None
        for n, char in enumerate(case.prefix[at:], at):
            typed = typed.edited(n, n, char)
    return typed


def worse(case: Case, text: str, start: int, end: int, replaced: int) -> bool:
    """Whether a fresh parse of the whole file has more errors than it had, or one within the fill, text[start:end] in
    place of the old text up to `replaced`, where it had none beside the gap."""
    old, new = Syntax.parse(case.document, case.language), Syntax.parse(text, case.language)
    assert old.tree is not None and new.tree is not None
    if len(new.flaws) > len(old.flaws):
        return True
    first, last = new.byte(start), new.byte(end)
    left, right = (
        len(old.data[: old.byte(start)].rstrip()),
        len(old.data) - len(old.data[old.byte(replaced) :].lstrip()),
    )
    broken_there = any(flaw.start <= right and flaw.end >= left for flaw in old.flaws)
    return not broken_there and any(first < flaw.end and flaw.start < last for flaw in new.flaws)


def refused(case: Case, text: str, end: int) -> bool:
    """Whether CPython took the file before the fill, which ends at `end`, and does not now."""
    if case.language != "python" or compiles(text) or not compiles(case.document):
        return False
    feed = text.find("\n", end)
    feed = len(text) if feed < 0 else feed
    line = text[text.rfind("\n", 0, end) + 1 : feed].rstrip()
    return not (line.endswith(":") and compiles(text[:feed].rstrip("\r") + " pass" + text[feed:]))


def repeats(text: str, start: int, end: int) -> bool:
    """Whether a line of what is shown is the first filled line below it; a line of brackets alone may come again."""
    first, feed = text.rfind("\n", 0, start) + 1, text.find("\n", end)
    if feed < 0:
        return False
    below = next((line.rstrip() for line in text[feed:].split("\n") if line.strip()), "")
    shown = [line.rstrip() for line in text[first:feed].split("\n")]
    return any(char.isalnum() for char in below) and below in shown


def table_of(verdicts: list[Verdict]) -> list[dict[str, object]]:
    groups = list(dict.fromkeys(one.group for one in verdicts))
    wider = ["HumanEval", "SAFIM", ""]
    rows = [row_of(group, [one for one in verdicts if one.group == group]) for group in groups]
    return rows + [
        row_of(f"all {head}".strip(), [one for one in verdicts if one.group.startswith(head)]) for head in wider
    ]


def row_of(name: str, verdicts: list[Verdict]) -> dict[str, object]:
    shown = [one for one in verdicts if one.reason == "shown"]
    bad = sum(one.worse or one.refused for one in shown)
    return {
        "set": name,
        "gaps": len(verdicts),
        "shown": len(shown),
        "parse": round(100 * (1 - bad / len(shown)), 2) if shown else "",
        "worse": sum(one.worse for one in shown),
        "refused": sum(one.refused for one in shown),
        "repeat": sum(one.repeats for one in shown),
        "repaired": sum("repair" in one.source for one in shown),
        "whole": round(100 * sum(one.whole for one in shown) / len(shown), 1) if shown else "",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gaps", type=int, default=60, help="of each group")
    parser.add_argument("--confidence", type=float, default=0.0, help="least confidence of what is shown")
    parser.add_argument("--log", type=Path, help="JSON lines of the verdicts; a second run leaves out what is in it")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-write", action="store_true")
    chosen = parser.parse_args()
    console = Console(width=150)
    done: dict[str, Verdict] = {}
    if chosen.log and chosen.log.exists():
        lines = chosen.log.read_text(encoding="utf-8").splitlines()
        done = {one.task: one for one in (Verdict(**json.loads(line)) for line in lines)}
    syntax.STANDING_SECONDS = -1.0  # what is not there is not waited for
    cases = [case for group in every_case(chosen.folder).values() for case in group[: chosen.gaps]]
    engine = Engine.load(chosen.model, threads=chosen.threads)
    verdicts: list[Verdict] = []
    for case in track(cases, description="shown", console=console):
        verdict = done.get(case.task) or judged(engine, case, chosen.confidence)
        verdicts.append(verdict)
        if chosen.log and case.task not in done:
            with chosen.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(verdict)) + "\n")
        if verdict.worse or verdict.refused or verdict.repeats:
            console.print(case.task, repr(verdict.text), markup=False, highlight=False)
    rows = table_of(verdicts)
    sheet.show(rows, FIELDS, console)
    console.print(Counter(one.reason for one in verdicts))
    if not chosen.no_write:
        sheet.write(CSV, rows, FIELDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
