"""The engine: the text around a gap in, the gap's text out.

Owns one checkpoint and the prefixes encoded with it. The answer to a request depends on the request and the
checkpoint alone, never on what was asked before. Not safe for several threads at once: the server gives it one.
Knows nothing of editors, protocols, syntax, or files but its checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path

import torch

from . import bundled, checkpoint
from .denoise import CANCELLED, Alphabet, Patience, never
from .errors import EngineError
from .fill import Candidate, Filler, Gap
from .gate import Gate
from .network import Network
from .prefix import PrefixStore, anchored_start
from .sampler import Noise, SamplerConfig
from .tokens import Manifest, Tokens

BUNDLED = "midspan-mini"
WARM_UP = "def mean(values):\n    return sum(values) / "


@dataclass(frozen=True)
class InfillRequest:
    """prefix, suffix: all of the text before and after the gap, of any length; the engine takes what it can use.

    max_tokens: a hint for the gap's size, rounded up to one the checkpoint was trained with.
    seed: 0 takes the likeliest token of every accepted slot; any other draws them, for another fill.
    document: key under which the encoded prefix is kept between requests.
    deadline: time.monotonic() seconds; the fill so far is the answer. cancelled: true means the answer is unwanted.
    Both are polled at every denoise step.
    """

    prefix: str
    suffix: str
    max_tokens: int = 32
    single_line: bool = True
    seed: int = 0
    document: str = ""
    deadline: float | None = None
    cancelled: Callable[[], bool] = never


@dataclass(frozen=True)
class Infill:
    """A gap's text. Empty when nothing is missing, when cancelled, or when the deadline came before the first step.

    source: who proposed the text, e.g. "canvas" or "canvas+causal"; candidates: all that were judged, best first.
    entropies: of a text the canvas gave, nats per token; empty for others.
    confidence: the gate's probability that the text is exactly right; for a checkpoint without a gate exp(-mean
    entropy) over the tokens and the decision where they end; 0 when there was no time for either.
    timings: seconds of "tokenize", "encode", "draft", "denoise", "rank".
    """

    text: str
    tokens: tuple[int, ...]
    entropies: tuple[float, ...]
    steps: int
    stop: str  # "converged" | "budget" | "deadline" | "cancelled"
    timings: dict[str, float]
    confidence: float
    source: str = ""
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True)
class Limits:
    """What a request can use at most: tokens of prefix, of canvas, and the gap sizes there are."""

    prefix_tokens: int
    canvas_tokens: int
    gap_buckets: tuple[int, ...]


class Engine:
    name: str
    limits: Limits

    def __init__(
        self, network: Network, tokens: Tokens, manifest: Manifest, sampler: SamplerConfig, gate: Gate | None = None
    ) -> None:
        """gate None: the canvas alone fills, without drafts."""
        config = network.config
        self.name = manifest.name
        self.limits = Limits(manifest.prefix_tokens, manifest.canvas_tokens, manifest.gap_buckets)
        self._network, self._tokens, self._manifest = network, tokens, manifest
        self._eos = config.eos_token_id[0]
        ends = frozenset(config.eos_token_id) if manifest.delete_token_id is None else frozenset()
        self._filler = Filler(
            network,
            tokens,
            replace(sampler, commit_threshold=manifest.commit_threshold),
            Alphabet(Noise(config.vocab_size, manifest.mask_token_id), manifest.delete_token_id, ends),
            gate,
            manifest.gap_buckets,
            manifest.canvas_tokens,
        )
        self._n_tokens = lru_cache(maxsize=4096)(lambda line: len(tokens.encode(line)))
        self._prefixes = PrefixStore(network)

    @classmethod
    def load(cls, directory: Path | None = None, *, device: str = "cpu", threads: int | None = None) -> Engine:
        """Loads a checkpoint directory (None: the bundled midspan-mini) and runs one fill to warm up.

        threads: torch's, for the whole process; None leaves them. Raises EngineError.
        """
        if threads is not None:
            if threads < 1:
                raise EngineError(f"threads is {threads}, expected at least 1")
            torch.set_num_threads(threads)
        if directory is None:
            directory = Path(str(resources.files(bundled))) / BUNDLED
            if not directory.is_dir():
                raise EngineError("this installation has no bundled model; name a checkpoint directory")
        try:
            target = torch.device(device)
            torch.empty(1, device=target)
        except (RuntimeError, AssertionError) as error:
            raise EngineError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from error
        try:
            network, config = checkpoint.load(directory, target, best_dtype(target))
            manifest = Manifest.load(directory, config)
            tokens = Tokens.load(directory, manifest, config)
            generation = directory / "generation_config.json"
            sampler = SamplerConfig.from_hf(checkpoint.read_json(generation) if generation.exists() else {})
            gate = Gate.load(directory) if manifest.drafts else None
            engine = cls(network, tokens, manifest, sampler, gate)
            engine.infill(InfillRequest(WARM_UP, "\n"))
        except torch.OutOfMemoryError as error:
            raise EngineError(f"{directory.name} does not fit into the memory of {device}") from error
        engine._prefixes.clear()
        return engine

    def infill(self, request: InfillRequest) -> Infill:
        """Fills the gap between `request.prefix` and `request.suffix`. Raises EngineError only when out of memory."""
        try:
            with torch.inference_mode():
                return self._infill(request)
        except torch.OutOfMemoryError as error:
            self._prefixes.clear()
            raise EngineError("the device ran out of memory while filling a gap") from error

    def _infill(self, request: InfillRequest) -> Infill:
        patience, clock = Patience(request.cancelled, request.deadline), _Clock()
        prefix_ids, pinned_ids = self._prefix_ids(request.prefix), self._pinned_ids(request.suffix)
        clock.lap("tokenize")
        cache = self._prefixes.encode(request.document, prefix_ids, patience.lost)
        clock.lap("encode")
        if cache is None:
            return Infill("", (), (), 0, patience.lost() or CANCELLED, clock.laps, 0.0)
        gap = Gap(
            prefix=request.prefix,
            suffix=request.suffix,
            prefix_ids=prefix_ids,
            pinned_ids=pinned_ids,
            cache=cache,
            n_slots=request.max_tokens,
            single_line=request.single_line,
            seed=request.seed,
        )
        filled = self._filler.fill(gap, patience, clock.lap)
        best, denoised = filled.best, filled.denoised
        if best is None:
            return Infill("", (), (), denoised.steps, denoised.stop, clock.laps, 0.0)
        return Infill(
            text=best.text,
            tokens=best.ids,
            entropies=best.denoised.entropies if best.denoised else (),
            steps=denoised.steps,
            stop=denoised.stop,
            timings=clock.laps,
            confidence=best.probability,
            source="+".join(sorted(best.sources)),
            candidates=filled.candidates,
        )

    def _prefix_ids(self, text: str) -> list[int]:
        budget = self.limits.prefix_tokens - 1
        ids = self._tokens.encode(text[anchored_start(text, budget, self._n_tokens) :])
        return [self._manifest.bos_token_id, *ids[max(0, len(ids) - budget) :]]

    def _pinned_ids(self, suffix: str) -> list[int]:
        """All the canvas could show if its gap vanished; where the file ends before, <eos> says so."""
        ids, whole = self._tokens.head(suffix, self.limits.canvas_tokens)
        return [*ids, self._eos] if whole else ids


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it; float32 elsewhere, where bfloat16 would be emulated and slower."""
    if device.type == "cpu" and not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return torch.float32
    return torch.bfloat16


class _Clock:
    """Seconds per stage."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage], self._last = now - self._last, now
