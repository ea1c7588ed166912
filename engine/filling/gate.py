"""How likely each candidate for a gap is to be exactly what belongs there.

A small network over `signs.FEATURES`, the same for every candidate; the candidates' scores and that of "none of them",
which is 0, become shares of one whole (softmax; McFadden, "Conditional logit analysis", 1974). The same share ranks the
candidates and decides whether the best is worth showing. Its weights belong to a checkpoint (`gate.json`) and are
fitted on packages that neither training nor evaluation sees. Knows nothing of how a sign comes about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoints.checkpoint import read_json
from ..errors import EngineError
from .signs import FEATURES, SITES, Signs, features

GATE = "gate.json"


@dataclass(frozen=True)
class Scorer:
    """linear [F] + out [H] · tanh(hidden [H, F]) of a candidate's features [F]; H may be 0."""

    linear: np.ndarray
    hidden: np.ndarray
    out: np.ndarray

    def shares(self, rows: np.ndarray) -> np.ndarray:
        """Of each of the candidates of one gap with features `rows` [N, F]: [N], 0..1, in sum less than 1."""
        scores = rows @ self.linear + np.tanh(rows @ self.hidden.T) @ self.out
        scores = np.append(scores, 0.0)  # none of them
        shares = np.exp(scores - scores.max())
        return np.asarray((shares / shares.sum())[:-1])

    def content(self) -> dict[str, Any]:
        """As `gate.json` has it."""
        parts = {"linear": self.linear, "hidden": self.hidden, "out": self.out}
        return {name: part.astype(np.float64).round(4).tolist() for name, part in parts.items()}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Scorer:
        """Raises KeyError, TypeError or ValueError where that is no `content`."""
        linear, out = (np.array(content[name], np.float64) for name in ("linear", "out"))
        hidden = np.array(content["hidden"], np.float64).reshape(len(out), len(FEATURES))
        if linear.shape != (len(FEATURES),) or not all(np.isfinite(part).all() for part in (linear, hidden, out)):
            raise ValueError(f"weights are {len(FEATURES)} numbers")
        return cls(linear, hidden, out)


@dataclass(frozen=True)
class Gate:
    """scorers: one for each of `signs.SITES`."""

    scorers: Mapping[str, Scorer]

    def probabilities(self, signs: Sequence[Signs], site: str) -> list[float]:
        """Per candidate of one gap, 0..1; what they leave of 1 is for none of them."""
        rows = np.array(features(signs)).reshape(-1, len(FEATURES))
        return [float(share) for share in self.scorers[site].shares(rows)]

    @classmethod
    def load(cls, directory: Path) -> Gate:
        """The checkpoint's fitted weights; without a file, a plain guess. Raises EngineError for a bad file."""
        path = directory / GATE
        if not path.exists():
            return GUESS
        try:
            content = read_json(path)
            if tuple(content["features"]) != FEATURES:
                raise ValueError("it was fitted to other features")
            return cls({site: Scorer.of(content[site]) for site in SITES})
        except (ValueError, KeyError, TypeError) as error:
            raise EngineError(f"{GATE} is not a fitted gate: {error}") from error


def _guess(weights: Mapping[str, float]) -> Scorer:
    linear = np.array([weights.get(name, 0.0) for name in FEATURES])
    return Scorer(linear, np.zeros((0, len(FEATURES))), np.zeros(0))


PLAIN = _guess(
    {
        "bias": 0.5,
        "right": 1.0,
        "right_margin": 1.0,
        "mean": 1.5,
        "total": 0.3,
        "copy": 0.4,
        "library": 0.4,
        "causal": 0.2,
        "match": 0.2,
        "library_match": 0.2,
        "empty": -1.0,
    }
)
GUESS = Gate(dict.fromkeys(SITES, PLAIN))
