"""The denoise loop around `Step`: CUDA graphs, patience, and the same answer as `denoise.denoise_all` gives.

Not yet run on a device; kept small for that reason. A graph that cannot be captured, for whatever reason, is not asked
for again: the same launches are then made one by one.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..denoise import BUDGET, CONVERGED, Denoised, broken
from .commit import BROKEN
from .launch import power_of_two
from .packing import Packed
from .step import Room, Size, Step, embedding_of
from .stream import MOST_SLOTS
from .target import use_triton

if TYPE_CHECKING:
    from ..canvas import Canvas
    from ..denoise import Setting
    from ..network import Network
    from ..sampler import SamplerConfig

LEAST_PREFIX, LONGEST_PREFIX = 512, 8192  # buckets are the powers of two between; a longer prefix goes without a graph
LEAST_SLOTS, LEAST_GAPS = 32, 16
GRAPHS = 6  # kept at once; together they hold 0.3 GB of work for DiffusionGemma, each bucket of prefixes 0.1 to 0.4 GB
log = logging.getLogger(__name__)


class DeviceLoop:
    """Denoises gaps of one network on its GPU, one graph per bucket of gaps, canvases and prefix, made when first met.

    One batch at a time: steps of one prefix bucket share its memory.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._rooms: dict[int, Room] = {}
        self._runs: OrderedDict[tuple[Size, SamplerConfig], _Run] = OrderedDict()
        self._pool: object | None = None  # graphs work in the same memory: nothing in it outlives a replay
        self.warm_up_seconds = 0.0  # spent so far on first launches and captures

    def serves(self, setting: Setting, canvases: Sequence[Canvas]) -> bool:
        """Whether the rules are the ones of `Step`, all slots of the gaps free, and the network lives where Triton
        runs."""
        config, alphabet = setting.config, setting.alphabet
        rules = not config.commits and config.stability_threshold == 1
        noise = alphabet.noise.mask_token_id is None and alphabet.delete_token_id is None
        if not (rules and noise and setting.network is self._network and use_triton(setting.banned)):
            return False
        embedding = embedding_of(self._network)
        if isinstance(embedding, Packed) and embedding.kind == "int4":  # which has no expected embeddings
            return False
        return all(
            0 < len(each.gap) <= MOST_SLOTS and bool(each.free.all()) and bool((each.shunned < 0).all())
            for each in canvases
        )

    def denoise_all(
        self, setting: Setting, canvases: Sequence[Canvas], generators: Sequence[torch.Generator]
    ) -> list[Denoised]:
        """As `denoise.denoise_all`, each canvas from the random stream of its generator's seed, which they share."""
        seeds = {generator.initial_seed() for generator in generators}
        assert len(seeds) == 1
        run = self._run(setting, canvases)
        run.step.begin(setting, canvases, seeds.pop())
        budget, steps, stop = setting.config.max_denoising_steps, 0, BUDGET
        settled = [0] * len(canvases)
        while steps < budget and not all(settled):
            if lost := setting.patience.lost():
                stop = lost
                break
            run()
            steps += 1
            settled = run.step.state.settled.tolist()[: len(canvases)]  # the step's one word to the host
            if BROKEN in settled:
                raise broken(self._network.device)
        return self._read(run.step, setting, [len(each.gap) for each in canvases], settled, steps, stop)

    def forget(self) -> None:
        """Gives all memory back; what is asked for next is captured anew."""
        self._runs.clear()
        self._rooms.clear()
        self._pool = None

    def _run(self, setting: Setting, canvases: Sequence[Canvas]) -> _Run:
        longest, size = max(len(each.ids) for each in canvases), max(each.size for each in canvases)
        key = Size(
            canvases=len(canvases),
            slots=max(longest, min(size, power_of_two(longest, LEAST_SLOTS))),
            gaps=power_of_two(sum(len(each.gap) for each in canvases), LEAST_GAPS),
            prefix=power_of_two(setting.cache.length, LEAST_PREFIX),
        )
        known = self._runs.get((key, setting.config))
        if known is None:
            started = time.perf_counter()
            room = self._rooms.setdefault(key.prefix, Room(self._network, key.prefix))
            step = Step(self._network, key, setting.config, room)
            step.begin(setting, canvases, 0)  # so that what is captured reads nothing that was never written
            if step.ids.is_cuda and self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            graph = _captured(step, self._pool) if step.ids.is_cuda and key.prefix <= LONGEST_PREFIX else None
            known = self._runs[key, setting.config] = _Run(step, graph)
            took = time.perf_counter() - started
            self.warm_up_seconds += took
            log.info("a denoise step for %s was made ready in %.1f s", key, took)
            while len(self._runs) > GRAPHS:
                self._runs.popitem(last=False)
        self._runs.move_to_end((key, setting.config))
        return known

    def _read(
        self, step: Step, setting: Setting, sizes: Sequence[int], settled: Sequence[int], steps: int, stop: str
    ) -> list[Denoised]:
        if steps == 0:
            return [Denoised((), (), None, 0, stop) for _ in sizes]
        guesses, entropies = step.state.guess.tolist(), step.state.entropy.tolist()
        found, start = [], 0
        n_seam = int(setting.seams.last is not None)
        for n, at in zip(sizes, settled, strict=True):
            ids, own = guesses[start : start + n], entropies[start : start + n]
            start, took, why = start + n, at or steps, CONVERGED if at else stop
            end = next((i for i, id_ in enumerate(ids[: n - n_seam]) if id_ in setting.alphabet.end_token_ids), None)
            if end is None:
                found.append(Denoised(tuple(ids), tuple(own), None, took, why))
                continue
            kept = [*range(end), *range(n - n_seam, n)]
            found.append(Denoised(tuple(ids[i] for i in kept), tuple(own[i] for i in kept), own[end], took, why))
        return found


class _Run:
    """A step, captured if that could be done, else as it is."""

    def __init__(self, step: Step, graph: torch.cuda.CUDAGraph | None) -> None:
        self.step, self._graph = step, graph

    def __call__(self) -> None:
        if self._graph is None:
            self.step()
        else:
            self._graph.replay()


def _captured(step: Step, pool: Any) -> torch.cuda.CUDAGraph | None:
    """None when the capture fails; what it would have done is then done launch by launch."""
    try:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # compiles, and lets libraries allocate what they keep
            for _ in range(2):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            step()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        torch.cuda.synchronize()
        log.warning("a denoise step could not be captured in a graph: %s", str(error).splitlines()[0])
        return None
    return graph
