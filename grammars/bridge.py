"""Where a grammar comes from: the official wheel, else the copy in tree-sitter-languages, else nowhere.

A grammar is a C library; it is imported when its language is first asked for, once, and whatever goes wrong then means
"no grammar", never an error. Knows nothing of the table of languages.

tree-sitter-languages (Python < 3.13, an optional extra) holds 49 grammars in one library of 85 MB. Its own API fits no
py-tree-sitter of today, so its Cython core is never imported: the library is found beside it and mapped by ctypes (the
system reads the pages it needs), and a grammar's pointer goes to py-tree-sitter in the capsule it expects of a wheel.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

from tree_sitter import Language as Grammar

PACKAGE = "tree_sitter_languages"
CAPSULE = b"tree_sitter.Language"  # the name py-tree-sitter looks for; kept here because a capsule does not copy it

_lock = Lock()


def load(wheel: str, bridged: str) -> Grammar | None:
    """The grammar of `wheel` ("module" or "module:function"), else of `bridged` (a name in tree-sitter-languages)."""
    with _lock:
        return _load(wheel, bridged)


@lru_cache(maxsize=256)
def _load(wheel: str, bridged: str) -> Grammar | None:
    return (_from_wheel(wheel) if wheel else None) or (_from_bridge(bridged) if bridged else None)


def _from_wheel(wheel: str) -> Grammar | None:
    module, _, function = wheel.partition(":")
    try:
        return Grammar(getattr(importlib.import_module(module), function or "language")())
    except (ImportError, AttributeError, OSError, TypeError, ValueError):
        return None


def _from_bridge(name: str) -> Grammar | None:
    library = _library()
    if library is None:
        return None
    try:
        symbol = getattr(library, f"tree_sitter_{name}")
        symbol.restype = ctypes.c_void_p
        capsule = ctypes.pythonapi.PyCapsule_New
        capsule.restype, capsule.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return Grammar(capsule(symbol(), CAPSULE, None))
    except (AttributeError, OSError, TypeError, ValueError):
        return None


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    try:
        spec = find_spec(PACKAGE)  # finds a package without importing it
        places = spec.submodule_search_locations if spec else None
        name = "languages.dll" if sys.platform == "win32" else "languages.so"
        paths = [path for place in places or () if (path := Path(place) / name).is_file()]
        return ctypes.CDLL(str(paths[0])) if paths else None
    except (ImportError, OSError, ValueError):
        return None
