"""From a directory and a device to a network in memory: look, plan, then read.

`look` is all that can be said before anything is loaded, and what `midspan doctor` shows. Knows nothing of requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch

from .. import bundled
from ..errors import EngineError
from ..network import Network
from ..prefix import BYTE_BUDGET
from ..tokens import Manifest
from . import checkpoint, plan
from .checkpoint import Contents, Progress
from .device import best_dtype, free_memory, give_back, kinds, out_of_memory, resolve
from .plan import Plan

BUNDLED = "midspan-mini"
DOCUMENTS = 4  # whose longest prefixes are kept, where there is room


@dataclass(frozen=True)
class Outlook:
    """A checkpoint, a device, and how the one goes into the other. plans: all that were tried, largest first; free:
    bytes on the device, None where nobody knows."""

    contents: Contents
    manifest: Manifest
    device: torch.device
    free: int | None
    plans: tuple[Plan, ...]
    plan: Plan

    @property
    def prefix_bytes(self) -> int:
        """What encoded prefixes may take: the plan's, and more where the device has it to spare."""
        if self.free is None:
            return self.plan.prefixes
        spare = int(plan.USABLE * self.free) - self.plan.total
        wanted = DOCUMENTS * self.plan.longest_prefix
        return max(self.plan.prefixes, min(wanted, self.plan.prefixes + spare // 2))

    def smaller(self) -> Plan | None:
        return plan.smaller(self.plan, self.plans)

    def load(self, on_progress: Progress | None = None) -> Network:
        """Raises EngineError, also when memory runs out on the way; nothing is left on the device then."""
        try:
            dtype = best_dtype(self.device)
            network = checkpoint.load(self.contents, self.device, dtype, self.plan, on_progress)[0]
            network.freeze()
            return network
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        give_back(self.device)
        raise EngineError(f"{self.device} ran out of memory while loading {self.manifest.name}; {self.advice()}")

    def advice(self) -> str:
        """What to do when memory ran out, as the rest of a sentence."""
        below = self.smaller()
        if below is None:
            return "there is no smaller way to keep this model: close what else uses the device"
        return f"quantize={below.experts} needs {plan.size(below.total)} instead of {plan.size(self.plan.total)}"


def look(directory: Path | None = None, device: str = "cpu", quantize: str | None = None) -> Outlook:
    """directory None: the bundled midspan-mini. quantize: as what to keep the experts; None: as memory allows.

    Reads headers and JSON only. Raises EngineError: no such checkpoint or device, damaged, or it does not fit.
    """
    target = resolve(device)
    contents = checkpoint.inspect(bundled_directory() if directory is None else directory)
    config = contents.config
    manifest = Manifest.load(contents.directory, config)
    options = {
        "float_bytes": best_dtype(target).itemsize,
        "prefix_tokens": manifest.prefix_tokens,
        "prefix_bytes": BYTE_BUDGET,
    }
    stored = "fp8" if contents.experts == "fp8" else "bf16"
    plans = everything = plan.ladder(config, kinds(target), stored, **options)
    if quantize is not None:
        plans = plan.asked(config, quantize, kinds(target), **options)
        everything = tuple(sorted((*plans, *everything), key=lambda each: -each.total))
    free = free_memory(target)
    return Outlook(contents, manifest, target, free, everything, plan.choose(plans, free, str(target)))


def bundled_directory() -> Path:
    """Raises EngineError where the installation has none."""
    directory = Path(str(resources.files(bundled))) / BUNDLED
    if not directory.is_dir():
        raise EngineError("this installation has no bundled model; name a checkpoint directory")
    return directory
