"""What the function around a gap is given and declares, and what of it the code around the gap uses."""

from __future__ import annotations

import re
from dataclasses import dataclass

from . import names
from .line import MissingLine, margin

_HEADER = re.compile(r"(?:def|function|func|fn|fun|constructor)\b[^(\n]*\(")
_READ = re.compile(r"(?<![\w.])([A-Za-z_]\w*+)(?!\s*=(?!=))")
_INNERMOST = re.compile(r"[\[(][^\[\]()]*[\])]")


@dataclass(frozen=True)
class Scope:
    """given: parameters, in their order. body: code of the function without the gap."""

    given: tuple[str, ...]
    body: str

    @property
    def forgotten(self) -> list[str]:
        """Parameters that the body does not mention."""
        read = set(_READ.findall(self.body))
        return [name for name in self.given if name not in read]

    @property
    def idle(self) -> frozenset[str]:
        """Parameters and local names that nothing reads."""
        own = {*self.given, *names.declared(self.body)} - names.WORDS - {"_"}
        return frozenset(own - set(_READ.findall(self.body)))


def scope(line: MissingLine, begun: str = "") -> Scope | None:
    """None where no function's header stands above. begun: text of the gap's line in front of it."""
    if line.header is None:
        return None
    outer = margin(line.above[line.header])
    rest, *below = line.after.split("\n")
    inside = next((i for i, one in enumerate(below) if one.strip() and margin(one) <= outer), len(below))
    code = names.code("\n".join((*line.above[line.header :], begun + rest, *below[:inside])))
    match = _HEADER.search(code)
    end = names.closing(code, match.end()) if match else -1
    if match is None or end < 0:
        return None
    flat = re.sub(r"\s+", " ", _INNERMOST.sub("", code[match.end() : end]))
    return Scope(tuple(name for name in names.items(flat) if name not in names.WORDS), code[end:])
