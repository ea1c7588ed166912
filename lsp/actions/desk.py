"""One place of one text, written by one engine: what stands around it, and whether a text is fit to stand in it.

Runs on the engine thread. Knows nothing of the protocol, or of why something is rewritten.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..filters.surroundings import filled_lines, leading, width
from ..lines import plain
from .places import Place, same
from .repairs import Edit
from .stubs import is_stub

if TYPE_CHECKING:
    from ...engine import Engine, Infill
    from ...grammars import Syntax

ANEW = 1.0
IN_PIECES = 0.999  # all of it as well, but as long as it is, whatever that is
BODY_TOKENS = 128
TOKEN_CHARS = 3  # code points of a token of code, rather too few
Check = Callable[[str], Sequence[tuple[int, int]]]


@dataclass(frozen=True)
class Bounds:
    """What one rewrite may use. document: the key of the encoded prefix that is kept between requests."""

    seed: int
    deadline: float  # time.monotonic()
    cancelled: Callable[[], bool]
    document: str = ""

    def over(self) -> bool:
        return self.cancelled() or time.monotonic() > self.deadline


class Desk:
    """One place of one text, written by one engine."""

    def __init__(self, place: Place, syntax: "Syntax", engine: "Engine", bounds: Bounds) -> None:
        self.place, self.syntax, self.engine, self.bounds = place, syntax, engine, bounds
        self.before = plain(syntax.text[: place.start]) + place.lead
        self.old = "" if place.kind == "body" else plain(syntax.text[place.start : place.end])
        self.after = place.tail + plain(syntax.text[place.end :])
        self.around = place.surroundings(syntax.text)
        self.filters = place.filters(self.old, self.around)

    def rewritten(self, strength: float, seed: int, instruction: str, check: Check) -> "Infill":
        old, told = self.old, None
        if strength >= ANEW and len(old) > TOKEN_CHARS * max(self.engine.limits.gap_buckets):
            strength = IN_PIECES  # one gap would not hold it, and what it does not hold would be lost
        if instruction:
            told = f"{instruction}\nIn place of:\n{old}"
            # A fresh fill reads off the selection whether it is one line, which an instruction may change.
            old = old + "\n" if strength >= ANEW and not self.place.single_line else old
        return self.engine.rewrite(
            self.before,
            old,
            self.after,
            strength,
            told,
            seed=seed,
            document=self.bounds.document,
            deadline=self.bounds.deadline,
            cancelled=self.bounds.cancelled,
            check=check,
        )

    def filled(self, seed: int, check: Check) -> "Infill":
        from ...engine import InfillRequest  # noqa: PLC0415  (imported already: it has loaded the engine)

        return self.engine.infill(
            InfillRequest(
                self.before,
                self.after,
                max_tokens=BODY_TOKENS,
                single_line=False,
                seed=seed,
                document=self.bounds.document,
                deadline=self.bounds.deadline,
                cancelled=self.bounds.cancelled,
                check=check,
            )
        )

    def culprits(self, text: str) -> Sequence[tuple[int, int]]:
        """What of a whole text is suspect, for the engine to think again about."""
        from ...grammars.repair import culprits  # noqa: PLC0415

        lead, start = len(self.place.lead), self.place.start
        found = culprits(self.syntax, self._with(text), start, self._end(text))
        return [(min(max(a - lead, 0), len(text)), min(max(b - lead, 0), len(text))) for a, b in found]

    def kept(self, text: str) -> str:
        """What the filters leave of a text; "" for nothing."""
        for step in self.filters:
            left = step(text, self.around)
            if left is None:
                return ""
            text = left
        return text

    def fitting(self, text: str) -> Edit | None:
        """The edit that writes `text`, if it is worth making."""
        from ...grammars import new_errors  # noqa: PLC0415

        text, place = self.kept(text), self.place
        if place.kind == "body" and is_stub(text):
            return None
        if not text.strip() or same(text, self.old):
            return None
        if new_errors(self.syntax, self._with(text), place.start, self._end(text)) or self._waits(text):
            return None
        return Edit(place.start, place.end, place.lead + text + place.tail)

    def _end(self, text: str) -> int:
        """Where the text written ends, its line's break included: a header on the last line must have its body then."""
        end = self.place.start + len(self.place.lead + text + self.place.tail)
        return end + (self.syntax.text[self.place.end : self.place.end + 1] in ("\n", "\r"))

    def _waits(self, text: str) -> bool:
        """Whether the text ends in a header whose body does not follow, which some grammars let pass."""
        header = re.compile(self.syntax.language.header)
        last = text.rstrip().rsplit("\n", 1)[-1]
        if not self.syntax.language.indented or self.around.rest.strip() or header.search(last) is None:
            return False
        margin = self.around.margin if "\n" not in text.rstrip() else leading(last)
        below = next(iter(filled_lines(self.around.following)), "")
        return width(leading(below)) <= width(margin)

    def _with(self, text: str) -> "Syntax":
        place = self.place
        return self.syntax.edited(place.start, place.end, place.lead + text + place.tail)


def texts(infill: "Infill") -> list[str]:
    """The whole texts an attempt gave, best first."""
    if infill.stop == "cancelled":
        return []
    return list(dict.fromkeys([*(one.text for one in infill.candidates), infill.text]))
