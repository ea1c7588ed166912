"""Gaps with known answers, cut out of packages that training never sees; for fitting (`tune`) and measuring (`val`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .corpus import Documents
from .examples import cut_point

LONGEST_LINE = 120
MOST_LINES = 4


@dataclass(frozen=True)
class Case:
    """prefix + truth + suffix is a whole file; the truth ends where a line does."""

    prefix: str
    truth: str
    suffix: str


def cases(split: str, kind: str, n_cases: int, seed: int, language: str = "python") -> list[Case]:
    """kind "line": all of a line behind its indentation; "rest": from a place inside it on; "lines": two to MOST_LINES
    lines, none of them blank. Lines by their share of the text, so long files count for more."""
    documents = Documents(split, language)
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
        cut = start + (cut_point(line, indent, rng) if kind == "rest" else indent)
        begun = text[start:cut].strip()
        if kind == "lines":
            for _ in range(int(rng.integers(1, MOST_LINES))):
                following = text.find("\n", end + 1)
                if following < 0 or not text[end:following].strip():
                    break
                end = following
            if "\n" not in text[cut:end]:
                continue
        if text[cut:end].strip() and (kind != "rest" or begun):
            found.append(Case(text[:cut], text[cut:end], text[end:]))
    return found
