"""The denoise loop around `Step`: CUDA graphs, patience, and the same answer as `denoise.denoise` gives.

Not yet run on a device; kept small for that reason. A graph that cannot be captured, for whatever reason, is not asked
for again: the same launches are then made one by one.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..denoise import BUDGET, CONVERGED, Denoised, Patience
from .launch import power_of_two
from .step import Size, Step
from .target import use_triton

if TYPE_CHECKING:
    from ..cache import KVCache
    from ..denoise import Alphabet
    from ..network import Network
    from ..sampler import SamplerConfig

LEAST_PREFIX, LONGEST_PREFIX = 512, 8192  # buckets are the powers of two between; a longer prefix goes without a graph
GRAPHS = 6  # kept at once; a step of DiffusionGemma holds 0.1 GB of prefix and 0.3 GB of work
log = logging.getLogger(__name__)


class DeviceLoop:
    """Denoises gaps of one network on its GPU, one graph per size of gap, canvas and prefix, made when first met."""

    def __init__(self, network: Network, sampler: SamplerConfig, alphabet: Alphabet) -> None:
        self._network, self._alphabet = network, alphabet
        self._sampler = sampler
        self._ends = alphabet.end_token_ids
        self._runs: OrderedDict[tuple[object, ...], _Run] = OrderedDict()
        self.warm_up_seconds = 0.0  # spent so far on first launches and captures

    def serves(self, x: Tensor) -> bool:
        """Whether this checkpoint's rules are the ones of `Step`, and x lives where Triton runs."""
        rules = not self._sampler.commits and self._sampler.stability_threshold == 1
        noise = self._alphabet.noise.mask_token_id is None and self._alphabet.delete_token_id is None
        return rules and noise and use_triton(x)

    def denoise(
        self, cache: KVCache, gap: Tensor, pinned: Tensor, banned: Tensor, seed: int, greedy: bool, patience: Patience
    ) -> Denoised:
        """gap: [G] noise; pinned: [S]; G + S slots in all. banned: ids [N], the same tensor for the same set."""
        bucket = max(LEAST_PREFIX, power_of_two(cache.length))
        size = Size(len(gap), len(gap) + len(pinned), bucket)
        run = self._run(size, banned, greedy)
        run.step.begin(cache, torch.cat((gap, pinned)), seed)
        budget = self._sampler.max_denoising_steps
        steps, stop = 0, BUDGET
        while steps < budget:
            if lost := patience.lost():
                stop = lost
                break
            run()
            steps += 1
            if run.step.flag.item():  # the step's one word to the host
                stop = CONVERGED
                break
        return self._read(run.step, steps, stop)

    def _run(self, size: Size, banned: Tensor, greedy: bool) -> _Run:
        key = (size, banned.data_ptr(), len(banned), greedy)
        if key not in self._runs:
            started = time.perf_counter()
            step = Step(self._network, size, replace(self._sampler, greedy=greedy), banned)
            self._runs[key] = _Run(step, captured=size.prefix <= LONGEST_PREFIX)
            self.warm_up_seconds += time.perf_counter() - started
            while len(self._runs) > GRAPHS:
                self._runs.popitem(last=False)
        self._runs.move_to_end(key)
        return self._runs[key]

    def _read(self, step: Step, steps: int, stop: str) -> Denoised:
        if steps == 0:
            return Denoised((), (), None, 0, stop)
        ids, entropies = step.guess.tolist(), step.entropy.tolist()
        for i, token in enumerate(ids):
            if token in self._ends:
                return Denoised(tuple(ids[:i]), tuple(entropies[:i]), entropies[i], steps, stop)
        return Denoised(tuple(ids), tuple(entropies), None, steps, stop)


class _Run:
    """A step, captured if that can be done, else as it is."""

    def __init__(self, step: Step, captured: bool) -> None:
        self.step = step
        self._graph = _captured(step) if captured and step.ids.is_cuda else None

    def __call__(self) -> None:
        if self._graph is None:
            self.step()
        else:
            self._graph.replay()


def _captured(step: Step) -> torch.cuda.CUDAGraph | None:
    """None when the capture fails; what it would have done is then done launch by launch."""
    try:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # compiles, and lets libraries allocate what they keep
            for _ in range(2):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        torch.cuda.synchronize()
        log.warning("a denoise step could not be captured in a graph: %s", str(error).splitlines()[0])
        return None
    return graph
