"""What copies and the causal mode propose for a gap: whole texts, cut where the gap seems to end.

Stateless but for what is memoised of texts: a line's tokens, the index of a library. Knows nothing of canvases or of
how candidates are judged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from ..denoise import Patience
from ..network import Network
from ..tokens import Tokens, banned_ids
from .copies import REACH, Draft, Library, copies
from .drafts import CAUSAL, Writing, evidence, greedy, told
from .gap import Candidate, Gap
from .ngrams import NGrams

N_COPIES, N_LIBRARY, N_BEGUN = 4, 3, 2
KEPT_LIBRARIES = 4
OPENING = "opening"  # who proposed a text: a line that begins as the text around it asks for
BORDER = -1  # among token ids: where the gap is
_WORD = re.compile(r"\w+")
RIGHT_TOKENS = 8  # of the suffix' head that a candidate is judged by
MOST_CHARACTERS = 8  # of a copy, per slot of the gap


class Proposals:
    def __init__(self, network: Network, tokens: Tokens, end_id: int | None, n_told: int, offset: int) -> None:
        """n_told: tokens of the suffix that the causal mode is told of, 0: of none; offset: how far from the prefix it
        is to think them; end_id: by which it says then that its text ends."""
        self._network, self._tokens = network, tokens
        self._n_told, self._offset = n_told, offset
        self._end_ids = frozenset((end_id,)) if n_told and end_id is not None else frozenset()
        self._unwritable = banned_ids(tokens, self._end_ids, False).to(network.device)
        self._newlines = frozenset(tokens.newline.nonzero().squeeze(1).tolist())
        self._line_ids = lru_cache(maxsize=8192)(lambda line: np.array(tokens.encode(line), np.int64))
        self._libraries = lru_cache(maxsize=KEPT_LIBRARIES)(Library)

    def prepared(self, gap: Gap) -> Gap:
        """The gap with what its drafts are made with."""
        ngrams = NGrams(self._file_ids(gap))
        if not self._end_ids:
            return replace(gap, ngrams=ngrams)
        # The token at a healed seam stands right of what a draft says, as it did in training.
        right = [*self._tokens.encode(gap.frame.kept), *gap.frame.pinned_ids][: self._n_told]
        cache = told(self._network, gap.cache, gap.frame.prefix_ids, right, self._offset)
        return replace(gap, ngrams=ngrams, told=cache)

    def of(self, gap: Gap, patience: Patience) -> list[Candidate]:
        """In no order; the same text may come twice. gap: prepared."""
        drafts = copies(gap.prefix, gap.suffix, N_COPIES)
        if gap.library:
            drafts += self._libraries(gap.library).copies(gap.prefix, gap.suffix, N_LIBRARY)
        found = [self._copied(gap, draft) for draft in drafts if len(draft.text) <= MOST_CHARACTERS * gap.n_slots]
        writing = self._writing(gap, patience)
        found += self._written(gap, writing, "")
        for opening in gap.openings:
            if opening.text:
                found += self._written(gap, writing, opening.text)
                found += self._begun(gap, opening.text)
            if opening.line:
                found.append(Candidate(opening.line, self._ids(gap, opening.line), frozenset((OPENING,))))
        if gap.single_line and gap.suffix.split("\n", 1)[0].strip():
            found += [self._upto(gap, one, at) for one in found if 0 < (at := unopened(one.text)) < len(one.text)]
            found += [self._upto(gap, one, at) for one in found if (at := met(one.text, gap.suffix)) < len(one.text)]
        return found

    def _begun(self, gap: Gap, opening: str) -> list[Candidate]:
        """What lines that begin alike go on with, here and in other files."""
        begun, prefix = opening.strip(), gap.prefix + opening
        drafts: list[Draft] = []
        if begun in gap.prefix[-REACH:] or begun in gap.suffix[:REACH]:
            drafts += copies(prefix, gap.suffix, N_BEGUN)
        if any(begun in text for text in gap.library):
            drafts += self._libraries(gap.library).copies(prefix, gap.suffix, N_BEGUN)
        whole = [replace(draft, text=opening + draft.text) for draft in drafts]
        found = [self._copied(gap, draft) for draft in whole if len(draft.text) <= MOST_CHARACTERS * gap.n_slots]
        return [replace(one, sources=one.sources | {OPENING}) for one in found]

    def _writing(self, gap: Gap, patience: Patience) -> Writing:
        frame = gap.frame
        return Writing(
            self._network,
            gap.told or gap.cache,
            frame.prefix_ids,
            gap.ngrams,
            self._unwritable,
            self._end_ids | (self._newlines if gap.single_line else frozenset()),
            gap.n_slots + frame.n_seams,
            patience.lost,
            frame.seams.first,
        )

    def _written(self, gap: Gap, writing: Writing, opening: str) -> list[Candidate]:
        """What the causal mode writes behind the opening, as far as the gap may go."""
        frame = gap.frame
        begun = self._tokens.encode(frame.typed + opening) if opening else []
        ids, ended = greedy(writing, begun)
        found = []
        for n_kept in self._ends(gap, ids, ended):
            if n_kept < len(begun):
                continue
            text = frame.bare((self._tokens.decode(ids[:n_kept]) if n_kept else frame.typed) + frame.kept)
            if text is not None:
                kept = tuple(ids[:n_kept]) if n_kept and not frame.kept else self._ids(gap, text)
                sources = frozenset((CAUSAL, OPENING) if opening else (CAUSAL,))
                found.append(Candidate(text, kept, sources))
        return found

    def _ends(self, gap: Gap, ids: Sequence[int], ended: bool) -> Sequence[int]:
        """Where a draft may end, in tokens: where it says so, or if it was not told of the suffix, where that seems to
        begin."""
        if gap.told is not None:
            return [len(ids)] if ended else ()
        return cuts(self._tokens, ids, gap.suffix, gap.single_line) if ended or not gap.single_line else ()

    def evidence(self, gap: Gap, candidates: Sequence[Candidate]) -> list[tuple[float, float]]:
        """Per candidate: (log p of what stands right of it, mean log p of its tokens and the one behind), nats. To a
        causal mode that was told of the suffix that is the text's end, to another one the suffix' head."""
        frame, ids = gap.frame, [one.ids for one in candidates]
        if gap.told is None:
            return evidence(self._network, gap.cache, frame.prefix_ids, ids, frame.pinned_ids[:RIGHT_TOKENS])
        if frame.kept:
            ids = [tuple(self._tokens.encode(frame.typed + one.text)) for one in candidates]
        return evidence(self._network, gap.told, frame.prefix_ids, ids, [*self._end_ids], gap.ngrams)

    def _copied(self, gap: Gap, draft: Draft) -> Candidate:
        return Candidate(draft.text, self._ids(gap, draft.text), frozenset((draft.source,)), draft.match)

    def _ids(self, gap: Gap, text: str) -> tuple[int, ...]:
        return tuple(self._tokens.encode(gap.frame.healed(text)))

    def _upto(self, gap: Gap, draft: Candidate, end: int) -> Candidate:
        text = draft.text[:end].rstrip()
        return replace(draft, text=text, ids=self._ids(gap, text))

    def _file_ids(self, gap: Gap) -> np.ndarray:
        """Token ids of the text around the gap, BORDER between."""
        # What was healed would be found behind the prefix, and be all that ever follows it.
        before, after = gap.prefix[: len(gap.prefix) - len(gap.frame.typed)][-REACH:], gap.suffix[:REACH]
        pieces = [self._line_ids(line) for line in before.splitlines(keepends=True)]
        pieces.append(np.array([BORDER], np.int64))
        pieces += [self._line_ids(line) for line in after.splitlines(keepends=True)]
        return np.concatenate(pieces)


def unopened(text: str) -> int:
    """Where in `text` the first bracket is closed that `text` does not open; its length if there is none."""
    depth = 0
    for at, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth < 0:
            return at
    return len(text)


def met(text: str, suffix: str) -> int:
    """Where in `text` the rest of a word begins that stands right of the gap; its length if it nowhere does."""
    word = _WORD.match(suffix)
    found = re.search(rf"(?<=\w){re.escape(word[0])}\b", text) if word else None
    return found.start() if found else len(text)


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
