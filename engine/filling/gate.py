"""How likely a candidate is to be exactly what belongs in the gap.

A logistic model over what drafting and denoising give for free. The same probability ranks the candidates and decides
whether the best is worth showing. Its weights belong to a checkpoint (`gate.json`) and are fitted on packages that
neither training nor evaluation sees. Knows nothing of networks or text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..checkpoints.checkpoint import read_json
from ..errors import EngineError
from .openings.kinds import KINDS

GATE = "gate.json"
FEATURES = (
    "bias",
    "right",  # log p of what stands right behind this candidate (`Proposals.evidence`), nats
    "right_margin",  # the same, less the best of the other candidates
    "mean",  # mean log p of the candidate's tokens and the one behind, nats
    "total",  # sum of them
    "copy",
    "library",  # a copy from another file
    "causal",
    "canvas",
    "match",  # log(1 + characters of context that agree), copies only
    "library_match",  # the same of a copy from another file alone
    "empty",
    "length",  # log(1 + tokens)
    *KINDS,  # 1, a half, a third: it has the first, second, third opening that was proposed, which is of this kind
    "against",  # telling openings were proposed, and it has none of them
    "misfit",  # what stands around the gap does not allow it
    "repeats",  # it is the line above or below
    "busies",  # mentions a name that nothing else uses
    "calm",  # exp(-mean entropy) of the canvas that gave this text
)


@dataclass(frozen=True)
class Signs:
    """What is known about one candidate; sources: who proposed this very text; opening, place: of which kind the
    opening is that it has, and which one of them; against: it has none of those that were proposed."""

    sources: frozenset[str]
    right: float
    mean: float
    n_tokens: int
    match: int = 0
    calm: float = 0.0
    empty: bool = False
    opening: str = ""
    place: int = 0
    against: bool = False
    misfit: bool = False
    repeats: bool = False
    busies: bool = False


def features(signs: Sequence[Signs]) -> list[list[float]]:
    """One row of FEATURES per candidate; all candidates of one gap together."""
    rows = []
    for i, one in enumerate(signs):
        own = "copy" in one.sources
        others = [other.right for j, other in enumerate(signs) if j != i]
        rows.append(
            [
                1.0,
                one.right / 10,
                max(-2.0, min(2.0, (one.right - max(others)) / 10)) if others else 0.0,
                one.mean,
                one.mean * (one.n_tokens + 1) / 10,
                float(own),
                float("library" in one.sources),
                float("causal" in one.sources),
                float("canvas" in one.sources),
                math.log1p(one.match) if own else 0.0,
                0.0 if own else math.log1p(one.match),
                float(one.empty),
                math.log1p(one.n_tokens),
                *(float(one.opening == kind) / (1 + one.place) for kind in KINDS),
                float(one.against),
                float(one.misfit),
                float(one.repeats),
                float(one.busies),
                one.calm,
            ]
        )
    return rows


@dataclass(frozen=True)
class Gate:
    """weights of FEATURES; inside: of a gap behind which its line goes on. There the suffix says more, and what is
    right is shorter."""

    weights: tuple[float, ...]
    inside: tuple[float, ...]

    def probabilities(self, signs: Sequence[Signs], inside: bool) -> list[float]:
        """Per candidate, 0..1. They are not shares of one whole: none of the candidates may be right."""
        weights = self.inside if inside else self.weights
        return [
            1 / (1 + math.exp(-max(-30.0, min(30.0, sum(w * x for w, x in zip(weights, row, strict=True))))))
            for row in features(signs)
        ]

    @classmethod
    def load(cls, directory: Path) -> Gate:
        """The checkpoint's fitted weights; without a file, a plain guess. Raises EngineError for a bad file."""
        path = directory / GATE
        if not path.exists():
            return cls.from_weights(GUESS)
        try:
            content = read_json(path)
            return cls.from_weights(content["weights"], content.get("inside", content)["weights"])
        except (ValueError, KeyError, TypeError) as error:
            raise EngineError(f"{GATE} is not a fitted gate: {error}") from error

    @classmethod
    def from_weights(cls, weights: Mapping[str, float], inside: Mapping[str, float] | None = None) -> Gate:
        """inside None: the same everywhere. Raises ValueError when the names are not FEATURES."""
        found = []
        for one in (weights, weights if inside is None else inside):
            if set(one) != set(FEATURES):
                raise ValueError(f"weights must be {', '.join(FEATURES)}")
            found.append(tuple(float(one[name]) for name in FEATURES))
        return cls(*found)


GUESS = dict.fromkeys(FEATURES, 0.0) | {
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
