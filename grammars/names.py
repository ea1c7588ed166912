"""A file's name → its LSP languageId, for documents that no editor has named the language of.

By the whole name (`Makefile`), the longest known ending (`.d.ts`), or the interpreter of the first line. Knows nothing
of file systems: names and text come in, ids go out.
"""

from __future__ import annotations

import re

from .languages import id_of

_REACT = {".jsx": "javascriptreact"}
_INTERPRETER = re.compile(r"#!\s*\S*?(?:/env\s+(?:-\S+\s+|\w+=\S*\s+)*)?(?P<name>[A-Za-z_+]+)[\d.]*(?:\s|\Z)")


def language_id(name: str, text: str = "") -> str:
    """The languageId of a file by its name (with or without folders) and the beginning of its text.

    "plaintext" where neither tells, or the bare ending, which some editors use as the id: `x.foo` is "foo".
    """
    base = re.split(r"[/\\]", name)[-1]
    for ending, react in _REACT.items():
        if base.lower().endswith(ending):
            return react
    first_line = text[:200].partition("\n")[0]
    interpreter = _INTERPRETER.match(first_line.rstrip("\r"))
    known = id_of(base, interpreter["name"].lower() if interpreter else "")
    return known or base[1:].rpartition(".")[2].lower() * ("." in base[1:]) or "plaintext"
