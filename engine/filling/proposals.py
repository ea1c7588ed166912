"""What copies and the causal mode propose for a gap: whole texts, cut where the gap seems to end.

Stateless but for what is memoised of texts: a line's tokens, the index of a library. Knows nothing of canvases or of
how candidates are judged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from ..denoise import Patience
from ..network import Network
from ..prompts.healing import Healing
from ..tokens import Tokens, banned_ids
from .beams import OVERLAP, Breadth, Right, Spelling, meeting
from .copies import REACH, Draft, Library, copies
from .drafts import CAUSAL, Start, Writing, evidence, greedy, told
from .gap import Candidate, Gap
from .ngrams import NGrams

N_COPIES, N_LIBRARY, N_BEGUN = 4, 3, 2
KEPT_LIBRARIES = 4
OPENING = "opening"  # who proposed a text: a line that begins as the text around it asks for
SEARCH = 0.4  # of the time that is left, at most; ranking and the canvas need some as well
BORDER = -1  # among token ids: where the gap is
_WORD = re.compile(r"\w+")
RIGHT_TOKENS = 8  # of the suffix' head that a candidate is judged by
HEALED = 2  # tokens by which that head may begin later, where a word at the seam is healed
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

    @cached_property
    def _spelling(self) -> Spelling:
        healing = Healing(self._tokens)
        return Spelling([healing.text(id_) for id_ in range(len(self._tokens.unwritable))], healing.toward)

    @cached_property
    def _unspelled(self) -> dict[bool, Tensor]:
        """Ids that no text of a search holds, if it may have several lines and if not."""
        unspelled = torch.tensor([not text for text in self._spelling.texts]) | self._tokens.unwritable
        masks = {False: unspelled, True: unspelled | self._tokens.newline}
        return {single: mask.nonzero().squeeze(1).to(self._network.device) for single, mask in masks.items()}

    def prepared(self, gap: Gap, breadth: Breadth | None = None) -> Gap:
        """The gap with what its drafts are made with; breadth: of the search for several of the causal mode's."""
        frame = gap.frame
        start = self._told(gap, Start(gap.cache, frame.prefix_ids, frame.typed))
        word, n_begun = start if breadth else None, len(frame.begun)
        if breadth and n_begun:
            ids, typed = frame.prefix_ids[:-n_begun], "".join(frame.begun) + frame.typed
            word = self._told(gap, Start(gap.cache.rewound(n_begun), ids, typed))
        file_ids = self._file_ids(gap, (word or start).typed)
        ngrams, beyond = NGrams(file_ids), NGrams(without_head(file_ids))
        return replace(gap, start=start, word=word, breadth=breadth or gap.breadth, ngrams=ngrams, beyond=beyond)

    def _told(self, gap: Gap, start: Start) -> Start:
        """The start of a causal mode that is told of the suffix, if it knows what to make of it."""
        if not self._end_ids:
            return start
        # The token at a healed seam stands right of what a draft says, as it did in training.
        right = [*self._tokens.encode(gap.frame.kept), *gap.frame.pinned_ids][: self._n_told]
        cache = told(self._network, start.cache, start.prefix_ids, right, self._offset)
        return replace(start, cache=cache, told=True)

    def of(self, gap: Gap, patience: Patience) -> list[Candidate]:
        """In no order; the same text may come twice. gap: prepared."""
        assert gap.start is not None
        drafts = copies(gap.prefix, gap.suffix, N_COPIES)
        if gap.library:
            drafts += self._libraries(gap.library).copies(gap.prefix, gap.suffix, N_LIBRARY)
        found = [self._copied(gap, draft) for draft in drafts if len(draft.text) <= MOST_CHARACTERS * gap.n_slots]
        writing = self._writing(gap, gap.start, patience)
        if gap.word is None or not gap.inside:  # else what is searched for makes it superfluous
            found += self._written(gap, writing, "")
        if gap.word is not None:
            found += self._met(gap, self._writing(gap, gap.word, patience.within(SEARCH)), gap.breadth)
        for opening in gap.openings:
            if opening.text:
                found += self._written(gap, writing, opening.text)
                found += self._begun(gap, opening.text)
            if opening.line:
                found.append(Candidate(opening.line, self._ids(gap, opening.line), frozenset((OPENING,))))
        if gap.inside:
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

    def _writing(self, gap: Gap, start: Start, patience: Patience) -> Writing:
        return Writing(
            self._network,
            start,
            gap.ngrams,
            self._unwritable,
            self._end_ids | (self._newlines if gap.single_line else frozenset()),
            gap.n_slots + gap.frame.n_seams,
            patience.lost,
            gap.frame.seams.first,
        )

    def _met(self, gap: Gap, writing: Writing, breadth: Breadth) -> list[Candidate]:
        """What the causal mode could write here that leads into the suffix, or once it was told of that, to its end."""
        frame, ends_line = gap.frame, gap.suffix[:1] in ("", "\n", "\r")
        if writing.start.told:
            (end_id,) = self._end_ids
            right = Right("", lambda n_over: end_id, ends_line)
        else:
            pinned = [*self._tokens.encode(frame.kept), *frame.pinned_ids]
            head = gap.suffix[:OVERLAP].replace("\r\n", "\n")
            right = Right(
                head, lambda n_over: self._tokens.encode(head[n_over:])[0] if n_over else pinned[0], ends_line
            )
        texts = meeting(replace(writing, banned=self._unspelled[gap.single_line]), self._spelling, right, breadth)
        bare = (frame.bare(frame.healed(text)) for text in texts)
        return [Candidate(text, self._ids(gap, text), frozenset((CAUSAL,))) for text in bare if text is not None]

    def _written(self, gap: Gap, writing: Writing, opening: str) -> list[Candidate]:
        """What the causal mode writes behind the opening, as far as the gap may go."""
        frame = gap.frame
        begun = self._tokens.encode(frame.typed + opening) if opening else []
        ids, ended = greedy(writing, begun)
        found = []
        for n_kept in self._ends(gap, writing.start, ids, ended):
            if n_kept < len(begun):
                continue
            text = frame.bare((self._tokens.decode(ids[:n_kept]) if n_kept else frame.typed) + frame.kept)
            if text is not None:
                kept = tuple(ids[:n_kept]) if n_kept and not frame.kept else self._ids(gap, text)
                sources = frozenset((CAUSAL, OPENING) if opening else (CAUSAL,))
                found.append(Candidate(text, kept, sources))
        return found

    def _ends(self, gap: Gap, start: Start, ids: Sequence[int], ended: bool) -> Sequence[int]:
        """Where a draft may end, in tokens: where it says so, or if it was not told of the suffix, where that seems to
        begin."""
        if start.told:
            return [len(ids)] if ended else ()
        return cuts(self._tokens, ids, gap.suffix, gap.single_line) if ended or not gap.single_line else ()

    def evidence(self, gap: Gap, candidates: Sequence[Candidate]) -> list[tuple[float, float]]:
        """Per candidate: (log p of what stands right of it, mean log p of its tokens and the one behind), nats. To a
        causal mode that was told of the suffix that is the text's end, to another one the suffix' head."""
        frame = gap.frame
        start = gap.word or gap.start or Start(gap.cache, frame.prefix_ids, frame.typed)
        kept = "" if start.told else frame.kept
        ids: list[Sequence[int]] = [one.ids for one in candidates]
        if (start.typed, kept) != (frame.typed, frame.kept):
            ids = [self._tokens.encode(start.typed + one.text + kept) for one in candidates]
        if start.told:
            return evidence(self._network, start, ids, [*self._end_ids], gap.ngrams)
        return evidence(self._network, start, ids, frame.pinned_ids[:RIGHT_TOKENS], gap.ngrams, gap.beyond)

    def _copied(self, gap: Gap, draft: Draft) -> Candidate:
        return Candidate(draft.text, self._ids(gap, draft.text), frozenset((draft.source,)), draft.match)

    def _ids(self, gap: Gap, text: str) -> tuple[int, ...]:
        return tuple(self._tokens.encode(gap.frame.healed(text)))

    def _upto(self, gap: Gap, draft: Candidate, end: int) -> Candidate:
        text = draft.text[:end].rstrip()
        return replace(draft, text=text, ids=self._ids(gap, text))

    def _file_ids(self, gap: Gap, typed: str) -> np.ndarray:
        """Token ids of the text around the gap, BORDER between."""
        # What was healed would be found behind the prefix, and be all that ever follows it.
        before, after = gap.prefix[: len(gap.prefix) - len(typed)][-REACH:], gap.suffix[:REACH]
        pieces = [self._line_ids(line) for line in before.splitlines(keepends=True)]
        pieces.append(np.array([BORDER], np.int64))
        pieces += [self._line_ids(line) for line in after.splitlines(keepends=True)]
        return np.concatenate(pieces)


def without_head(file_ids: np.ndarray) -> np.ndarray:
    """The same, the gap reaching over the head of the suffix that candidates are judged by: not by itself."""
    border = int(np.flatnonzero(file_ids == BORDER)[0])
    return np.delete(file_ids, np.s_[border + 1 : border + 1 + RIGHT_TOKENS + HEALED])


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
