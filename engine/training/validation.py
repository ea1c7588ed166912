"""The fixed held-out set that every run is measured on.

Gaps cut out of the `val` packages with a committed seed of their own: the same documents, gaps, canvas sizes and noised
slots whatever the run's shape, noise or data mixture, so that numbers of two runs compare. What a run sees of a gap's
left side is as long as its own context. Measured through `encode` and `denoise`, as the engine calls them. Knows
nothing of optimisers or training batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..filling.drafts import surprise, told
from ..kernels.target import torch_only
from ..network import Network
from .corpus import Documents
from .examples import BOS, DELETE, MASK, N_SPECIAL, gap, gap_length, tokenize_with_gaps
from .packed import N_RIGHT, OFFSET

SEED = 20_240
CONTEXT = 1024  # prefix tokens kept of every gap; a run looks at the nearest of them
CANVAS = 48
CAUSAL = 128  # tokens before the gap whose causal loss is measured
KINDS = ("line", "rest", "rest", "hole")
CHARACTERS = 24_000  # of a file that are tokenised around a gap
BATCH = 16


@dataclass(frozen=True)
class Held:
    """prefix [N, CONTEXT] ids; target, masked and slots [N, 2, CANVAS]: gap, then suffix. Of each gap's two canvases
    the first is noised from a frontier on, the second at random places. gaps [N, 2]: slots of the gap; truth [N]: those
    that are not surplus; frontier [N]: the first noised slot. noise: what a uniform kind shows instead of masks."""

    prefix: Tensor
    target: Tensor
    masked: Tensor
    frontier: Tensor
    truth: Tensor
    gaps: Tensor
    noise: Tensor

    def __len__(self) -> int:
        return len(self.prefix)

    def slots(self, kind: str) -> Tensor:
        """What the network sees of the canvases. kind: "mask" or "uniform"."""
        return torch.where(
            self.masked, torch.full_like(self.noise, MASK) if kind == "mask" else self.noise, self.target
        )


def held(tokenizer: Tokenizer, n_gaps: int, language: str = "python") -> Held:
    """The first `n_gaps` gaps of the set: a larger set begins with the smaller one."""
    documents = Documents("val", language)
    shares = documents.sizes / documents.sizes.sum()
    rng = np.random.default_rng(SEED)
    columns: list[list[np.ndarray]] = [[] for _ in range(7)]
    while len(columns[0]) < n_gaps:
        text = documents[int(rng.choice(len(documents), p=shares))]
        found = gap(text, KINDS[len(columns[0]) % len(KINDS)], rng)
        if found is None or found[0] == found[1]:
            continue
        first = max(0, found[0] - CHARACTERS // 2)
        around = (found[0] - first, found[1] - first)
        ids, ((start, end),) = tokenize_with_gaps(text[first : first + CHARACTERS], [around], tokenizer)
        if start < CONTEXT or end - start > CANVAS - 16 or len(ids) < end + CANVAS:
            continue
        for column, value in zip(
            columns, _row(np.array(ids), start, end, tokenizer.get_vocab_size(), rng), strict=True
        ):
            column.append(value)
    return Held(*(torch.from_numpy(np.stack(column)) for column in columns))


def _row(ids: np.ndarray, start: int, end: int, vocabulary: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    n_true = end - start
    targets, masks, gaps = [], [], []
    frontier = int(rng.integers(0, n_true))
    share = rng.uniform(0.3, 1.0)
    for by_frontier in (True, False):
        n_gap = gap_length(n_true, rng)
        surplus = np.arange(CANVAS) >= n_true
        at_random = rng.random(CANVAS) < share
        at_random[int(rng.integers(0, n_true))] = True
        masked = (np.arange(CANVAS) >= frontier if by_frontier else at_random) | surplus
        targets.append(np.concatenate((ids[start:end], np.full(n_gap - n_true, DELETE), ids[end:]))[:CANVAS])
        masks.append(masked & (np.arange(CANVAS) < n_gap))
        gaps.append(n_gap)
    noise = rng.integers(N_SPECIAL, vocabulary, (2, CANVAS))
    return (
        ids[start - CONTEXT : start].astype(np.int64),
        np.stack(targets).astype(np.int64),
        np.stack(masks),
        np.array(frontier),
        np.array(n_true),
        np.array(gaps),
        noise,
    )


@torch.no_grad()
def measure(network: Network, held: Held, n_prefix: int, kind: str = "mask") -> dict[str, float]:
    """Nats per token and accuracies. n_prefix: encoder tokens the run knows, bos among them.

    val_causal: the last tokens before each gap. val_canvas: noised slots of the gap that hold text. val_frontier: the
    first noised slot with its left side true, as decoding needs it next. val_delete: noised surplus slots.
    """
    with torch_only():  # kernels are tuned for decoding, and tuning them would cost a GPU's minutes
        return _measure(network, held, n_prefix, kind)


def _measure(network: Network, held: Held, n_prefix: int, kind: str) -> dict[str, float]:
    device, slots = network.device, held.slots(kind)
    sums: dict[str, list[float]] = {key: [] for key in ("causal", "canvas", "frontier", "frontier_nats", "delete")}
    for first in range(0, len(held), BATCH):
        rows = slice(first, first + BATCH)
        prefix = held.prefix[rows, CONTEXT - n_prefix + 1 :].to(device)
        prefix = torch.cat((torch.full_like(prefix[:, :1], BOS), prefix), dim=1)
        cache = network.new_cache(len(prefix))
        n_causal = min(CAUSAL, n_prefix - 1)
        hidden = network.encode(prefix, cache)[:, -n_causal - 1 : -1]
        sums["causal"] += _nats(network, hidden, prefix[:, -n_causal:]).mean(1).tolist()
        for canvas in range(2):
            target = held.target[rows, canvas].to(device)
            logits = network.logits(network.denoise(slots[rows, canvas].to(device), cache))
            each = cross_entropy(logits.transpose(1, 2), target, reduction="none").cpu()
            right = (logits.argmax(-1) == target).cpu()
            masked = held.masked[rows, canvas]
            real = masked & (torch.arange(CANVAS) < held.truth[rows, None])
            surplus = masked & ~real
            sums["delete"] += right[surplus].float().tolist()
            if canvas:
                sums["canvas"] += each[real].tolist()
                continue
            at = held.frontier[rows, None]
            sums["frontier"] += right.gather(1, at).float().flatten().tolist()
            sums["frontier_nats"] += each.gather(1, at).flatten().tolist()
    return {f"val_{key}": fmean(values) for key, values in sums.items()}


@torch.no_grad()
def measure_branches(network: Network, held: Held, n_prefix: int) -> dict[str, float]:
    """Nats per token of the gaps' text by the causal mode: val_left, as it writes on; val_told, told of the suffix;
    val_end, that the text ends there, told of the suffix."""
    sums: dict[str, list[float]] = {"left": [], "told": [], "end": []}
    with torch_only():
        for number in range(len(held)):
            ids = [BOS, *held.prefix[number, CONTEXT - n_prefix + 1 :].tolist()]
            slots = held.target[number, 0].tolist()
            text, right = slots[: held.truth[number]], slots[held.gaps[number, 0] :][:N_RIGHT]
            cache = network.new_cache()
            network.encode(torch.tensor([ids], device=network.device), cache)
            sums["left"] += surprise(network, cache, ids, text).tolist()
            *nats, end = surprise(network, told(network, cache, ids, right, OFFSET), ids, [*text, DELETE]).tolist()
            sums["told"] += nats
            sums["end"].append(end)
    return {f"val_{key}": fmean(values) for key, values in sums.items()}


def _nats(network: Network, hidden: Tensor, target: Tensor) -> Tensor:
    return cross_entropy(network.logits(hidden).transpose(1, 2), target, reduction="none").cpu()
