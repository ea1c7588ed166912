"""What fewer bytes and fewer steps cost: `python tests/quality/sizes.py`.

Writes the bundled checkpoint anew with int8 weights, and with other limits of denoise steps, and lets each fill the
same held-out gaps: by the engine as it is shipped, and by the canvas alone. `same` counts the gaps filled with the very
text that the bundled checkpoint gives. CPU milliseconds are of this process, one thread. Writes `sizes.csv`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import sheet
import torch
from midspan.engine import Engine, InfillRequest, bundled
from midspan.engine.checkpoints import checkpoint
from midspan.engine.filling.method import Method
from midspan.engine.training.cases import Case, cases
from midspan.engine.training.int8 import save_int8
from rich.progress import track

CSV = Path(__file__).with_name("sizes.csv")
MODEL = Path(bundled.__path__[0]) / "midspan-mini"
FIELDS = ("weights", "mb", "step_limit", "fill", "gaps", "exact_rest", "exact_line", "same", "steps", "cpu_ms")
STEPS = (1, 2, 3, 5, 8)
SHIPPED = 5


def variant(directory: Path, weights: str, limit: int) -> Path:
    """The bundled checkpoint with other weights and another limit of denoise steps."""
    shutil.copytree(MODEL, directory)
    if weights == "int8":
        network, _ = checkpoint.load(MODEL)
        save_int8(network, directory)
    settings = directory / "generation_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"max_denoising_steps": limit}))
    return directory


def fills(engine: Engine, found: Sequence[Case], drafts: bool, label: str) -> list[tuple[str, int, float]]:
    """Text, steps and CPU seconds of each gap."""
    answers = []
    method = None if drafts else Method(drafts=False)
    for case in track(found, description=label):
        start = time.process_time()
        infill = engine.infill(InfillRequest(case.prefix, case.suffix, 32, True, method=method))
        answers.append((infill.text, infill.steps, time.process_time() - start))
    return answers


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cases", type=int, default=75, help="of each kind of gap")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    kinds = ("rest", "line")
    found = [case for kind in kinds for case in cases("val", kind, args.cases, seed=5)]
    rows: list[dict[str, object]] = []
    shipped: dict[bool, list[str]] = {}
    variants = [("bf16", SHIPPED), ("int8", SHIPPED), *(("bf16", limit) for limit in STEPS if limit != SHIPPED)]
    for weights, limit in variants:
        with tempfile.TemporaryDirectory() as folder:
            directory = variant(Path(folder) / "model", weights, limit)
            size = sum(file.stat().st_size for file in directory.iterdir()) / 1e6
            engine = Engine.load(directory, threads=1)
            for drafts in (True, False):
                label = "engine" if drafts else "canvas alone"
                given = fills(engine, found, drafts, f"{weights}, {limit} steps, {label}")
                texts = [text for text, _, _ in given]
                same = shipped.setdefault(drafts, texts)
                right = [text.strip() == case.truth.strip() for text, case in zip(texts, found, strict=True)]
                values = (weights, round(size, 1), limit, label, len(found))
                exact = (round(100 * mean(part), 1) for part in (right[: args.cases], right[args.cases :]))
                alike = round(100 * mean(a == b for a, b in zip(texts, same, strict=True)), 1)
                steps = round(mean(one[1] for one in given), 1)
                cpu = round(1000 * mean(one[2] for one in given))
                rows.append(dict(zip(FIELDS, (*values, *exact, alike, steps, cpu), strict=True)))
        sheet.write(CSV, rows, FIELDS)
    sheet.show(rows, FIELDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
