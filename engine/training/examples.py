"""Documents cut into gaps and canvases, as the product cuts them.

A window of a source file becomes one document row; `n_canvases` gaps are cut out of it. The text is split at the gaps'
borders before it is tokenised, so a cut in the middle of an identifier looks in training as it does under a cursor.
Knows the layout of a canvas (gap, then pinned suffix) and its noise; knows nothing of networks or optimisers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from .corpus import Documents
from .packed import N_RIGHT, OFFSET, Branches, Packed

PAD, EOS, BOS, MASK, DELETE = 0, 1, 2, 3, 4
N_SPECIAL = 32
BYTES_PER_TOKEN = 3.3
BUCKETS = (8, 16, OFFSET)  # the largest is also where a branch thinks its suffix, in training and in `Proposals`
MAX_GAP = BUCKETS[-1]

# How often each kind of gap is cut; "empty" teaches that sometimes nothing is missing.
KINDS = {"line": 0.36, "rest": 0.30, "lines": 0.12, "hole": 0.12, "random": 0.07, "empty": 0.03}
CORRUPTED = 0.08  # share of visible gap slots that hold a wrong token
VISIBLE_WEIGHT = 0.3  # loss weight of slots whose token is visible, right or wrong
FAR_WEIGHT = 0.25  # loss weight of a masked slot with nothing visible near its left
DISTANCE_DECAY = 0.8

_WORD_BORDER = re.compile(r"\b|(?<=\W)(?=\W)")


@dataclass(frozen=True)
class Shape:
    """Fixed sizes of a batch: documents, document tokens, canvases per document, slots per canvas, and branches per
    document, with as many slots."""

    n_docs: int = 8
    length: int = 512
    n_canvases: int = 8
    n_slots: int = 48
    loss_rows_per_canvas: int = 20  # gap slots that enter the loss, on average over a batch
    n_branches: int = 0

    @property
    def loss_rows(self) -> int:
        """Gap slots of the whole batch that enter the loss."""
        return self.n_docs * self.n_canvases * self.loss_rows_per_canvas


@dataclass(frozen=True)
class Batch:
    """packed: inputs.  next_token [B, T]: causal targets, PAD where there is none.

    rows [R]: flat indices into [B * K * C] of the gap slots in the loss; target [R] and weight [R] (0: filler).
    masked [R]: the network does not see the slot's token.
    frontier [R]: the first masked slot of a canvas noised from a frontier on, for the metric.
    after [B, M, C - N_RIGHT]: what follows each token of the branches' gaps, DELETE at their ends, PAD behind.
    """

    packed: Packed
    next_token: Tensor
    rows: Tensor
    target: Tensor
    weight: Tensor
    masked: Tensor
    frontier: Tensor
    after: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(self.packed.to(device), *(getattr(self, field.name).to(device) for field in fields(self)[1:]))


def gap(text: str, kind: str, rng: np.random.Generator) -> tuple[int, int] | None:
    """A gap [start, end) of the given kind in `text`, in characters, or None where this draw found none."""
    at = int(rng.integers(0, max(1, len(text) - 1)))
    line_start = text.rfind("\n", 0, at) + 1
    line_end = text.find("\n", at)
    line_end = len(text) if line_end < 0 else line_end
    line = text[line_start:line_end]
    if kind == "random":
        return at, min(len(text), at + int(rng.integers(1, 60)))
    if not line.strip():
        return None
    indent = len(line) - len(line.lstrip())
    if kind in ("line", "lines"):
        start = line_start + (indent if rng.random() < 0.6 else 0)
        if kind == "lines":
            for _ in range(int(rng.integers(1, 4))):
                following = text.find("\n", line_end + 1)
                if following < 0:
                    return None
                line_end = following
        return start, line_end
    if kind == "empty":
        return line_end, line_end
    inside = cut_point(line, indent, rng) + line_start
    if kind == "rest":
        return inside, line_end
    other = cut_point(line, indent, rng) + line_start
    return (min(inside, other), max(inside, other)) if inside != other else None


def cut_point(line: str, indent: int, rng: np.random.Generator) -> int:
    """A place in a line behind its indentation: mostly a word's border, sometimes the middle of a word."""
    if rng.random() < 0.7:
        borders = [m.start() for m in _WORD_BORDER.finditer(line, indent)]
        if borders:
            return borders[int(rng.integers(0, len(borders)))]
    return int(rng.integers(indent, len(line) + 1))


