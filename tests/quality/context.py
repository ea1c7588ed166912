"""What the files beside a document are worth to midspan-mini: the same gaps of unseen packages with and without them.

    python tests/quality/context.py [--cases N] [--model DIRECTORY]

Lays the held-out packages of the corpus out as folders, cuts gaps as `held_out.py` does, and lets the server's own
gathering say what a request in that file may draw on. Writes `context.csv` next to this file: a row per kind of gap and
context, with exact match and edit similarity (percent), exact match among the quarter of the gaps the engine is surest
of, the share of answers that another file proposed, and milliseconds of processor time per fill, the gathering in it.
Two last columns: of the same gaps, how many only this context got right.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from held_out import coverage, scores, write
from midspan.engine import Engine, Infill, InfillRequest
from midspan.engine.training.cases import Case, Folders, cases
from midspan.engine.training.corpus import Documents, cache_directory
from midspan.grammars import Syntax
from midspan.lsp.complete import Snapshot
from midspan.lsp.context.around import Around
from midspan.lsp.context.gather import Context, Gatherer
from midspan.lsp.settings.exclusions import Exclusions
from midspan.lsp.settings.settings import REACHES
from rich.console import Console
from rich.progress import track
from rich.table import Table

RESULTS = Path(__file__).with_name("context.csv")
KINDS = {"rest": 32, "line": 32, "lines": 64}  # and the tokens asked for
WITH, WITHOUT = REACHES[0], REACHES[-1]


@dataclass(frozen=True)
class Workspace:
    """The packages of a split as folders below `root`, which is what an editor would have open."""

    root: Path
    language: str
    gatherer: Gatherer

    @classmethod
    def laid_out(cls, root: Path, split: str, language: str) -> Workspace:
        documents = Documents(split, language)
        for path, text in zip(Folders(documents).paths, documents, strict=True):
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", newline="")
        return cls(root, language, Gatherer())

    def context(self, case: Case, reach: str, engine: Engine) -> Context:
        text = case.prefix + case.suffix
        uri = (self.root / case.path).as_uri()
        snapshot = Snapshot(uri, 1, self.language, text, len(case.prefix), len(case.prefix))
        around = Around(roots=(self.root,), exclusions=Exclusions((), [self.root.as_posix()]), reach=reach)
        has = engine.limits
        syntax = Syntax.parse(text, self.language)
        return self.gatherer.gather(snapshot, syntax, around, has.prefix_tokens, has.context_tokens)


def measure(engine: Engine, workspace: Workspace, kind: str, found: Sequence[Case], console: Console) -> list[dict]:
    """One row with context and one without, of the same gaps."""
    truths = [case.truth.strip() for case in found]
    infills: dict[str, list[Infill]] = defaultdict(list)
    seconds: dict[str, list[float]] = defaultdict(list)
    for case in track(found, description=f"{workspace.language} {kind}: {len(found)} gaps", console=console):
        for reach in (WITHOUT, WITH):
            begun = time.process_time()
            context = workspace.context(case, reach, engine)
            request = InfillRequest(
                case.prefix,
                case.suffix,
                KINDS[kind],
                kind != "lines",
                document=reach,  # neither finds the prefix encoded by the other
                context=context.shown,
                library=context.library,
            )
            infills[reach].append(engine.infill(request))
            seconds[reach].append(time.process_time() - begun)
    right = {
        reach: [one.text.strip() == truth for one, truth in zip(infills[reach], truths, strict=True)]
        for reach in infills
    }
    rows = []
    for reach, other in ((WITHOUT, WITH), (WITH, WITHOUT)):
        sure = coverage(infills[reach], truths)
        rows.append(
            {
                "language": workspace.language,
                "gap": kind,
                "context": reach,
                "gaps": len(found),
                **scores([one.text for one in infills[reach]], truths),
                "exact_at_25": next(row["exact"] for row in sure if row["share"] == 25),
                "borrowed": round(100 * mean("library" in one.source for one in infills[reach]), 1),
                "cpu_ms_p50": round(1000 * median(seconds[reach])),
                "only_here": sum(mine and not theirs for mine, theirs in zip(right[reach], right[other], strict=True)),
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--split", default="val", choices=("val", "tune"))
    parser.add_argument("--cases", type=int, default=250, help="gaps of each kind in Python, half as many in others")
    parser.add_argument("--languages", nargs="+", default=["python", "typescript"])
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
    for language in args.languages:
        with tempfile.TemporaryDirectory() as folder:
            workspace = Workspace.laid_out(Path(folder).resolve(), args.split, language)
            for kind in KINDS:
                n_cases = args.cases if language == "python" else args.cases // 2
                rows += measure(engine, workspace, kind, cases(args.split, kind, n_cases, 0, language), console)
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console.print(table)
    if not args.no_write:
        write(RESULTS, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
