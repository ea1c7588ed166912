"""The denoise loop: from canvases of noise to the tokens of the gap.

The acceptance rule is in `sampler.py`, what may change and what is pinned in `canvas.py`; here they meet the network,
the clock and the cancel flag. Several canvases behind one prefix go in step, those of one length as one batch: the
weights are read once for all of them, and each gets what it gets alone. Canvases lie on the host and logits on the
network's device, which the host waits for once per step and canvas. Knows nothing of text, tokenizers or where the
prefix came from. On one device, the same arguments and seeds give the same result bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor

from .cache import KVCache
from .canvas import Canvas, surplus
from .errors import EngineError
from .prompts.seams import FREE, Seams
from .sampler import BANNED, Noise, SamplerConfig, accept, leading, leads, predict, sample, settled

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

    def within(self, share: float) -> Patience:
        """For a part of the work: lost as soon as that share of the time that is left now has passed."""
        if self.deadline is None:
            return self
        now = time.monotonic()
        return Patience(self.cancelled, now + share * (self.deadline - now))


@dataclass(frozen=True)
class Setting:
    """What a canvas is denoised in: everything but the canvas itself and its random stream.

    banned: ids [N] int64 that no slot may take, on the network's device. seams: what the first and the last slot may
    hold, likewise.
    """

    network: Denoiser
    cache: KVCache
    config: SamplerConfig
    alphabet: Alphabet
    banned: Tensor
    patience: Patience = Patience()
    seams: Seams = FREE

    def unending(self) -> Setting:
        """For a text part of which stays: an end token in a slot that is free would cut off what stands behind it."""
        ends = torch.tensor(sorted(self.alphabet.end_token_ids), dtype=torch.int64, device=self.banned.device)
        return replace(self, banned=torch.cat((self.banned, ends)))


@dataclass(frozen=True)
class Denoised:
    """ids and entropies (nats) of the gap's text; end_entropy: of the prediction that the text ends where it does,
    None when nothing said so (the gap is full). No step was run: no ids."""

    ids: tuple[int, ...]
    entropies: tuple[float, ...]
    end_entropy: float | None
    steps: int
    stop: str


def denoise(setting: Setting, canvas: Canvas, generator: torch.Generator) -> Denoised:
    """Denoises the gap of `canvas` behind the prefix in the cache until it is settled or patience or the budget is
    lost.

    Head, sampler and stop test run on the free slots alone. A committed or pinned slot conditions the next step with
    its own embedding, a free one with its expected embedding. generator: on the host; on another device samples are
    drawn there from its seed. Raises EngineError where the network gives no numbers: NaN would be read as token 0.
    """
    return denoise_all(setting, [canvas], [generator])[0]


def denoise_all(setting: Setting, canvases: Sequence[Canvas], generators: Sequence[torch.Generator]) -> list[Denoised]:
    """Denoises each canvas as `denoise` would, in step. Patience is polled once for all of them before every step."""
    runs = [_Run(setting, canvas, generator) for canvas, generator in zip(canvases, generators, strict=True)]
    while active := [run for run in runs if run.stop is None]:
        if lost := setting.patience.lost():
            for run in active:
                run.stop = lost
            break
        for _, alike in groupby(sorted(active, key=_Run.shape), key=_Run.shape):
            _advance(setting, list(alike))
    return [run.read() for run in runs]


def reread(setting: Setting, canvas: Canvas) -> tuple[Canvas, Tensor]:
    """What the network, seeing the whole canvas, says about the text in its gap, at temperature 1: the canvas with the
    entropies of its predictions, and the probability of each slot's own token, [G], on the host."""
    device = setting.banned.device
    ids = canvas.ids.to(device, non_blocking=True)
    hidden = setting.network.denoise(ids[None], setting.cache, None)[0, : len(canvas.gap)]
    logits = setting.network.logits(hidden).index_fill_(1, setting.banned, BANNED)
    prediction = predict(logits)
    own = prediction.probs.gather(1, ids[: len(canvas.gap), None]).squeeze(1)
    entropy, own = on_host(prediction.entropy, own)
    return replace(canvas, entropy=entropy), own


