"""Imports made quick: what stands between an editor and the answer to its `initialize`."""

import ctypes
import gc
import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import attrs

log = logging.getLogger(__name__)


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


def open_torch() -> None:
    """Have the system load torch's big library before Python imports it, without holding the interpreter meanwhile.

    `import torch` in a thread would keep the event loop from running for as long as the library's relocations take
    (measured: 0.3 to 0.9 s). A foreign call releases the interpreter, an import does not. A no-op where it fails.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        return
    library = Path(spec.submodule_search_locations[0], "lib", "libtorch_cpu.so")
    try:
        dlopen = ctypes.CDLL(None).dlopen
        dlopen.restype, dlopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
        if library.exists():
            dlopen(os.fsencode(library), os.RTLD_LAZY | os.RTLD_LOCAL)
    except (OSError, AttributeError, TypeError) as error:
        log.debug("torch is loaded the slow way: %s", error)
