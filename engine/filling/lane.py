"""A second core: something done on a thread of its own while the caller does something else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from typing import TypeVar

import torch

T = TypeVar("T")


class Lane:
    """Does one thing at a time, in inference mode and in the caller's context. Its thread ends with it."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "midspan-lane")

    @contextmanager
    def doing(self, work: Callable[[], T]) -> Iterator[Callable[[], T]]:
        """Begins `work`, and is left only when that is over. What it yields waits for the result, or raises its
        error."""
        future = self._pool.submit(copy_context().run, torch.inference_mode()(work))
        try:
            yield future.result
        finally:
            wait((future,))
