"""One gap: drafts, a denoised canvas, and the choice between them.

For a checkpoint without a gate the canvas alone is the answer. With one, copies and a causal draft stand beside the
canvas, the causal mode says how well the suffix follows from each, and the gate picks. Knows nothing of requests,
checkpoints' files, or what the text is for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch

from .cache import KVCache
from .canvas import Canvas, bucket
from .denoise import CANCELLED, CONVERGED, Alphabet, Denoised, Patience, denoise
from .drafts import CANVAS, CAUSAL, COPY, REACH, causal, copies, evidence
from .gate import Gate, Signs
from .network import Network
from .sampler import SamplerConfig
from .tokens import Tokens, banned_ids

N_COPIES = 4
MOST_CHARACTERS = 8  # of a copy, per slot of the gap
OPEN_END = 1.0  # nats; stands for the end of a text that fills its gap to the last slot: it was not seen to end
RIGHT_TOKENS = 8  # of the suffix's head that a candidate is judged by


@dataclass(frozen=True)
class Gap:
    """What is to be filled. prefix, suffix: all text around it; prefix_ids: what `cache` holds of it.

    pinned_ids: the suffix's head, as much as a canvas could show.
    """

    prefix: str
    suffix: str
    prefix_ids: Sequence[int]
    pinned_ids: Sequence[int]
    cache: KVCache
    n_slots: int
    single_line: bool
    seed: int


@dataclass(frozen=True)
class Candidate:
    """A text for the gap. sources: who proposed it; probability: the gate's, that it is exactly right; without a gate
    the canvas' own calmness."""

    text: str
    ids: tuple[int, ...]
    sources: frozenset[str]
    match: int = 0
    denoised: Denoised | None = None
    signs: Signs | None = None
    probability: float = 0.0


@dataclass(frozen=True)
class Filled:
    """The best candidate (None: cancelled, or no time for any), all of them, and how the canvas ended."""

    best: Candidate | None
    candidates: tuple[Candidate, ...]
    denoised: Denoised


