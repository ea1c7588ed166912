"""Fits the gate on the `tune` packages: `python -m midspan.engine.training.fit_gate [DIRECTORY]`.

Asks the engine for gaps of which the truth is known and learns from every candidate whether it was exactly right:
logistic regression by Newton's method, with a small ridge; one for gaps that end with their line, one for gaps inside
of it. Most gaps come with the files beside theirs, as in a workspace, some alone. Lines of which openings are proposed
(`filling/openings`) are few, so more of them are asked for than come by chance. Writes `gate.json` into the checkpoint
directory.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

from .. import bundled
from ..engine import Engine, InfillRequest
from ..filling.gate import FEATURES, GATE, features
from ..filling.openings.kinds import openings, telling
from .cases import Case, cases

RIDGE = 1.0
SHARES = {"python": 0.5, "javascript": 0.1, "typescript": 0.1, "go": 0.1, "rust": 0.1, "cpp": 0.1}
ALONE = 4  # one gap in so many is filled as if no file stood beside its own
OPENED = 0.4  # of the number of cases, lines that openings say something about, on top
LOOKED_AT = 20  # lines among which one of those is looked for


def fit(rows: np.ndarray, right: np.ndarray, n_steps: int = 50) -> np.ndarray:
    """Weights [F] of the ridge-regularised logistic regression of `right` [N] on `rows` [N, F]."""
    weights = np.zeros(rows.shape[1])
    penalty = RIDGE * np.eye(rows.shape[1])
    for _ in range(n_steps):
        probs = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
        gradient = rows.T @ (probs - right) + penalty @ weights
        curvature = (rows * (probs * (1 - probs))[:, None]).T @ rows + penalty
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-6:
            break
    return weights


def fitted(engine: Engine, found: Sequence[Case], max_tokens: int, name: str) -> dict[str, object]:
    """One set of weights, and what it was fitted on."""
    rows: list[list[float]] = []
    right: list[bool] = []
    for number, case in enumerate(track(found, description=name)):
        library = case.library if number % ALONE else ()
        infill = engine.infill(InfillRequest(case.prefix, case.suffix, max_tokens=max_tokens, library=library))
        rows += features([one.signs for one in infill.candidates if one.signs])
        right += [one.text.strip() == case.truth.strip() for one in infill.candidates if one.signs]
    weights = fit(np.array(rows), np.array(right, float))
    named = {name: round(float(weight), 4) for name, weight in zip(FEATURES, weights, strict=True)}
    return {"weights": named, "cases": len(found), "candidates": len(rows), "right": sum(right)}


def at_line_ends(n_cases: int) -> list[Case]:
    found = _cases(("rest", "line"), n_cases)
    n_opened = round(OPENED * n_cases)
    lines = cases("tune", "line", LOOKED_AT * n_opened, seed=2)
    return found + [case for case in lines if telling(openings(case.prefix, case.suffix, case.library))][:n_opened]


def _cases(kinds: Sequence[str], n_cases: int) -> list[Case]:
    return [
        case
        for language, share in SHARES.items()
        for kind in kinds
        for case in cases("tune", kind, round(share * n_cases / len(kinds)), seed=1, language=language)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("directory", type=Path, nargs="?", default=Path(bundled.__path__[0]) / "midspan-mini")
    parser.add_argument("--cases", type=int, default=600, help="gaps at the end of a line, and as many inside of one")
    parser.add_argument("--only", choices=("ends", "inside"), help="keep the weights of the others")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(argv)
    engine = Engine.load(args.directory, threads=args.threads)
    path = args.directory / GATE
    content = json.loads(path.read_text(encoding="utf-8")) if args.only else {}
    if args.only != "inside":
        content |= fitted(engine, at_line_ends(args.cases), 32, "at a line's end")
    if args.only != "ends":
        content["inside"] = fitted(engine, _cases(("inside",), args.cases), 16, "inside of a line")
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(content))
    return 0


if __name__ == "__main__":
    sys.exit(main())
