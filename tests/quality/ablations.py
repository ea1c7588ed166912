"""What each choice of the training is worth: the same CPU seconds with one thing changed.

    python tests/quality/ablations.py [--minutes 5] [--start CHECKPOINT] [--only ARM ...]

Every arm is one process with one thread that trains until its own CPU clock has counted the minutes (compiling left
out), with the same seed and data. All are measured on one held-out set (`validation.held`) and by the gaps that the
canvas alone, without drafts, fills exactly. An arm whose run is there goes on where it stopped, one that stands in
`ablations.csv` is done. Short runs rank what learns fast; they do not say where a long one ends: from scratch, minutes
of one core are over before anything is learnt. So arms can go on from a run's checkpoint before its decay and decay to
nothing; those whose network or optimiser is another one cannot, and are left out, and other noise starts from what was
taught with masks.

val_left, val_told and val_end say what fill-in-the-middle branches are worth: a gap's text by the causal mode as it
writes on, told of the suffix, and the end of that text. The baseline was never taught to be told.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import sheet
import torch
from midspan.engine import Engine, InfillRequest
from midspan.engine.filling.method import Method
from midspan.engine.training.cases import cases
from midspan.engine.training.corpus import cache_directory
from midspan.engine.training.examples import Shape
from midspan.engine.training.export import export
from midspan.engine.training.runs import Run, trained_network
from midspan.engine.training.validation import held, measure, measure_branches
from tokenizers import Tokenizer

CSV = Path(__file__).with_name("ablations.csv")
# The two runs that differ in nothing but the seed say what a difference is worth.
ARMS: dict[str, list[str]] = {
    "baseline": [],
    "other seed": ["--seed", "1"],
    "uniform noise": ["--noise", "uniform"],
    "no causal loss": ["--causal-weight", "0"],
    "dense": ["--shape", "mini-dense"],
    "canvas loss twice": ["--canvas-weight", "2"],
    "4 canvases": ["--canvases", "4"],
    "16 canvases": ["--canvases", "16"],
    "8 branches": ["--branches", "8"],
    "AdamW": ["--adam"],
    "context 256": ["--length", "256", "--docs", "16"],
    "context 1024": ["--length", "1024", "--docs", "4", "--shape", "mini-long"],
    "decay 0.85": ["--decay", "0.85"],
}
FROM_SCRATCH = {"dense", "AdamW", "decay 0.85"}
GO_ON = ["--rate", "0.5", "--decay", "1"]
GAPS = 256
FILLS = 100


def origin(start: str) -> str:
    """What the table says of a checkpoint to go on from: the run's name and the checkpoint's; none: "scratch"."""
    return "-".join(Path(start).parts[-2:]) if start else "scratch"


def train(arm: str, minutes: float, start: str) -> str:
    """The arm's run, finished; its name. start: a checkpoint to go on from, or empty. Raises CalledProcessError."""
    name = f"ablation-{arm.replace(' ', '-').replace('.', '')}" + (f"-from-{origin(start)}" if start else "")
    if not Run(name).has("final"):
        options = [
            "--name",
            name,
            "--minutes",
            str(minutes),
            "--cpu-clock",
            "--processes",
            "1",
            *("--branches", "0", "--functions", "0"),
            *ARMS[arm],
        ]
        options += ["--start", start, *GO_ON] if start else []
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-m", "midspan.engine.training.train", *options], check=True, env=environment)
    return name


def measured(name: str) -> dict[str, object]:
    """What the table says of a finished run."""
    network, clock = trained_network(name, "final")
    tokenizer = Tokenizer.from_file(str(cache_directory() / "tokenizer" / "tokenizer.json"))
    n_prefix = clock["length"] - Shape.n_slots
    gaps = held(tokenizer, GAPS)
    losses = measure(network.to(torch.bfloat16), gaps, n_prefix, clock["noise"])
    losses |= measure_branches(network, gaps, n_prefix)
    return {
        "cpu_seconds": round(clock["seconds"]),
        "steps": clock["step"],
        "tokens": clock["tokens"],
        **{key: round(value, 3) for key, value in losses.items()},
        **{f"exact_{kind}": exact_match(name, kind) for kind in ("rest", "line")},
    }


def exact_match(name: str, kind: str) -> float:
    """Percent of held-out gaps that the canvas alone fills exactly, by the engine's own decoding."""
    found = cases("val", kind, FILLS, seed=0)
    with tempfile.TemporaryDirectory() as directory:
        export(name, "final", Path(directory))
        engine = Engine.load(Path(directory), threads=1)
        method = Method(drafts=False)
        asked = (engine.infill(InfillRequest(one.prefix, one.suffix, 32, True, method=method)) for one in found)
        right = [infill.text.strip() == one.truth.strip() for infill, one in zip(asked, found, strict=True)]
    return round(100 * sum(right) / len(right), 1)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=5, help="CPU minutes of every arm")
    parser.add_argument("--start", default="", help="the checkpoint that all go on from: a path without suffix")
    parser.add_argument("--only", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--table", type=Path, default=CSV)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    if args.table.exists():
        with args.table.open(newline="") as file:
            rows += csv.DictReader(file)
    for arm in args.only:
        here = {"arm": arm, "start": origin(args.start)}
        if any(here.items() <= done.items() for done in rows) or (args.start and arm in FROM_SCRATCH):
            continue
        rows.append(here | measured(train(arm, args.minutes, args.start)))
        print(json.dumps(rows[-1]), flush=True)
        sheet.write(args.table, rows, list(rows[-1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
