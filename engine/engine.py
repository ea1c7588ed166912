"""The engine: the text around a gap in, the gap's text out.

Owns one checkpoint and the prefixes encoded with it. The answer to a request depends on the request and the
checkpoint alone, never on what was asked before. Not safe for several threads at once: the server gives it one.
Knows nothing of editors, protocols, syntax, or files but its checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from .checkpoints.device import give_back, out_of_memory
from .checkpoints.loading import Outlook, look
from .checkpoints.stored import read_json
from .denoise import CANCELLED, CONVERGED, Alphabet, Patience, never
from .errors import EngineError
from .filling.fill import Filled, Filler
from .filling.gap import Check, Gap
from .filling.gate import Gate
from .filling.method import usual
from .filling.selection import joined, pieces, within
from .kernels.native import small
from .kernels.target import gives_up
from .network import Network
from .prefix import BYTE_BUDGET, PrefixStore
from .prompts.prompt import prompt_for
from .request import Infill, InfillRequest
from .sampler import Noise, SamplerConfig
from .tokens import Manifest, Tokens

READ = 0.95  # share of the loading that is reading; the rest is the first fill
WARM_UP = "def mean(values):\n    return sum(values) / "
MOST_PIECES = 64  # of a selection that is rewritten
TOO_LONG = "too long"


@dataclass(frozen=True)
class Limits:
    """What a request can use at most: tokens of prefix, of canvas, the gap sizes there are, tokens of context."""

    prefix_tokens: int
    canvas_tokens: int
    gap_buckets: tuple[int, ...]
    context_tokens: int = 0


class Engine:
    name: str
    limits: Limits
    outlook: Outlook | None = None  # where it was loaded from a directory: what was planned, and what is smaller

    def __init__(
        self,
        network: Network,
        tokens: Tokens,
        manifest: Manifest,
        sampler: SamplerConfig,
        gate: Gate | None = None,
        prefix_bytes: int = BYTE_BUDGET,
        side_by_side: bool = False,
    ) -> None:
        """gate None: the canvas alone fills, without drafts. prefix_bytes: for encoded prefixes of all documents.
        side_by_side: drafts on one thread, canvases on another."""
        config = network.config
        self.name = manifest.name
        self.limits = Limits(
            manifest.prefix_tokens, manifest.canvas_tokens, manifest.gap_buckets, manifest.context_tokens
        )
        self._network, self._tokens, self._manifest = network, tokens, manifest
        ends = tuple(dict.fromkeys((*config.eos_token_id, *sampler.eos_token_id)))
        if max(ends) >= config.vocab_size:
            raise EngineError(f"generation_config.json: eos_token_id is {max(ends)}, not below {config.vocab_size}")
        alphabet = Alphabet(
            Noise(config.vocab_size, manifest.mask_token_id),
            manifest.delete_token_id,
            frozenset(ends) if manifest.delete_token_id is None else frozenset(),
        )
        self._filler = Filler(
            network,
            tokens,
            replace(sampler, commit_threshold=manifest.commit_threshold),
            alphabet,
            gate,
            manifest.gap_buckets,
            manifest.canvas_tokens,
            manifest.fim_tokens,
            side_by_side,
        )
        self._prompt = prompt_for(tokens, manifest, ends)
        self._prefixes = PrefixStore(network, prefix_bytes)
        self.method = usual(manifest)

    @classmethod
    def load(
        cls,
        directory: Path | None = None,
        *,
        device: str = "cpu",
        threads: int | None = None,
        quantize: str | None = None,
        on_progress: Callable[[float, str], None] | None = None,
    ) -> Engine:
        """Loads a checkpoint directory (None: the bundled midspan-mini) and runs one fill to warm up.

        device: "auto", "cpu", "cuda", "cuda:1", "mps". threads: of the CPU; None leaves torch's, which are the whole
        process'. A small network there shares no products: beside drafts a second thread denoises.
        quantize: as what to keep the experts ("bf16", "fp8", "int8", "int4"); None: as the free memory allows.
        on_progress: called with the share that is done, from 0 to 1 and never falling, and a few words. Raises
        EngineError.
        """
        if threads is not None:
            if threads < 1:
                raise EngineError(f"threads is {threads}, expected at least 1")
            torch.set_num_threads(threads)
        report = on_progress or (lambda share, words: None)
        report(0.0, "")
        outlook = look(directory, device, quantize)
        directory, manifest = outlook.contents.directory, outlook.manifest
        tokens = Tokens.load(directory, manifest, outlook.contents.config)
        generation = directory / "generation_config.json"
        sampler = SamplerConfig.from_hf(read_json(generation) if generation.exists() else {})
        gate = Gate.load(directory) if manifest.drafts else None
        network = outlook.load(lambda share, words: report(READ * share, words))
        side_by_side = threads is not None and threads > 1 and network.device.type == "cpu" and small(network)
        if side_by_side:
            torch.set_num_threads(1)
        engine = cls(network, tokens, manifest, sampler, gate, outlook.prefix_bytes, side_by_side)
        engine.outlook = outlook
        report(READ, "warming up")
        engine.infill(InfillRequest(WARM_UP, "\n"))
        engine._prefixes.clear()
        report(1.0, "ready")
        return engine

    @property
    def follows_instructions(self) -> bool:
        """Whether the checkpoint takes `rewrite`'s instruction."""
        return self._prompt.follows_instructions

    def infill(self, request: InfillRequest) -> Infill:
        """Fills the gap between `request.prefix` and `request.suffix`. Raises EngineError only when out of memory."""
        return self._within_memory(lambda: self._infill(request))

    def _within_memory(self, run: Callable[[], Infill]) -> Infill:
        """What `run` gives. Running out of memory drops the encoded prefixes; the EngineError offers a smaller plan."""
        try:
            with torch.inference_mode():
                return run()
        except Exception as error:
            kernels_fail = not out_of_memory(error) and gives_up(error)
            if not kernels_fail and not out_of_memory(error):
                raise
        if kernels_fail:
            return self._within_memory(run)  # by plain operations now, so this happens once
        # Not in the handler: there the error, and with it every tensor of the failed request, would still be alive.
        self._prefixes.clear()
        self._filler.forget()
        give_back(self._network.device)
        advice = f"; {self.outlook.advice()}" if self.outlook else ""
        raise EngineError(f"{self._network.device} ran out of memory while filling a gap{advice}")

    def rewrite(
        self,
        prefix: str,
        selection: str,
        suffix: str,
        strength: float,
        instruction: str | None = None,
        *,
        seed: int = 0,
        document: str = "",
        deadline: float | None = None,
        cancelled: Callable[[], bool] = never,
        check: Check | None = None,
    ) -> Infill:
        """Another text for `selection`, which stands between `prefix` and `suffix`. Arguments as in InfillRequest.

        strength: the share of it that is denoised anew, where the network doubts it most. 0 gives the selection back,
        character for character; 1 is a fresh fill that depends on nothing of it but whether it is one line.
        instruction: what is wanted, in words; a checkpoint that takes none ignores it.
        A selection larger than a gap is rewritten from the top in pieces of whole lines, each seeing what became of
        those above it; pieces there was no time for stay as they are, and "too long" is a selection of more than
        MOST_PIECES, given back. Line ends of rewritten text are \\n. Raises EngineError when out of memory.
        """
        if not strength > 0 or (not selection and strength < 1):
            return Infill(selection, (), (), 0, CONVERGED, {}, 1.0, "selection")
        request = InfillRequest(
            prefix,
            suffix,
            max_tokens=max(self.limits.gap_buckets),
            single_line="\n" not in selection,
            seed=seed,
            document=document,
            deadline=deadline,
            cancelled=cancelled,
            check=check,
        )
        if strength >= 1:
            return self._within_memory(lambda: self._infill(request, instruction))
        return self._within_memory(lambda: self._rewrite(request, selection, strength, instruction))

    def _infill(self, request: InfillRequest, instruction: str | None = None) -> Infill:
        patience, clock = Patience(request.cancelled, request.deadline), _Clock()
        method = request.method or (replace(self.method, search="always") if request.several else self.method)
        gap = self._gap(request, instruction, patience, clock)
        if gap is None:
            return Infill("", (), (), 0, patience.lost() or CANCELLED, clock.laps, 0.0)
        return _infill(self._filler.fill(gap, method, patience, clock.lap), clock.laps)

    def _rewrite(self, request: InfillRequest, selection: str, strength: float, instruction: str | None) -> Infill:
        patience, clock = Patience(request.cancelled, request.deadline), _Clock()
        texts = pieces(selection, lambda line: len(self._tokens.encode(line)), self._filler.size())
        if len(texts) > MOST_PIECES:
            return Infill(selection, (), (), 0, TOO_LONG, clock.laps, 0.0, "selection")
        done: list[Infill] = []
        for i, text in enumerate(texts):
            if not text.strip():
                done.append(Infill(text, (), (), 0, CONVERGED, {}, 1.0))
                continue
            before, after = "".join(one.text for one in done), "".join(texts[i + 1 :])
            part = replace(
                request,
                prefix=request.prefix + before,
                suffix=after + request.suffix,
                single_line="\n" not in text,
                check=within(request.check, before, after),
            )
            gap = self._gap(part, instruction, patience, clock)
            filled = Filled((), 0, patience.lost() or CANCELLED)
            if gap is not None:
                filled = self._filler.rewrite(gap, text, strength, self.method, patience, clock.lap)
            if filled.stop == CANCELLED:
                return Infill("", (), (), filled.steps, CANCELLED, clock.laps, 0.0)
            found = _infill(filled, clock.laps)
            done.append(found if filled.candidates else replace(found, text=text, source="selection"))
        return joined(done, clock.laps)

    def _gap(self, request: InfillRequest, instruction: str | None, patience: Patience, clock: _Clock) -> Gap | None:
        """The request's gap behind its encoded prefix; None where patience was lost over that."""
        frame = self._prompt.frame(request.prefix, request.suffix, request.context, instruction)
        clock.lap("tokenize")
        cache = self._prefixes.encode(request.document, frame.prefix_ids, patience.lost)
        clock.lap("encode")
        if cache is None:
            return None
        return Gap(
            prefix=request.prefix,
            suffix=request.suffix,
            frame=frame,
            cache=cache,
            n_slots=request.max_tokens,
            single_line=request.single_line,
            seed=request.seed,
            draft=request.draft,
            check=request.check,
            library=request.library or ((request.context,) if request.context else ()),
        )


def _infill(filled: Filled, timings: dict[str, float]) -> Infill:
    if not filled.candidates:
        return Infill("", (), (), filled.steps, filled.stop, timings, 0.0)
    best = filled.candidates[0]
    return Infill(
        text=best.text,
        tokens=best.ids,
        entropies=best.denoised.entropies if best.denoised else (),
        steps=filled.steps,
        stop=filled.stop,
        timings=timings,
        confidence=best.probability,
        source="+".join(sorted(best.sources)),
        candidates=filled.candidates,
    )


class _Clock:
    """Seconds per stage."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage] = self.laps.get(stage, 0.0) + now - self._last
        self._last = now
