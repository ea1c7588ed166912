"""Checkpoints: a directory in the Hugging Face layout, read into a Network or written from one.

Reads `config.json` and the safetensors beside it, in bf16 or as the published quantised checkpoints store them
(`layouts.py`); writes what transformers' `DiffusionGemmaForBlockDiffusion.from_pretrained` loads. Knows nothing of
tokenizers, sampling or training state. Absent on purpose: pickled weights, downloads, vision.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..config import NetworkConfig
from ..errors import EngineError
from ..kernels.packing import Kind, Packed, adopt_fp8
from ..network import Network
from ..weights import Slot, install
from .hf_config import hf_config
from .layouts import Encoding, Part, check_quantization, decode, match, stored_name
from .plan import Plan, plan, size
from .stored import WEIGHTS, Header, Reader, headers, read_json, total_bytes

CONFIG = "config.json"
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Contents:
    """A checkpoint that was looked at: whole, and every tensor accounted for, but none read."""

    directory: Path
    config: NetworkConfig
    found: Mapping[str, Header]
    parts: tuple[Part, ...]

    @property
    def experts(self) -> Encoding:
        """How the experts are stored."""
        encodings: list[Encoding] = [part.encoding for part in self.parts if ".experts." in part.target]
        return encodings[0]

    @property
    def files(self) -> list[Path]:
        return sorted({header.file for header in self.found.values()})

    @property
    def nbytes(self) -> int:
        return total_bytes(self.files)


def inspect(directory: Path) -> Contents:
    """Reads `config.json` and the headers of the weights.

    Raises EngineError naming the file, field or tensor that is missing, unexpected, misshapen or damaged.
    """
    if not directory.is_dir():
        raise EngineError(f"{directory}: no such checkpoint directory")
    hf = read_json(directory / CONFIG)
    try:
        check_quantization(hf)
        config = NetworkConfig.from_hf(hf)
    except EngineError as error:
        raise EngineError(f"{directory}: {error}") from None
    found = headers(directory)
    try:
        parts = match(found, shapes(config))
    except EngineError as error:
        raise EngineError(f"{directory}: {error}") from None
    return Contents(directory, config, found, tuple(parts))


def shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """The network's tensors, its two kinds of layer scalars among them."""
    return {name: tuple(tensor.shape) for name, tensor in _empty(config).state_dict().items()}


def load(
    directory: Path | Contents,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    kept: Plan | None = None,
    on_progress: Progress | None = None,
) -> tuple[Network, NetworkConfig]:
    """Reads a checkpoint for inference: evaluation mode, no gradients, every tensor on `device`.

    kept: which weights are packed, and as what; None: none. The others are in `dtype`. on_progress: called with the
    share that is done, never falling, and how much that is. Raises EngineError as `inspect` does.

    Tensors go to the device one by one, those of experts one expert at a time; beyond the network itself, host memory
    holds one of them and two mapped files. On a CPU, tensors stored as they are wanted stay mapped from the file
    (privately: writing to them does not reach it).
    """
    contents = directory if isinstance(directory, Contents) else inspect(directory)
    kept = kept or plan(contents.config)
    network, reader = _empty(contents.config), Reader(contents.found)
    sizes, progress = shapes(contents.config), _Steps(contents, on_progress)
    slots: dict[str, Slot] = {}
    for part in contents.parts:
        kind = kept.kind(part.target)
        slot = slots.setdefault(part.target, Slot(sizes[part.target], kind, dtype))
        _check_ties(part, reader)
        for weight, expert in _weights(part, reader, kind, torch.device(device), dtype):
            slot.put(weight, expert, part.start)
        progress.advance(part)
    state: dict[str, Tensor] = {}
    for name in sizes:
        if name not in slots:  # only an encoder's layer scalar can be: `match` has seen to the others
            state[name] = state[name.replace("encoder_layer_scalar", "layer_scalar")].clone()
            continue
        value = slots.pop(name).value
        if isinstance(value, Packed):
            install(network, name, value, dtype)
        else:
            assert value is not None
            state[name] = value
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval().requires_grad_(False), contents.config


def save(
    network: Network, directory: Path, config: Mapping[str, Any] | None = None, dtype: torch.dtype | None = None
) -> None:
    """Writes `config.json` and `model.safetensors`, each replaced at once, so that a reader never sees half a file.

    config: the root of `config.json`, for a caller that keeps fields of its own there; None: `hf_config`. dtype:
    what the tensors are stored as; None: the network's. Raises ValueError if `config` describes another network, or if
    weights are packed.
    """
    if network.state_dict().keys() != shapes(network.config).keys():
        raise ValueError("packed weights are not what a checkpoint holds")
    hf = {**(hf_config(network.config) if config is None else config)}
    if NetworkConfig.from_hf(hf) != network.config:
        raise ValueError("config.json would describe another network than the one saved")
    dtype = dtype or network.dtype
    hf["dtype"] = str(dtype).removeprefix("torch.")
    state = {
        stored_name(name): tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in network.state_dict().items()
    }
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / f".{WEIGHTS}.partial"
    save_file(state, partial, metadata={"format": "pt"})  # some versions of transformers refuse a file without it
    os.replace(partial, directory / WEIGHTS)
    partial = directory / f".{CONFIG}.partial"
    partial.write_text(json.dumps(hf, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, directory / CONFIG)


def _empty(config: NetworkConfig) -> Network:
    with torch.device("meta"):
        return Network(config)


def _weights(
    part: Part, reader: Reader, kind: Kind, device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[Tensor | Packed, int | None]]:
    """The weight of a part and the expert it belongs to (None: no expert's), as `kind` where it is stored so.

    Fused experts come one by one if they are to be packed. What is to be packed comes as exact as it is stored.
    """
    if kind == "bf16":
        yield decode(part, reader.read, device, dtype), part.expert
    elif part.encoding == "fp8" and kind == "fp8":
        scale = reader.read(part.names["scale"]).to(device).reshape(-1).expand(part.shape[0])
        yield adopt_fp8(reader.read(part.names["weight"]).to(device), scale), part.expert
    elif part.encoding == "float" and len(part.shape) == 2:
        yield reader.read(part.names["weight"]).to(device), part.expert
    elif part.encoding == "float":
        for expert in range(part.shape[0]):
            yield reader.read(part.names["weight"], expert).to(device), expert
    else:
        yield decode(part, reader.read, device, torch.float32), part.expert


def _check_ties(part: Part, reader: Reader) -> None:
    if part.ties:
        mine = decode(part, reader.read, "cpu", torch.float32)
        for tie in part.ties:
            if not torch.equal(mine, decode(tie, reader.read, "cpu", torch.float32)):
                raise EngineError(
                    f"{tie.names['weight']} differs from the tensor it is tied to, {part.names['weight']}"
                )


class _Steps:
    """Progress in whole percents, by the weights that are done."""

    def __init__(self, contents: Contents, report: Progress | None) -> None:
        self._report, self._nbytes = report, contents.nbytes
        self._all = sum(math.prod(part.shape) for part in contents.parts)
        self._done, self._percent = 0, -1

    def advance(self, part: Part) -> None:
        self._done += math.prod(part.shape)
        percent = 100 * self._done // self._all
        if self._report is not None and percent > self._percent:
            self._percent = percent
            share = self._done / self._all
            self._report(share, f"{size(round(share * self._nbytes))} of {size(self._nbytes)}")
