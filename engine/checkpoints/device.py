"""Devices: which there are, what they can hold, and whether they just ran out of memory.

CUDA and ROCm look alike to torch and are both `cuda`; `mps` is Apple's; `cpu` is always there. Knows nothing of models.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch

from ..errors import EngineError
from ..kernels.packing import Kind

AUTO = "auto"
ENOUGH = 4 * 2**30  # free bytes from which `auto` prefers an accelerator to the CPU
# torch raises OutOfMemoryError for CUDA alone.
_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|cannot allocate memory", re.I)


@dataclass(frozen=True)
class DeviceFacts:
    """free, total: bytes, None where nobody knows; dtype: of weights that are not packed."""

    name: str
    label: str
    free: int | None
    total: int | None
    dtype: str


def resolve(name: str) -> torch.device:
    """The device `name` stands for: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`. Raises EngineError where there is none."""
    if name == AUTO:
        return torch.device(_best())
    try:
        device = torch.device(name)
    except RuntimeError:
        raise EngineError(f"device {name!r} cannot be used: there are auto, cpu, cuda, cuda:1 and so on, mps") from None
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type == "cuda" and not torch.cuda.is_available():
        why = (
            "no GPU or no driver was found"
            if torch.version.cuda or torch.version.hip
            else "this installation of torch was built without CUDA and ROCm"
        )
        raise EngineError(f"device {name!r} cannot be used: {why}")
    if device.type == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise EngineError(f"device {name!r} cannot be used: there are {torch.cuda.device_count()} GPUs, counted from 0")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise EngineError(f"device {name!r} cannot be used: this machine or this installation of torch has no MPS")
    if device.type not in ("cuda", "mps"):
        raise EngineError(f"device {name!r} cannot be used: the engine runs on cpu, cuda and mps")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise EngineError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device


def available() -> list[DeviceFacts]:
    """Every device that `resolve` takes, accelerators first."""
    return [facts(torch.device(name)) for name in _accelerators()] + [facts(torch.device("cpu"))]


def facts(device: torch.device) -> DeviceFacts:
    total: int | None
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        label, total = properties.name, properties.total_memory
    elif device.type == "mps":
        label, total = "Apple GPU", torch.mps.recommended_max_memory()
    else:
        label, total = f"{os.cpu_count() or 1} cores", _physical_memory()
    dtype = str(best_dtype(device)).removeprefix("torch.")
    return DeviceFacts(str(device), label, free_memory(device), total, dtype)


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it; float32 elsewhere, where bfloat16 would be emulated and slower."""
    if device.type == "cpu" and not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return torch.float32
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float32
    return torch.bfloat16


def kinds(device: torch.device) -> tuple[Kind, ...]:
    """As what weights can be kept there: all but fp8, which MPS has no type for, everywhere."""
    return tuple(kind for kind in get_args(Kind) if device.type != "mps" or kind != "fp8")


def free_memory(device: torch.device) -> int | None:
    """Bytes a model could use there; None where nobody knows."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return _free_host_memory()


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` is how this device says that it has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None


def give_back(device: torch.device) -> None:
    """Returns memory that torch keeps for later to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def _best() -> str:
    for name in _accelerators():
        free = free_memory(torch.device(name))
        if free is not None and free >= ENOUGH:
            return name
    return "cpu"


def _accelerators() -> list[str]:
    if torch.cuda.is_available():
        return [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return ["mps"] if torch.backends.mps.is_available() else []


def _free_host_memory() -> int | None:
    """MemAvailable, or less where a control group allows less; the whole of it where the system does not say."""
    free = _physical_memory()
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return free
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no limit reads "max"
        return free
    return max(0, min(free, limit - used))


def _physical_memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # no such call outside POSIX
        return None
