"""Where tensors live, and whether Triton serves them there.

Triton is imported on first use by a tensor on a GPU, never before: a machine without one does not need it installed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from traceback import walk_tb
from typing import Literal

import torch
from torch import Tensor

KIB = 1024
# Bytes of shared memory one program can use (CUDA C++ Programming Guide, "Compute Capabilities"; LDS on AMD).
SHARED = {80: 163 * KIB, 86: 99 * KIB, 87: 163 * KIB, 89: 99 * KIB, 90: 227 * KIB, 100: 227 * KIB, 120: 99 * KIB}
AMD_SHARED = 64 * KIB


@dataclass(frozen=True)
class Target:
    """A kind of GPU. arch: compute capability, as 90 for 9.0, or "gfx942"; processors: SMs or compute units."""

    backend: Literal["cuda", "hip"]
    arch: int | str
    name: str
    processors: int

    @property
    def shared(self) -> int:
        """Bytes of shared memory one program can use; for an unknown GPU the least of the known."""
        return SHARED.get(self.arch, 99 * KIB) if isinstance(self.arch, int) else AMD_SHARED

    @property
    def warp(self) -> int:
        """Lanes: 64 on AMD's CDNA (gfx9), else 32."""
        return 64 if str(self.arch).startswith("gfx9") else 32

    @property
    def warpgroups(self) -> bool:
        """Hopper's wgmma: 64 rows by 4 warps, and room in shared memory to feed them."""
        return self.arch == 90


HOPPER = Target("cuda", 90, "NVIDIA H200", 132)
_pretended: ContextVar[Target | None] = ContextVar("pretended", default=None)
_torch_only: ContextVar[bool] = ContextVar("torch_only", default=False)
_given_up = False
log = logging.getLogger(__name__)


@contextmanager
def pretend(target: Target) -> Iterator[None]:
    """Launch configurations as on `target`, for compiling ahead of time and for tests."""
    token = _pretended.set(target)
    try:
        yield
    finally:
        _pretended.reset(token)


@contextmanager
def torch_only() -> Iterator[None]:
    """Everything takes its plain-torch form, on a GPU too: to compare, and to fall back on."""
    token = _torch_only.set(True)
    try:
        yield
    finally:
        _torch_only.reset(token)


def kernels_wanted() -> bool:
    """Whether anything but the plain-torch form may run: no gradient is wanted, for only that form has one, and this is
    not within `torch_only`."""
    return not torch.is_grad_enabled() and not _torch_only.get()


def target_of(device: torch.device) -> Target:
    """The GPU behind `device`; a Hopper where there is none, which only the interpreter and compiling get to see."""
    return _pretended.get() or (_target(device.index or 0) if device.type == "cuda" else HOPPER)


@lru_cache
def _target(index: int) -> Target:
    properties = torch.cuda.get_device_properties(index)
    if torch.version.hip:
        arch = str(properties.gcnArchName).split(":")[0]
        return Target("hip", arch, properties.name, properties.multi_processor_count)
    return Target("cuda", properties.major * 10 + properties.minor, properties.name, properties.multi_processor_count)


@lru_cache
def _installed() -> bool:
    return find_spec("triton") is not None


def interpreted() -> bool:
    """Whether Triton runs kernels on the CPU, in Python: for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def use_triton(x: Tensor) -> bool:
    """Whether x's operations go to Triton: on a GPU with Triton installed that has compiled everything so far."""
    return (x.is_cuda or interpreted()) and kernels_wanted() and _installed() and not _given_up


def gives_up(error: BaseException) -> bool:
    """Whether `error` came out of Triton, which cannot compile or launch a kernel here: a GPU it does not know, no C
    compiler, no headers. Then, from now on and in this process, everything takes its plain-torch form: slower, and
    right."""
    modules = (frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__))
    if not any(name.split(".")[0] == "triton" for name in modules):
        return False
    global _given_up  # noqa: PLW0603
    _given_up = True
    log.warning("the GPU's kernels cannot be used here, plain operations take their place: %s", str(error)[-300:])
    return True
