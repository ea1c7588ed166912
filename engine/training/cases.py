"""Gaps with known answers, cut out of packages that training never sees; for fitting (`tune`) and measuring (`val`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .corpus import Documents
from .examples import cut_point

LONGEST_LINE = 120


@dataclass(frozen=True)
class Case:
    """prefix + truth + suffix is a whole file; the truth ends where its line does."""

    prefix: str
    truth: str
    suffix: str


def cases(split: str, kind: str, n_cases: int, seed: int) -> list[Case]:
    """kind "line": all of a line behind its indentation; "rest": from a place inside it on. Lines by their share of
    the text, so long files count for more."""
    documents = Documents(split, "python")
    shares = documents.sizes / documents.sizes.sum()
    rng = np.random.default_rng(seed)
    found: list[Case] = []
    while len(found) < n_cases:
        text = documents[int(rng.choice(len(documents), p=shares))]
        at = int(rng.integers(0, len(text)))
        start, end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
        line = text[start:end]
        if end < 0 or not line.strip() or len(line) > LONGEST_LINE:
            continue
        indent = len(line) - len(line.lstrip())
        cut = start + (indent if kind == "line" else cut_point(line, indent, rng))
        begun = text[start:cut].strip()
        if text[cut:end].strip() and (kind == "line" or begun):
            found.append(Case(text[:cut], text[cut:end], text[end:]))
    return found