def on_host(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors [N] of one device on the host, in one transfer: float64 holds token ids and float32 exactly."""
    if tensors[0].device.type == "cpu":
        return tensors
    rows = torch.stack([each.double() for each in tensors]).cpu()
    return tuple(row.to(each.dtype) for row, each in zip(rows, tensors, strict=True))


def broken(device: torch.device) -> EngineError:
    return EngineError(f"the model gave no numbers (NaN) on {device}: its weights do not fit its code, or are damaged")


def _advance(setting: Setting, runs: Sequence[_Run]) -> None:
    """One denoise step of canvases of one length, as one batch."""
    network = setting.network
    device = setting.banned.device

    def there(host: Tensor) -> Tensor:
        return host.to(device, non_blocking=True)

    given = [run.soft for run in runs if run.soft is not None]
    canvases = there(torch.stack([run.canvas.ids for run in runs]))
    hidden = network.denoise(canvases, setting.cache, torch.stack(given) if given else None)
    rows = [run.rows() for run in runs]
    logits = network.logits(torch.cat([own[there(at)] for own, at in zip(hidden, rows, strict=True)]))
    logits.index_fill_(1, setting.banned, BANNED)
    pieces = logits.split([len(at) for at in rows])
    left = [run.step(own, at) for run, own, at in zip(runs, pieces, rows, strict=True)]
    n_left = [int(mask.sum()) for mask in left]
    if not any(n_left):
        return
    soft = network.soft_embeddings(
        logits if sum(n_left) == len(logits) else logits[there(torch.cat(left).nonzero().squeeze(1))]
    )
    for run, own in zip(runs, soft.split(n_left), strict=True):
        if len(own):
            run.soft = network.embed(there(run.canvas.ids))
            run.soft[there(run.canvas.slots())] = own


@dataclass(frozen=True)
class _Said:
    """What the network says about N slots at one step's temperature, on the host.

    certainty: of the argmax; tokens: the argmax, or of free slots a sample where samples are drawn; own: probability of
    the token that stands in the slot; lead: of the likeliest token over the second. own and lead are there only for
    rules that ask for them.
    """

    argmax: Tensor
    certainty: Tensor
    entropy: Tensor
    tokens: Tensor
    own: Tensor
    lead: Tensor

    def at(self, rows: Tensor) -> _Said:
        """Of some of the slots: a mask [N]."""
        return _Said(*(getattr(self, field)[rows] for field in self.__dataclass_fields__))


class _Run:
    """One canvas on its way; `stop` is None while it has steps to go."""

    def __init__(self, setting: Setting, canvas: Canvas, generator: torch.Generator) -> None:
        self.canvas = canvas
        self.soft: Tensor | None = None  # what conditions the next step, [C, H]; None: nothing, as in training
        self.stop: str | None = None if len(canvas.slots()) else CONVERGED
        self._setting, self._generator, self._drawing = setting, generator, generator
        if setting.banned.device != generator.device:
            self._drawing = torch.Generator(setting.banned.device).manual_seed(generator.initial_seed())
        self._budget = setting.config.budget(len(canvas.slots()))
        self._steps = 0
        self._history: list[Tensor] = []
        self._end_entropy: float | None = None

    def shape(self) -> tuple[int, bool]:
        """Runs of one shape make one batch."""
        return len(self.canvas.ids), self.soft is None

    def rows(self) -> Tensor:
        """Slots whose logits a step needs, ascending: the free ones, and the committed ones if they may be renoised."""
        if self._renoises:
            return torch.arange(len(self.canvas.gap))
        return self.canvas.slots()

    def step(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Accepts and renoises by logits [N, V] of slots `rows` [N]. Returns the rows [N] bool that condition the next
        step; none when there is none."""
        config, alphabet = self._setting.config, self._setting.alphabet
        self._setting.seams.impose(logits, rows, len(self.canvas.gap), BANNED)
        shunned = self.canvas.shunned[rows]
        if (shunned >= 0).any():
            at = (shunned >= 0).nonzero().squeeze(1)
            logits[at.to(logits.device), shunned[at].to(logits.device)] = BANNED
        logits.div_(config.temperature(self._budget - self._steps, self._budget))
        self._steps += 1
        was_free = self.canvas.free[rows]
        said = self._said(logits, was_free)
        free = said if was_free.all() else said.at(was_free)
        doubted = self._doubted(said)
        deleted = self._accept(free, rows[was_free])
        calm = not config.commits and settled(free.argmax, self._history, free.entropy, config)
        if config.wide_margin is not None and config.commits and doubted is None:
            calm = bool((said.lead[self.canvas.free[rows]] >= config.wide_margin).all())
        self._history.append(free.argmax)
        if doubted is not None:
            noise = alphabet.noise.draw(int(doubted.sum()), self._generator)
            self.canvas = self.canvas.renoised(doubted, noise)
        left = self.canvas.free[rows]
        if deleted is not None:
            calm = False  # and no earlier canvas has as many slots as the next one
            left = left & ~deleted[rows]
            self.canvas = self.canvas.contracted(~deleted)
        if calm or not len(self.canvas.slots()):
            self.stop = CONVERGED
        elif self._steps == self._budget:
            self.stop = BUDGET
        return left if self.stop is None else torch.zeros_like(left)

    @property
    def _renoises(self) -> bool:
        return self._setting.config.commits and self._setting.config.renoise_threshold is not None

    def _said(self, logits: Tensor, was_free: Tensor) -> _Said:
        """What the logits [N, V] say about each row, brought to the host. was_free: rows [N] that are to be sampled."""
        config, prediction = self._setting.config, predict(logits)
        tokens, own, lead = prediction.argmax, prediction.certainty, prediction.certainty
        if not config.greedy:
            wanted = None if was_free.all() else was_free.nonzero().squeeze(1).to(logits.device)
            drawn = sample(prediction.probs if wanted is None else prediction.probs[wanted], self._drawing)
            tokens = drawn if wanted is None else tokens.index_copy(0, wanted, drawn)
        if self._renoises:  # rows are all slots of the gap
            own = prediction.probs.gather(1, self.canvas.gap.to(logits.device)[:, None]).squeeze(1)
        if config.wide_margin is not None:
            lead = leads(prediction.probs)
        said = _Said(*on_host(prediction.argmax, prediction.certainty, prediction.entropy, tokens, own, lead))
        if not said.entropy.isfinite().all():
            raise broken(logits.device)
        return said

    def _doubted(self, said: _Said) -> Tensor | None:
        """Committed gap slots [G] whose token lost the network's confidence, for the first time; None: none."""
        threshold = self._setting.config.renoise_threshold
        if threshold is None or not self._renoises:
            return None
        doubted = ~self.canvas.free & ~self.canvas.again & (said.own < threshold)
        return doubted if doubted.any() else None

    def _accept(self, said: _Said, slots: Tensor) -> Tensor | None:
        """Accepts, and renoises the rest. Returns the surplus gap slots [G] still in the canvas; None: none."""
        config, alphabet, tokens = self._setting.config, self._setting.alphabet, said.tokens
        accepted = accept(said.entropy, config.entropy_bound)
        if config.commit_threshold is not None:
            accepted = accepted | (said.certainty >= config.commit_threshold)
        if config.order == "left":
            accepted = leading(accepted)
        noise = alphabet.noise.draw(len(slots), self._generator)
        self.canvas = self.canvas.written(
            slots,
            tokens=torch.where(accepted, tokens, noise),
            guess=said.argmax,
            entropy=said.entropy,
            committed=accepted if config.commits else None,
        )
        if alphabet.delete_token_id is None:
            return None
        deleted = torch.zeros_like(self.canvas.free)
        deleted.index_copy_(0, slots, accepted & (tokens == alphabet.delete_token_id))
        if not deleted.any():
            return None
        # The slot of a healed seam is no surplus: what is surplus ends before it.
        inside = slice(len(deleted) - self._n_seam)
        looks_deleted = self.canvas.guess == alphabet.delete_token_id
        deleted[inside] = surplus(deleted[inside], looks_deleted[inside])
        if deleted[inside].any() and deleted[inside][-1]:
            self._end_entropy = float(self.canvas.entropy[_run_start(deleted[inside])])
        return deleted

    @property
    def _n_seam(self) -> int:
        """Slots at the gap's end that hold the head of the suffix."""
        return int(self._setting.seams.last is not None)

    def read(self) -> Denoised:
        """The text of the gap: the guesses, without undecided deletions, up to the first end token, and the seam."""
        canvas, alphabet = self.canvas, self._setting.alphabet
        stop = self.stop or BUDGET
        if self._steps == 0 and len(canvas.slots()):
            return Denoised((), (), None, 0, stop)
        ids: list[int] = []
        entropies: list[float] = []
        end_entropy = self._end_entropy
        said = list(zip(canvas.guess.tolist(), canvas.entropy.tolist(), strict=True))
        seam = len(said) - self._n_seam
        for token, entropy in said[:seam]:
            if token in alphabet.end_token_ids:
                end_entropy = entropy
                break
            if token != alphabet.delete_token_id:
                ids.append(token)
                entropies.append(entropy)
                continue
            end_entropy = entropy if end_entropy is None else max(end_entropy, entropy)
        ids += [token for token, _ in said[seam:]]
        entropies += [entropy for _, entropy in said[seam:]]
        return Denoised(tuple(ids), tuple(entropies), end_entropy, self._steps, stop)


def _run_start(removed: Tensor) -> int:
    """Where the run of removed slots that reaches the end of the gap begins."""
    return len(removed) - int(removed.flip(0).int().cumprod(0).sum())
