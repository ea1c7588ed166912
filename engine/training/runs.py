"""The folder of one training run: its log and its checkpoints, under the cache directory, never in the repository.

A checkpoint `LABEL` is `LABEL.safetensors` (masters and both moments, float32) and `LABEL.json` (the run's clock and
shape). Knows nothing of losses, data or schedules.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from ..network import Network
from .corpus import cache_directory
from .mini import SHAPES


def run_directory(name: str) -> Path:
    return cache_directory() / "runs" / name


def peak_gib() -> float:
    """The most memory this process has been resident with. That of a training does not shrink."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


class Run:
    def __init__(self, name: str) -> None:
        self.directory = run_directory(name)
        self.directory.mkdir(parents=True, exist_ok=True)

    def has(self, label: str) -> bool:
        return (self.directory / f"{label}.json").exists()

    def log(self, head: Mapping[str, int], record: Mapping[str, float]) -> None:
        """One line of JSON, to `log.jsonl` and to standard output."""
        rounded = {key: round(value, 4) for key, value in record.items()}
        line = json.dumps({**head, **rounded, "rss": round(peak_gib(), 2)})
        print(line, flush=True)
        with (self.directory / "log.jsonl").open("a") as file:
            file.write(line + "\n")

    def save(self, label: str, state: Mapping[str, Any], clock: Mapping[str, Any]) -> None:
        """Atomic: a run that is killed while saving still has its previous checkpoint."""
        tensors = {
            f"{kind}/{name}": tensor for kind in ("masters", "first", "second") for name, tensor in state[kind].items()
        }
        part = self.directory / f"{label}.part"
        save_file(tensors, part)
        os.replace(part, self.directory / f"{label}.safetensors")
        (self.directory / f"{label}.json").write_text(json.dumps({**clock, "optimizer": state["steps"]}))

    def load(self, label: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The optimiser's state and the clock. label: of this run, or the path of any checkpoint, without suffix."""
        path = Path(label) if "/" in label else self.directory / label
        clock = json.loads(path.with_suffix(".json").read_text())
        state: dict[str, Any] = {"masters": {}, "first": {}, "second": {}, "steps": clock["optimizer"]}
        for key, tensor in load_file(path.with_suffix(".safetensors")).items():
            kind, _, name = key.partition("/")
            state[kind][name] = tensor
        return state, clock


def trained_network(name: str, label: str) -> tuple[Network, dict[str, Any]]:
    """A checkpoint's network, float32 on the CPU, and its clock. Raises ValueError where a weight is missing."""
    state, clock = Run(name).load(label)
    network = Network(SHAPES[clock.get("shape", "mini")])
    network.load_state_dict(state["masters"], strict=False)
    missing = set(dict(network.named_parameters())) - set(state["masters"])
    if missing:
        raise ValueError(f"the checkpoint lacks {min(missing)}")
    return network.requires_grad_(False), clock
