"""What is asked of an engine, and what it answers. Values; knows nothing of networks, editors or syntax."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .denoise import never
from .filling.gap import Candidate, Check
from .filling.method import Method


@dataclass(frozen=True)
class InfillRequest:
    """prefix, suffix: all of the text before and after the gap, of any length; the engine takes what it can use.

    max_tokens: a hint for the gap's size, rounded up to one the checkpoint was trained with.
    seed: 0 takes the likeliest token of every accepted slot; any other draws them, for another fill.
    document: key under which the encoded prefix is kept between requests.
    deadline: time.monotonic() seconds; the fill so far is the answer. cancelled: true means the answer is unwanted.
    Both are polled at every denoise step.
    context: text to know beforehand (imports, signatures, other files), whole lines, the most important first; the
    encoding of the prefix is kept between requests only while it stays the same.
    library: texts of other files that drafts may be taken from, those of most worth first; no network is shown them, so
    they may be long. What is made of them is kept while they stay the same. Without any, the context serves.
    draft: what the gap's text may be, say, the rest of an earlier answer of which the beginning was typed by now. The
    canvas starts warm from it: what the network, seeing all of it, has no doubt about stays, the rest is denoised
    again; a draft that is mostly doubted is dropped. Fewer steps, and an answer that does not jump while it is typed.
    check: given a whole fill, the character ranges [start, end) of it that are suspect (an empty one: something is
    missing there); none means it is fine. Fills that pass come before those that do not, and what fails is repaired.
    several: other fills than the best are wanted as well: more of them are looked for, which takes longer.
    method: how to fill; None as the checkpoint does best. One that is given decides about that, too.
    """

    prefix: str
    suffix: str
    max_tokens: int = 32
    single_line: bool = True
    seed: int = 0
    document: str = ""
    deadline: float | None = None
    cancelled: Callable[[], bool] = never
    context: str = ""
    library: tuple[str, ...] = ()
    draft: str = ""
    check: Check | None = None
    several: bool = False
    method: Method | None = None


@dataclass(frozen=True)
class Infill:
    """A gap's text. Empty when nothing is missing, when cancelled, or when the deadline came before the first step.

    source: who proposed the text, e.g. "canvas" or "canvas+causal", "repair" where a check had it denoised again;
    candidates: all that were judged, best first.
    tokens, entropies: of the text, healed seams included; entropies, nats per token, of a text the canvas gave, empty
    for others.
    steps: denoise steps, repair included; several canvases denoised as one batch count once.
    confidence: the gate's probability that the text is exactly right; for a checkpoint without a gate exp(-mean
    entropy) over the tokens and the decision where they end; 0 when there was no time for either.
    timings: seconds of "tokenize", "encode", "draft" (of a rewrite: its causal doubt), "denoise", "rank", "check",
    those that there were.
    """

    text: str
    tokens: tuple[int, ...]
    entropies: tuple[float, ...]
    steps: int
    stop: str  # "converged" | "budget" | "deadline" | "cancelled"; of a rewrite also "too long"
    timings: dict[str, float]
    confidence: float
    source: str = ""
    candidates: tuple[Candidate, ...] = ()
