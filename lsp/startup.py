"""Imports made quick: what stands between an editor and the answer to its `initialize`."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import attrs


@contextmanager
def lean_imports() -> Iterator[None]:
    """Within it, attrs classes get no `__repr__`, and nothing is collected.

    lsprotocol generates and compiles the methods of 554 classes when it is imported, most of the server's start; a
    third of that is for `__repr__` (measured: 150 → 98 ms of CPU). Nothing here prints messages, and a repr that does
    not exist cannot put the user's text into a log.
    """
    define = attrs.define
    attrs.define = partial(define, repr=False)
    gc.disable()
    try:
        yield
    finally:
        attrs.define = define
        gc.enable()
        gc.freeze()  # the classes stay for ever; no later collection needs to look at them