def disjoint_gaps(text: str, n_gaps: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    kinds = rng.choice(list(KINDS), size=4 * n_gaps, p=np.array(list(KINDS.values())))
    gaps: list[tuple[int, int]] = []
    for kind in kinds:
        found = gap(text, str(kind), rng)
        if found is None or len(gaps) == n_gaps:
            continue
        start, end = found
        if all(end < other_start or start > other_end for other_start, other_end in gaps):
            gaps.append(found)
    return sorted(gaps)


def tokenize_with_gaps(
    text: str, gaps: Sequence[tuple[int, int]], tokenizer: Tokenizer
) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids of `text` with a token border at every gap's ends, and the gaps in tokens."""
    borders = sorted({0, len(text), *(place for found in gaps for place in found)})
    pieces = [text[a:b] for a, b in pairwise(borders)]
    ids: list[int] = []
    token_at = {0: 0}
    for border, encoding in zip(borders[1:], tokenizer.encode_batch(pieces, add_special_tokens=False), strict=True):
        ids += encoding.ids
        token_at[border] = len(ids)
    return ids, [(token_at[start], token_at[end]) for start, end in gaps]


def gap_length(n_tokens: int, rng: np.random.Generator) -> int:
    """Slots offered for a gap of `n_tokens`: now and then exactly as many, else the next bucket or any larger size."""
    draw = rng.random()
    if draw < 0.1 and n_tokens > 0:
        return n_tokens
    if draw < 0.6:
        return next(bucket for bucket in BUCKETS if bucket >= n_tokens)
    return int(rng.integers(max(1, n_tokens), MAX_GAP + 1))


def noised(
    target: np.ndarray, n_tokens: int, palette: np.ndarray, rng: np.random.Generator, vocabulary: int = 0
) -> tuple[np.ndarray, np.ndarray, int]:
    """Input ids for gap slots whose truth is `target`, which of them are masked, and the frontier slot or -1.

    vocabulary: 0, or its size, and masked slots hold tokens drawn from it uniformly, as DiffusionGemma's do. Surplus
    slots are always masked: while decoding a slot found to be surplus is removed, never shown.
    """
    n_slots = len(target)
    frontier = -1
    draw = rng.random()
    if draw < 0.2:
        masked = np.ones(n_slots, bool)
    elif draw < 0.75:
        frontier = int(rng.integers(0, n_tokens + 1)) if n_tokens < n_slots else int(rng.integers(0, n_tokens))
        masked = np.arange(n_slots) >= frontier
    else:
        masked = rng.random(n_slots) < rng.uniform(0.1, 1.0)
    masked |= np.arange(n_slots) >= n_tokens
    ids = np.where(masked, MASK, target)
    wrong = ~masked & (rng.random(n_slots) < CORRUPTED)
    if wrong.any():
        ids[wrong] = rng.choice(palette, wrong.sum())
    if vocabulary:
        ids[masked] = rng.integers(N_SPECIAL, vocabulary, masked.sum())
    return ids, masked, frontier


def loss_weights(masked: np.ndarray) -> np.ndarray:
    """Per slot. Of masked ones those right behind something visible count most: decoding needs them next, and what
    lies far from anything visible is mostly not knowable. Depends on what is masked alone, never on the truth, so
    probabilities stay calibrated."""
    slots = np.arange(len(masked))
    visible_before = np.maximum.accumulate(np.where(masked, -1, slots))
    distance = slots - visible_before - 1
    return np.where(masked, FAR_WEIGHT + (1 - FAR_WEIGHT) * DISTANCE_DECAY**distance, VISIBLE_WEIGHT)


def within_file(ids: np.ndarray) -> np.ndarray:
    """Up to the end of the file and with it: what follows is another one."""
    stop = np.flatnonzero(ids == EOS)
    return ids[: stop[0] + 1] if len(stop) else ids


class Examples:
    """An endless stream of batches from one split of some languages, reproducible from its seed."""

    def __init__(
        self,
        split: str,
        languages: dict[str, float],
        tokenizer: Tokenizer,
        shape: Shape,
        seed: int,
        noise: str = "mask",
    ) -> None:
        """languages: share of documents per language, summing to 1.  noise: "mask" or "uniform"."""
        self.shape, self.tokenizer = shape, tokenizer
        self.vocabulary = tokenizer.get_vocab_size() if noise == "uniform" else 0
        self.documents = [Documents(split, language) for language in languages]
        self.shares = np.array(list(languages.values()))
        self.weights = [np.cumsum(documents.sizes / documents.sizes.sum()) for documents in self.documents]
        self.rng = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.batch()

    def window(self) -> str:
        """A stretch of a file that begins at the start of a line and is long enough for document and suffix."""
        language = int(self.rng.choice(len(self.shares), p=self.shares))
        documents = self.documents[language]
        index = min(int(np.searchsorted(self.weights[language], self.rng.random())), len(documents) - 1)
        text = documents[index].replace("\r\n", "\n").replace("\r", "\n")
        size = int((self.shape.length + 2 * self.shape.n_slots) * BYTES_PER_TOKEN * 1.25)
        if self.rng.random() < 0.2 or len(text) <= size:
            return text[:size]
        start = text.find("\n", int(self.rng.integers(0, len(text) - size // 2))) + 1
        return text[start : start + size]

    def batch(self) -> Batch:
        shape, rng = self.shape, self.rng
        documents = np.zeros((shape.n_docs, shape.length), np.int64)
        following = np.zeros((shape.n_docs, shape.length), np.int64)
        canvas = np.full((shape.n_docs, shape.n_canvases, shape.n_slots), PAD, np.int64)
        cut = np.zeros((shape.n_docs, shape.n_canvases), np.int64)
        used = np.zeros((shape.n_docs, shape.n_canvases), np.int64)
        rows: list[np.ndarray] = []
        targets: list[np.ndarray] = []
        weights: list[np.ndarray] = []
        masks: list[np.ndarray] = []
        frontiers: list[np.ndarray] = []
        drawn = [self._document() for _ in range(shape.n_docs)]
        for doc, (ids, gaps) in enumerate(drawn):
            documents[doc], following[doc] = ids[: shape.length], ids[1 : shape.length + 1]
            for k in range(shape.n_canvases):
                start, end = gaps[k % len(gaps)]
                true = ids[start:end]
                n_gap = gap_length(len(true), rng)
                target = np.concatenate((true, np.full(n_gap - len(true), DELETE)))
                slots, masked, frontier = noised(target, len(true), ids, rng, self.vocabulary)
                suffix = within_file(ids[end : end + shape.n_slots - n_gap])
                canvas[doc, k, :n_gap] = slots
                canvas[doc, k, n_gap : n_gap + len(suffix)] = suffix
                cut[doc, k], used[doc, k] = start, n_gap + len(suffix)
                first = (doc * shape.n_canvases + k) * shape.n_slots
                rows.append(first + np.arange(n_gap))
                targets.append(target)
                weights.append(loss_weights(masked))
                masks.append(masked)
                frontiers.append(np.arange(n_gap) == frontier)
        branches, after = self._branches(drawn)
        ids, slots, cuts, n_slots = map(torch.from_numpy, (documents, canvas, cut, used))
        packed = Packed(ids, slots, cuts, n_slots, branches)
        row, target, weight, masked, frontier = self._loss_rows(rows, targets, weights, masks, frontiers)
        return Batch(packed, torch.from_numpy(following), row, target, weight, masked, frontier, after)

    def _branches(self, drawn: list[tuple[np.ndarray, list[tuple[int, int]]]]) -> tuple[Branches | None, Tensor]:
        """Of each document's ids and gaps, the last gaps first: canvases take the first ones first."""
        shape, n_gap = self.shape, self.shape.n_slots - N_RIGHT
        ids = np.full((shape.n_docs, shape.n_branches, shape.n_slots), PAD, np.int64)
        after = np.full((shape.n_docs, shape.n_branches, n_gap), PAD, np.int64)
        cut = np.zeros((shape.n_docs, shape.n_branches), np.int64)
        n_right = np.zeros((shape.n_docs, shape.n_branches), np.int64)
        for doc, (text, gaps) in enumerate(drawn):
            for m in range(shape.n_branches):
                start, end = gaps[-1 - m % len(gaps)]
                suffix = within_file(text[end : end + N_RIGHT])
                target = np.append(text[start:end], DELETE)[:n_gap]
                ids[doc, m, : len(suffix)] = suffix
                ids[doc, m, N_RIGHT : N_RIGHT + len(target)] = text[start - 1 : start - 1 + len(target)]
                after[doc, m, : len(target)] = target
                cut[doc, m], n_right[doc, m] = start, len(suffix)
        branches = Branches(*map(torch.from_numpy, (ids, cut, n_right))) if shape.n_branches else None
        return branches, torch.from_numpy(after)

    def _document(self) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """Ids of at least length + n_slots + 1 tokens, and gaps whose cut lies inside the document."""
        shape = self.shape
        wanted = shape.length + shape.n_slots + 1
        while True:
            text = self.window()
            inside = text[: int(shape.length * BYTES_PER_TOKEN * 0.95)]
            gaps = disjoint_gaps(inside, max(shape.n_canvases, shape.n_branches) + 3, self.rng)
            pieces, found = tokenize_with_gaps(text, gaps, self.tokenizer)
            ids = [BOS, *pieces]
            kept = [(a + 1, b + 1) for a, b in found if b - a <= MAX_GAP and b < shape.length]
            if kept:
                self.rng.shuffle(kept)
                break
        while len(ids) < wanted:
            ids += [EOS, BOS, *self.tokenizer.encode(self.window(), add_special_tokens=False).ids]
        return np.array(ids[:wanted], np.int64), kept

    def _loss_rows(self, *columns: list[np.ndarray]) -> list[Tensor]:
        """The columns cut or filled up to the fixed number of loss rows; filler has weight 0."""
        whole = [np.concatenate(column) for column in columns]
        n_rows, n_found = self.shape.loss_rows, len(whole[0])
        if n_found > n_rows:
            kept = np.sort(self.rng.permutation(n_found)[:n_rows])
            whole = [column[kept] for column in whole]
        padded = [np.pad(column, (0, max(0, n_rows - n_found))) for column in whole]
        return [torch.from_numpy(column.astype(np.float32) if column.dtype == float else column) for column in padded]
