"""One gap, and the texts proposed for it. Values; knows nothing of networks, requests or who proposes what."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ..cache import KVCache
from ..denoise import Alphabet, Denoised
from ..prompts.framed import Framed
from .beams import WIDE, Breadth
from .drafts import Start
from .ngrams import NO_NGRAMS, NGrams
from .openings.kinds import openings
from .openings.line import Opening
from .openings.shape import Surroundings
from .signs import ENDS, INSIDE, LAST, Signs
from .words import Words

OPEN_END = 1.0  # nats; stands for the end of a text that fills its gap to the last slot: it was not seen to end

Check = Callable[[str], Sequence[tuple[int, int]]]
"""A whole text for the gap → the character ranges of it that are suspect; none: it is fine."""


@dataclass(frozen=True)
class Gap:
    """What is to be filled. prefix, suffix: all text around it; frame: what the network is shown of them, `cache` holds
    the encoder's part.

    n_slots: the text's size, guessed. draft: what the text may be, from an earlier answer. check: judges a whole text.
    library: texts of other files, for drafts alone. start, word, breadth, ngrams: what drafts are made with: behind
    what they are written, in front of what word and how broadly they are searched for if they are, and the text's own
    n-grams; beyond: those that do not know the head of the suffix.
    """

    prefix: str
    suffix: str
    frame: Framed
    cache: KVCache
    n_slots: int
    single_line: bool
    seed: int
    draft: str = ""
    check: Check | None = None
    library: tuple[str, ...] = ()
    start: Start | None = None
    word: Start | None = None
    breadth: Breadth = WIDE
    ngrams: NGrams = NO_NGRAMS
    beyond: NGrams = NO_NGRAMS

    @property
    def inside(self) -> bool:
        """Whether its line goes on behind it."""
        return self.single_line and bool(self.suffix.split("\n", 1)[0].strip())

    @property
    def site(self) -> str:
        """One of `signs.SITES`."""
        return INSIDE if self.inside else LAST if self.surroundings.last else ENDS

    @cached_property
    def openings(self) -> list[Opening]:
        """How its line may begin, by what the text on both sides uses."""
        return openings(self.prefix, self.suffix, self.library)

    @cached_property
    def surroundings(self) -> Surroundings:
        return Surroundings.of(self.prefix, self.suffix)

    @cached_property
    def words(self) -> Words:
        return Words.around(self.prefix, self.suffix, self.library)

    def suspects(self, text: str) -> Sequence[tuple[int, int]]:
        """What `check` says about the gap's text as the network writes it, healed seams included."""
        if self.check is None:
            return ()
        bare = self.frame.bare(text)
        if bare is None:
            return [(0, len(text))]
        shift = len(self.frame.typed)
        return [(start + shift, end + shift) for start, end in self.check(bare)]


@dataclass(frozen=True)
class Candidate:
    """A text for the gap. sources: who proposed it; probability: the gate's, that it is exactly right; without a gate
    the canvas' own calmness. ids: of the text with what was healed at the gap's seams. evidence: what
    `Proposals.evidence` said, once it was asked."""

    text: str
    ids: tuple[int, ...]
    sources: frozenset[str]
    match: int = 0
    denoised: Denoised | None = None
    evidence: tuple[float, float] | None = None
    signs: Signs | None = None
    probability: float = 0.0


def merged(candidates: Sequence[Candidate]) -> list[Candidate]:
    """One candidate per text, with all who proposed it."""
    by_text: dict[str, Candidate] = {}
    for one in candidates:
        known = by_text.get(one.text)
        if known is None:
            by_text[one.text] = one
            continue
        by_text[one.text] = replace(
            known,
            sources=known.sources | one.sources,
            match=max(known.match, one.match),
            denoised=known.denoised or one.denoised,
        )
    return list(by_text.values())


def calmness(denoised: Denoised, alphabet: Alphabet) -> float:
    """exp(-mean entropy) over the tokens and, for a checkpoint that says where its text ends, that decision; 0..1."""
    decisions = list(denoised.entropies)
    if denoised.end_entropy is not None:
        decisions.append(denoised.end_entropy)
    elif alphabet.delete_token_id is not None:
        decisions.append(OPEN_END)
    return math.exp(-sum(decisions) / len(decisions)) if decisions else 0.0