class Filler:
    """Fills gaps with one network. Stateless but for memoised line tokens."""

    def __init__(
        self,
        network: Network,
        tokens: Tokens,
        sampler: SamplerConfig,
        alphabet: Alphabet,
        gate: Gate | None,
        gap_buckets: Sequence[int],
        canvas_tokens: int,
    ) -> None:
        self._network, self._tokens, self._sampler, self._alphabet = network, tokens, sampler, alphabet
        self._gate, self._buckets, self._canvas_tokens = gate, gap_buckets, canvas_tokens
        writable = alphabet.end_token_ids
        if alphabet.delete_token_id is not None:
            writable = frozenset((alphabet.delete_token_id,))
        device = network.device
        self._banned = {single: banned_ids(tokens, writable, single).to(device) for single in (False, True)}
        self._unwritable = banned_ids(tokens, frozenset(), False).to(device)
        self._newlines = frozenset(tokens.newline.nonzero().squeeze(1).tolist())
        self._line_ids = lru_cache(maxsize=8192)(lambda line: np.array(tokens.encode(line), np.int64))

    def fill(self, gap: Gap, patience: Patience, lap: Callable[[str], None]) -> Filled:
        """lap: called with a stage's name when the stage is over."""
        drafts: list[Candidate] = []
        if self._gate is not None:
            drafts = self._drafts(gap, patience)
            lap("draft")
        denoised = self._denoise(gap, patience)
        lap("denoise")
        if denoised.stop == CANCELLED:
            return Filled(None, (), denoised)
        candidates = drafts
        if denoised.steps or denoised.stop == CONVERGED:
            text, calm = self._tokens.decode(denoised.ids), calmness(denoised, self._alphabet)
            canvas = Candidate(text, denoised.ids, frozenset((CANVAS,)), denoised=denoised, probability=calm)
            candidates = [*drafts, canvas]
        if self._gate is not None and candidates:
            candidates = self._ranked(gap, merged(candidates), self._gate)
            lap("rank")
        return Filled(candidates[0] if candidates else None, tuple(candidates), denoised)

    def _denoise(self, gap: Gap, patience: Patience) -> Denoised:
        generator = torch.Generator(self._network.device).manual_seed(gap.seed)
        noise = self._alphabet.noise.draw(bucket(self._buckets, gap.n_slots), generator)
        pinned = torch.tensor(gap.pinned_ids, dtype=torch.int64, device=self._network.device)
        canvas = Canvas.start(noise, pinned, self._canvas_tokens)
        sampler = replace(self._sampler, greedy=self._sampler.commits and gap.seed == 0)
        banned = self._banned[gap.single_line]
        return denoise(self._network, gap.cache, canvas, sampler, self._alphabet, banned, generator, patience)

    def _drafts(self, gap: Gap, patience: Patience) -> list[Candidate]:
        found = [
            Candidate(draft.text, tuple(self._tokens.encode(draft.text)), frozenset((COPY,)), draft.match)
            for draft in copies(gap.prefix, gap.suffix, N_COPIES)
            if len(draft.text) <= MOST_CHARACTERS * gap.n_slots
        ]
        end_ids = self._newlines if gap.single_line else frozenset()
        ids, ended = causal(
            self._network,
            gap.cache,
            gap.prefix_ids,
            self._file_ids(gap),
            self._unwritable,
            end_ids,
            gap.n_slots,
            patience.lost,
        )
        if ended or not gap.single_line:
            for n_kept in cuts(self._tokens, ids, gap.suffix, gap.single_line):
                kept = tuple(ids[:n_kept])
                found.append(Candidate(self._tokens.decode(kept), kept, frozenset((CAUSAL,))))
        if gap.single_line and gap.suffix.split("\n", 1)[0].strip():
            found += [self._closed(one) for one in found if 0 < unopened(one.text) < len(one.text)]
        return found

    def _closed(self, draft: Candidate) -> Candidate:
        """The draft up to the bracket that closes what was opened left of the gap."""
        text = draft.text[: unopened(draft.text)].rstrip()
        return replace(draft, text=text, ids=tuple(self._tokens.encode(text)))

    def _file_ids(self, gap: Gap) -> np.ndarray:
        """Token ids of the text around the gap, -1 where the gap is."""
        before, after = gap.prefix[-REACH:], gap.suffix[:REACH]
        pieces = [self._line_ids(line) for line in before.splitlines(keepends=True)]
        pieces.append(np.array([-1], np.int64))
        pieces += [self._line_ids(line) for line in after.splitlines(keepends=True)]
        return np.concatenate(pieces)

    def _ranked(self, gap: Gap, candidates: list[Candidate], gate: Gate) -> list[Candidate]:
        right = list(gap.pinned_ids[:RIGHT_TOKENS])
        scores = evidence(self._network, gap.cache, gap.prefix_ids, [one.ids for one in candidates], right)
        signs = [
            Signs(
                sources=one.sources,
                right=right_score,
                mean=mean,
                n_tokens=len(one.ids),
                match=one.match,
                calm=calmness(one.denoised, self._alphabet) if one.denoised else 0.0,
                empty=not one.text.strip(),
            )
            for one, (right_score, mean) in zip(candidates, scores, strict=True)
        ]
        judged = [
            replace(one, signs=sign, probability=probability)
            for one, sign, probability in zip(candidates, signs, gate.probabilities(signs), strict=True)
        ]
        return sorted(judged, key=lambda one: -one.probability)


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


def unopened(text: str) -> int:
    """Where in `text` the first bracket is closed that `text` does not open; its length if there is none."""
    depth = 0
    for at, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth < 0:
            return at
    return len(text)


def cuts(tokens: Tokens, ids: Sequence[int], suffix: str, single_line: bool, most: int = 3) -> list[int]:
    """Where a causal draft may end, in tokens.

    In one line: at its end, or before what stands right of the gap begins; the causal mode does not see the suffix, so
    it writes on past the gap, `a, b)` where only `a, b` is missing. Over several lines: at the end of any whole line.
    """
    pieces = [tokens.decode([id_]) for id_ in ids]
    if not single_line:
        ends = [n for n, piece in enumerate(pieces) if piece == "\n" and "".join(pieces[:n]).strip()]
        return ends[:most] or [len(ids)]
    rest = suffix.split("\n", 1)[0].lstrip()
    before_rest = [n for n, piece in enumerate(pieces) if rest and piece.lstrip()[:1] == rest[:1]]
    return [len(ids), *before_rest[-most:]]


def calmness(denoised: Denoised, alphabet: Alphabet) -> float:
    """exp(-mean entropy) over the tokens and, for a checkpoint that says where its text ends, that decision; 0..1."""
    decisions = list(denoised.entropies)
    if denoised.end_entropy is not None:
        decisions.append(denoised.end_entropy)
    elif alphabet.delete_token_id is not None:
        decisions.append(OPEN_END)
    return math.exp(-sum(decisions) / len(decisions)) if decisions else 0.0
