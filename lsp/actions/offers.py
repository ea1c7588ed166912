"""Which rewrites are offered for a selection: decided by the syntax alone, since editors ask at every cursor move.

Knows nothing of models but whether one follows instructions, nothing of the protocol, and never computes a rewrite.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .repairs import broken_lines
from .spoken import spoken
from .stubs import stub_at

if TYPE_CHECKING:
    from ...grammars import Syntax

REWRITE = "refactor.rewrite.midspan"
REFILL = f"{REWRITE}.refill"
LIGHTLY = f"{REWRITE}.lightly"
INSTRUCTION = f"{REWRITE}.instruction"
BODY = f"{REWRITE}.body"
REPAIR = "quickfix.midspan.repair"

TITLES = {
    REPAIR: "Midspan: repair the syntax error here",
    BODY: "Midspan: fill this body",
    LIGHTLY: "Midspan: rewrite the selection lightly",
    REFILL: "Midspan: write the selection anew",
    INSTRUCTION: "Midspan: rewrite as the comment says",
}
"""Every kind there is, in the order in which they are offered."""


@dataclass(frozen=True)
class Offer:
    """One rewrite that could be computed. broken: for a repair, the text (code points) whose errors it is about."""

    kind: str
    broken: tuple[int, int] | None = None

    @property
    def title(self) -> str:
        return TITLES[self.kind]


def asked_for(only: Sequence[str] | None) -> frozenset[str]:
    """The kinds an editor wants when it names these or what they are sub-kinds of; None: all (LSP 3.18,
    `CodeActionKind`: kinds are hierarchical, "" is the root)."""
    return frozenset(
        kind
        for kind in TITLES
        if only is None or any(name in ("", kind) or kind.startswith(f"{name}.") for name in only)
    )


def offers(
    syntax: "Syntax", start: int, end: int, wanted: frozenset[str], follows_instructions: bool = False
) -> list[Offer]:
    """What can be offered of the `wanted` kinds for code points [start, end), which may be empty. Never raises."""
    found: list[Offer] = []
    if REPAIR in wanted and (broken := broken_lines(syntax, start, end)) is not None:
        found.append(Offer(REPAIR, broken))
    if BODY in wanted and stub_at(syntax, start, end) is not None:
        found.append(Offer(BODY))
    if syntax.text[start:end].strip():
        found += [Offer(kind) for kind in (LIGHTLY, REFILL) if kind in wanted]
        if INSTRUCTION in wanted and follows_instructions and spoken(syntax, start, end) is not None:
            found.append(Offer(INSTRUCTION))
    return found
