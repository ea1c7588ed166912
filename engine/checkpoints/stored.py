"""What a checkpoint directory stores: names, shapes and dtypes of its tensors, and the tensors one at a time.

One `model.safetensors`, or the shards of `model.safetensors.index.json`. Knows files; knows nothing of what a tensor is
for. Absent on purpose: pickled weights, downloads.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import EngineError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
OPEN_FILES = 2  # shards mapped at once; a module's tensors may lie on either side of a cut between two


@dataclass(frozen=True)
class Header:
    """Where a tensor is, and what it is; dtype is the file format's name, such as "BF16" or "F8_E4M3"."""

    file: Path
    dtype: str
    shape: tuple[int, ...]


def headers(directory: Path) -> dict[str, Header]:
    """Stored name -> header of every tensor. Reads no tensor. Raises EngineError naming the file or tensor at fault."""
    found: dict[str, Header] = {}
    placed = _placed(directory)
    for file in sorted(set(placed.values())):
        weights = _open(file)
        held = set(weights.keys())
        for name, where in placed.items():
            if where == file and name not in held:
                raise EngineError(f"{file}: tensor {name}, which {INDEX} places here, is missing")
        for name in sorted(held):
            if placed.get(name) != file:
                raise EngineError(f"{file}: unexpected tensor {name}, which {INDEX} does not place here")
            view = weights.get_slice(name)
            found[name] = Header(file, view.get_dtype(), tuple(view.get_shape()))
    return found


class Reader:
    """Tensors by their stored names, as they are stored, on the CPU.

    They are mapped from the files: what is only looked at and let go is never copied. At most OPEN_FILES files are
    mapped at once, beside the tensors that a caller keeps.
    """

    def __init__(self, found: Mapping[str, Header]) -> None:
        self._found = found
        self._open: OrderedDict[Path, Any] = OrderedDict()

    def read(self, name: str, index: int | None = None) -> Tensor:
        """The tensor, or the `index`-th of its leading dimension. Raises EngineError."""
        file = self._found[name].file
        if file not in self._open:
            while len(self._open) >= OPEN_FILES:
                self._open.popitem(last=False)
            self._open[file] = _open(file)
        self._open.move_to_end(file)
        try:
            if index is None:
                return self._open[file].get_tensor(name)
            return self._open[file].get_slice(name)[index]
        except (SafetensorError, OSError, RuntimeError) as error:
            raise EngineError(f"{file}: {name} cannot be read: {error}") from None


def read_json(file: Path) -> Mapping[str, Any]:
    """The object in one of a checkpoint's JSON files. Raises EngineError."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EngineError(f"{file} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise EngineError(f"{file} cannot be read: {error}") from None
    if not isinstance(value, Mapping):
        raise EngineError(f"{file} holds no JSON object")
    return value


def total_bytes(files: Iterable[Path]) -> int:
    """Size of `files` on disk, each counted once."""
    return sum(file.stat().st_size for file in set(files))


def _placed(directory: Path) -> dict[str, Path]:
    """Stored name -> the safetensors file that is said to hold it."""
    if (directory / WEIGHTS).is_file():
        return dict.fromkeys(_open(directory / WEIGHTS).keys(), directory / WEIGHTS)
    if not (directory / INDEX).is_file():
        pickled = sorted(path.name for path in directory.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        if pickled:
            raise EngineError(
                f"{directory}: {pickled[0]} is a pickle, which can run code when it is read; "
                "convert the weights to safetensors"
            )
        raise EngineError(f"{directory / WEIGHTS} is missing")
    listed = read_json(directory / INDEX).get("weight_map")
    if not isinstance(listed, Mapping) or not listed:
        raise EngineError(f"{directory / INDEX}: weight_map is missing")
    for name in listed.values():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise EngineError(f"{directory / INDEX}: {name!r} is not the name of a safetensors file beside it")
    return {stored: directory / name for stored, name in listed.items()}


def _open(file: Path) -> Any:
    if not file.is_file():
        raise EngineError(f"{file} is missing")
    try:
        return safe_open(file, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise EngineError(f"{file} is not a whole safetensors file: {error}") from None
