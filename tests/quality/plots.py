"""Draws what `make quality` measured: exact match against coverage, and the losses of the training run.

Reads `coverage.csv` and `training.jsonl`, writes `coverage.svg` and `training.svg`, all next to this file.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from statistics import mean

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "midspan"  # the same figures give the same file
from matplotlib import pyplot as plt  # noqa: E402

HERE = Path(__file__).parent
WINDOW = 8  # lines of the log in a point
LABELS = {
    "rest": "rest of a line",
    "line": "whole line",
    "next": "next line of a block that is being written",
    "lines": "two to four lines",
}


def coverage() -> None:
    with (HERE / "coverage.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["language"] == "python"]
    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for kind, label in LABELS.items():
        mine = [row for row in rows if row["gap"] == kind]
        axes.plot([int(row["share"]) for row in mine], [float(row["exact"]) for row in mine], label=label)
    axes.set(xlabel="share of gaps shown, surest first, %", ylabel="exactly right, %", xlim=(0, 100), ylim=(0, 100))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(HERE / "coverage.svg", metadata={"Date": None})


def training() -> None:
    """The losses of the training itself: those on held-out gaps are of different sets in different runs."""
    lines = [json.loads(line) for line in (HERE / "training.jsonl").read_text().splitlines()]
    trained = [line for line in lines if "lr" in line]
    windows = [trained[i : i + WINDOW] for i in range(0, len(trained), WINDOW)]
    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for key, label in (("causal", "causal"), ("canvas", "canvas")):
        points = [(mean(one["tokens"] for one in part) / 1e6, mean(one[key] for one in part)) for part in windows]
        axes.plot(*zip(*points, strict=True), label=label)
    axes.set(xlabel="document tokens, millions", ylabel="nats per token", ylim=(1.5, 7))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(HERE / "training.svg", metadata={"Date": None})


if __name__ == "__main__":
    coverage()
    training()
    sys.exit()
