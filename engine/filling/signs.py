"""What is known about the candidates for one gap, as the numbers that a gate judges them by.

What drafting and denoising give for free, and what can be read off the texts. Knows nothing of networks, gaps or how a
gate weighs it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..prompts.healing import in_word
from .openings.kinds import KINDS
from .words import NEW, NOTHING, USED

ENDS, LAST, INSIDE = "ends", "last", "inside"
SITES = (ENDS, LAST, INSIDE)
"""Where a gap may be: at the end of its line; at the end of its block too, where nobody knows whether it is being
written still; or with more of its line behind it, where the suffix says most and what is right is shorter."""

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
    "begun",  # its line has text in front of the gap
    "last",  # nothing of its block stands below
    "leaves",  # nothing else of its block would run behind it
    "calm",  # exp(-mean entropy) of the canvas that gave this text
    "rivals",  # log of the number of candidates
    "begun_by",  # log(1 + other candidates that go on where it ends)
    "goes_on",  # log(1 + other candidates that end where it goes on)
    "word_first",  # its first character belongs to a word
    "space_first",
    "word_last",
    "space_last",
    "new_word",  # its end and what stands right of the gap are one word, which nothing else uses
    "used_word",  # the same, but the word is used elsewhere
)


@dataclass(frozen=True)
class Signs:
    """What is known about one candidate; sources: who proposed this very text; opening, place: of which kind the
    opening is that it has, and which one of them; against: it has none of those that were proposed; word: what its end
    makes of the word right of the gap (`words`)."""

    sources: frozenset[str]
    right: float
    mean: float
    n_tokens: int
    match: int = 0
    calm: float = 0.0
    text: str = ""
    opening: str = ""
    place: int = 0
    against: bool = False
    misfit: bool = False
    repeats: bool = False
    busies: bool = False
    begun: bool = False
    last: bool = False
    leaves: bool = False
    word: str = NOTHING


def features(signs: Sequence[Signs]) -> list[list[float]]:
    """One row of FEATURES per candidate; all candidates of one gap together."""
    texts = [one.text.strip() for one in signs]
    rows = []
    for i, one in enumerate(signs):
        own, text = "copy" in one.sources, texts[i]
        others = [other.right for j, other in enumerate(signs) if j != i]
        longer = sum(j != i and bool(text) and other.startswith(text) for j, other in enumerate(texts))
        shorter = sum(j != i and bool(other) and text.startswith(other) for j, other in enumerate(texts))
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
                float(not text),
                math.log1p(one.n_tokens),
                *(float(one.opening == kind) / (1 + one.place) for kind in KINDS),
                float(one.against),
                float(one.misfit),
                float(one.repeats),
                float(one.busies),
                float(one.begun),
                float(one.last),
                float(one.leaves),
                one.calm,
                math.log(len(signs)),
                math.log1p(longer),
                math.log1p(shorter),
                float(in_word(one.text[:1])),
                float(one.text[:1].isspace()),
                float(in_word(one.text[-1:])),
                float(one.text[-1:].isspace()),
                float(one.word == NEW),
                float(one.word == USED),
            ]
        )
    return rows
