"""The denoise loop: from a canvas of noise to the tokens of the gap.

The acceptance rule is in `sampler.py`, what may change and what is pinned in `canvas.py`; here they meet the network,
the clock and the cancel flag. Knows nothing of text, tokenizers or where the prefix came from. On one device, the
same arguments and seed give the same result bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .cache import KVCache
from .canvas import Canvas, surplus
from .sampler import BANNED, Noise, Prediction, SamplerConfig, accept, predict, sample, settled

CONVERGED, BUDGET, DEADLINE, CANCELLED = "converged", "budget", "deadline", "cancelled"


def never() -> bool:
    return False


class Denoiser(Protocol):
    """What the loop asks of a network; shapes as in `network.Network`."""

    def embed(self, ids: Tensor) -> Tensor: ...
    def denoise(self, canvas: Tensor, cache: KVCache, soft: Tensor | None = None) -> Tensor: ...
    def logits(self, hidden: Tensor) -> Tensor: ...
    def soft_embeddings(self, logits: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Alphabet:
    """What token ids mean to the loop.

    delete_token_id: "this slot is surplus"; such slots are removed. end_token_ids: for a checkpoint without a delete
    token, the gap's text ends before the first of these.
    """

    noise: Noise
    delete_token_id: int | None = None
    end_token_ids: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Patience:
    """When to give up: polled before every denoise step."""

    cancelled: Callable[[], bool] = never
    deadline: float | None = None  # time.monotonic() seconds

    def lost(self) -> str | None:
        if self.cancelled():
            return CANCELLED
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return DEADLINE
        return None


@dataclass(frozen=True)
class Denoised:
    """ids and entropies (nats) of the gap's text; end_entropy: of the prediction that the text ends where it does,
    None when nothing said so (the gap is full). No step was run: no ids."""

    ids: tuple[int, ...]
    entropies: tuple[float, ...]
    end_entropy: float | None
    steps: int
    stop: str


def denoise(
    network: Denoiser,
    cache: KVCache,
    canvas: Canvas,
    config: SamplerConfig,
    alphabet: Alphabet,
    banned: Tensor,
    generator: torch.Generator,
    patience: Patience,
) -> Denoised:
    """Denoises the gap of `canvas` behind the prefix in `cache` until it is settled or patience or the budget is lost.

    banned: ids [N] int64 never predicted. Head, sampler and stop test run on the free slots alone. A committed or
    pinned slot conditions the next step with its own embedding, a free one with its expected embedding.
    """
    budget = config.budget(int(canvas.free.sum()))
    history: list[Tensor] = []
    soft: Tensor | None = None
    end_entropy: float | None = None
    steps, stop = 0, BUDGET
    slots = canvas.slots()
    for remaining in range(budget, 0, -1):
        if len(slots) == 0:
            stop = CONVERGED
            break
        if lost := patience.lost():
            stop = lost
            break
        hidden = network.denoise(canvas.ids[None], cache, soft)[0]
        logits = network.logits(hidden[slots])
        logits.index_fill_(1, banned, BANNED).div_(config.temperature(remaining, budget))
        steps += 1
        prediction = predict(logits)
        canvas, removed = _step(canvas, slots, prediction, config, alphabet, generator)
        calm = not config.commits and settled(prediction.argmax, history, prediction.entropy, config)
        history.append(prediction.argmax)
        left = canvas.free[slots]
        if removed is not None:
            history.clear()
            calm = False
            if removed[-1]:
                end_entropy = float(canvas.entropy[_run_start(removed)])
            left = left & ~removed[slots]
            canvas = canvas.contracted(~removed)
        slots = canvas.slots()
        if calm or len(slots) == 0:
            stop = CONVERGED
            break
        if remaining > 1:
            soft = network.embed(canvas.ids)
            soft[slots] = network.soft_embeddings(logits if len(slots) == len(logits) else logits[left])
            soft = soft[None]
    return _read(canvas, alphabet, end_entropy, steps, stop)


def _step(
    canvas: Canvas,
    slots: Tensor,
    prediction: Prediction,
    config: SamplerConfig,
    alphabet: Alphabet,
    generator: torch.Generator,
) -> tuple[Canvas, Tensor | None]:
    """Accepts, and renoises the rest. Returns the canvas and the surplus gap slots [G] still in it (None: none)."""
    tokens = prediction.argmax if config.greedy else sample(prediction.probs, generator)
    accepted = accept(prediction.entropy, config.entropy_bound)
    if config.commit_threshold is not None:
        accepted = accepted | (prediction.certainty >= config.commit_threshold)
    noise = alphabet.noise.draw(len(slots), generator)
    canvas = canvas.written(
        slots,
        tokens=torch.where(accepted, tokens, noise),
        guess=prediction.argmax,
        entropy=prediction.entropy,
        committed=accepted if config.commits else None,
    )
    if alphabet.delete_token_id is None:
        return canvas, None
    deleted = torch.zeros_like(canvas.free).index_copy_(0, slots, accepted & (tokens == alphabet.delete_token_id))
    if not deleted.any():
        return canvas, None
    return canvas, surplus(deleted, canvas.guess == alphabet.delete_token_id)


def _run_start(removed: Tensor) -> int:
    """Where the run of removed slots that reaches the end of the gap begins."""
    return len(removed) - int(removed.flip(0).int().cumprod(0).sum())


def _read(canvas: Canvas, alphabet: Alphabet, end_entropy: float | None, steps: int, stop: str) -> Denoised:
    """The text of the gap: the guesses, without undecided deletions, up to the first end token."""
    if steps == 0 and len(canvas.slots()):
        return Denoised((), (), None, 0, stop)
    ids: list[int] = []
    entropies: list[float] = []
    for token, entropy in zip(canvas.guess.tolist(), canvas.entropy.tolist(), strict=True):
        if token in alphabet.end_token_ids:
            end_entropy = entropy
            break
        if token != alphabet.delete_token_id:
            ids.append(token)
            entropies.append(entropy)
            continue
        end_entropy = entropy if end_entropy is None else max(end_entropy, entropy)
    return Denoised(tuple(ids), tuple(entropies), end_entropy, steps, stop)
