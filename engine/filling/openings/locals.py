"""A missing line that declares what the lines below it use, or goes through the items they use.

How this file declares names is told by counting.
"""

from __future__ import annotations

import re
from collections import Counter

from . import names
from .line import MissingLine, Opening

LOCAL = "local"
NEAR = 20_000  # characters on either side of the gap in which every name is looked at

_DECLARED = re.compile(r"^[ \t]*(?:(const|let|var|val|auto|local|my)\s+)?[A-Za-z_]\w*\s*(:?=)(?![=>])", re.MULTILINE)
_CHANGED = r"\s*(?:[-+*/%&|^]?=(?![=>])|\+\+|--)"
_DECLARATION = re.compile(_DECLARED.pattern + r".*\S", re.MULTILINE)
_LOOPS = re.compile(r"^[ \t]*(for \(?(?:const |let |var )?)[A-Za-z_]\w* (in|of) ", re.MULTILINE)

VALUES = (
    (re.compile(r"\.(?:append|extend|insert|push|unshift)\("), "[]"),
    (re.compile(r"\s*\+=\s*(?:[fr]?[\"'`]|str\()"), '""'),
    (re.compile(r"\s*\*="), "1"),
    (re.compile(r"\s*(?:[+-]=|\+\+|--)"), "0"),
)
"""How a name is used below, and what it must then be to begin with: in most languages written alike."""


def declarations(line: MissingLine, limit: int = 2) -> list[Opening]:
    """`name =` in the file's own manner, or `for name in` where the next line is further in, for the names that are
    used first below. None where the file declares nothing that could be followed."""
    deeper = line.inner > line.margin
    manner = _loop(line.whole) if deeper else _manner(line.whole)
    if manner is None or line.inner < line.margin:
        return []
    code = names.code("\n".join(line.block()))
    outer, scope = line.split()
    below = names.outermost(line.after.partition("\n")[2][:NEAR])
    seen = names.WORDS | set(names.WORD.findall(names.code(scope))) | names.known(outer[-NEAR:]) | names.declared(below)
    found = []
    for name in [name for name in dict.fromkeys(names.used(code)) if name not in seen][:limit]:
        opening = line.blank + manner.format(name)
        if opening.lstrip().startswith("const ") and re.search(rf"(?<![\w.]){name}{_CHANGED}", code):
            opening = opening.replace("const ", "let ", 1)
        value = "" if deeper else _value(name, code)
        found.append(Opening(LOCAL, opening, f"{opening} {value}{_ending(line.whole)}" if value else ""))
    return found


def _value(name: str, code: str) -> str:
    """What the first use of the name that says so asks of its value; empty where none does."""
    for use in re.finditer(rf"(?<![\w.]){re.escape(name)}\b", code):
        for pattern, value in VALUES:
            if pattern.match(code, use.end()):
                return value
    return ""


def _ending(text: str) -> str:
    """What ends the file's declarations."""
    ends = Counter(match[0][-1] for match in _DECLARATION.finditer(text))
    return ";" if 2 * ends[";"] > ends.total() else ""


def _loop(text: str) -> str | None:
    """How the file goes through the items of something, with a place for one's name."""
    found = _LOOPS.search(text)
    if found is not None:
        return f"{found[1]}{{}} {found[2]}"
    return "for {} in" if "\ndef " in "\n" + text else None


def _manner(text: str) -> str | None:
    """How the file declares a name, with a place for it."""
    counts = Counter(match.groups() for match in _DECLARED.finditer(text))
    if not counts:
        return None
    worded = [found for found in counts if found[0]]
    if worded and 3 * sum(counts[found] for found in worded) >= counts.total():
        word, sign = max(worded, key=counts.__getitem__)
        return f"{word} {{}} {sign}"
    _, sign = max((found for found in counts if not found[0]), key=counts.__getitem__)
    return f"{{}} {sign}"
