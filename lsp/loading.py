"""From what the settings say to an engine in memory, and out of it again. Runs on the engine thread.

The only module here that imports torch, and only when it is called. Knows nothing of jobs or of who waits.
"""

import ctypes
import gc
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .startup import open_torch

if TYPE_CHECKING:
    from ..engine import Engine

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineSpec:
    """directory None: the bundled checkpoint; quantize None: as the device has room; memory_limit: megabytes."""

    directory: Path | None = None
    device: str = "cpu"
    threads: int = 1
    quantize: str | None = None
    memory_limit: int | None = None


class LoadError(Exception):
    """There is no engine to be had. The message is one sentence for the user."""


def load_engine(spec: EngineSpec, on_progress: Callable[[float, str], None]) -> "Engine":
    """on_progress: called with 0 … 1 and what is being done. Raises LoadError."""
    # Read by OpenMP when torch is imported: idle threads must sleep, not spin.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", str(spec.threads))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Compiled products kept, one per shape; the default of 1024 is hundreds of megabytes.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
    started = time.monotonic()
    try:
        open_torch()
        from ..engine import Engine, EngineError  # noqa: PLC0415  (imports torch: seconds, and only here)
    except Exception as error:
        log.exception("the engine could not be imported")
        raise LoadError(f"{type(error).__name__}: {error}") from error
    try:
        engine = Engine.load(
            spec.directory,
            device=spec.device,
            threads=spec.threads,
            quantize=spec.quantize,
            on_progress=on_progress,
        )
    except EngineError as error:
        log.error("the engine could not be loaded: %s", error)
        raise LoadError(str(error)) from error
    except Exception as error:
        log.exception("the engine could not be loaded")
        raise LoadError(f"{type(error).__name__}: {error}") from error
    log.info("%s loaded in %.1f s", engine.name, time.monotonic() - started)
    return engine


def release() -> None:
    """Give the memory of an engine that was forgotten back to the system."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform.startswith("linux"):
        try:
            ctypes.CDLL(None).malloc_trim(0)
        except (OSError, AttributeError):
            log.debug("this C library has no malloc_trim")


def over_limit(limit: int | None) -> str:
    """A sentence when the process holds more than `limit` megabytes, "" when not or where that cannot be told."""
    resident = _resident() if limit is not None else None
    if limit is None or resident is None or resident <= limit:
        return ""
    return f"it takes {resident} MB, more than the memoryLimit of {limit} MB"


def _resident() -> int | None:
    """Megabytes of this process that are in memory."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") // 1_000_000
