"""One rewrite: a wish and a document's syntax in, the edit out, or the reason why there is none.

Runs on the engine thread. Everything it reads is in its arguments. What it gives always parses no worse than what
stood there, says something else, and is not empty; a repair has fewer errors. Knows nothing of the protocol.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..lines import line_ending, plain
from .offers import BODY, INSTRUCTION, LIGHTLY, REPAIR
from .places import Place, same
from .repairs import Edit, broken_lines, damage, mends, suspects, token_edits
from .spoken import spoken
from .stubs import is_stub, stub_at

if TYPE_CHECKING:
    from ...engine import Engine, Infill
    from ...grammars import Syntax

ANEW = 1.0
IN_PIECES = 0.999  # all of it as well, but as long as it is, whatever that is
LIGHT = (0.25, 0.4, 0.6)  # shares of a selection that are denoised again, until something else comes out
DRAWS = 4  # fresh fills that are tried
BODY_TOKENS = 128
TOKEN_CHARS = 3  # code points of a token of code, rather too few
MENDING = (0.3, ANEW)  # strengths at which a broken line is written
TOKEN_EDITS_SECONDS = 3.0  # of one repair, for trying single tokens


class NothingBetterError(Exception):
    """There is no edit to make; the message says why, for the user."""


@dataclass(frozen=True)
class Wish:
    """What is to be rewritten, code points [start, end), and how. strength 0: as the kind has it."""

    kind: str
    start: int
    end: int
    instruction: str = ""
    strength: float = 0.0


@dataclass(frozen=True)
class Bounds:
    """What one rewrite may use. document: the key of the encoded prefix that is kept between requests."""

    seed: int
    deadline: float  # time.monotonic()
    cancelled: Callable[[], bool]
    document: str = ""

    def over(self) -> bool:
        return self.cancelled() or time.monotonic() > self.deadline


def rewritten(wish: Wish, syntax: "Syntax", engine: "Engine", bounds: Bounds) -> Edit:
    """The edit, its line ends those of the document. Raises NothingBetterError, also when it was called off."""
    if wish.kind == REPAIR:
        edit = _repaired(wish, syntax, engine, bounds)
    else:
        edit = _written(wish, syntax, engine, bounds)
    if edit is None:
        raise NothingBetterError(_why(wish, bounds))
    ending = line_ending(syntax.text)
    return Edit(edit.start, edit.end, edit.text.replace("\n", ending))


def _why(wish: Wish, bounds: Bounds) -> str:
    if bounds.over():
        return "it took too long"
    return "no repair was found" if wish.kind == REPAIR else "no better text was found"


def _written(wish: Wish, syntax: "Syntax", engine: "Engine", bounds: Bounds) -> Edit | None:
    place, instruction = _place(wish, syntax)
    if instruction and not getattr(engine, "follows_instructions", False):
        raise NothingBetterError(f"{engine.name} follows no instructions")
    desk = _Desk(place, syntax, engine, bounds)
    for infill in desk.attempts(wish, instruction):
        for text in _texts(infill):
            if (edit := desk.fitting(text)) is not None:
                return edit
        if bounds.over():
            break
    return None


def _place(wish: Wish, syntax: "Syntax") -> tuple[Place, str]:
    """Where to write, and what the user says about it."""
    if wish.kind == BODY:
        place = stub_at(syntax, wish.start, wish.end)
        if place is None:
            raise NothingBetterError("there is no body to fill here")
        return place, wish.instruction
    start, end, instruction = wish.start, wish.end, wish.instruction
    if wish.kind == INSTRUCTION and not instruction:
        said = spoken(syntax, start, end)
        if said is None:
            raise NothingBetterError("no comment says what is wanted")
        start, end, instruction = said.start, said.end, said.instruction
    return _selected(syntax, start, end), instruction


def _selected(syntax: "Syntax", start: int, end: int) -> Place:
    from ...grammars import choose_selection  # noqa: PLC0415  (loads tree-sitter)

    chosen = choose_selection(syntax, start, end)
    old = syntax.text[chosen.start : chosen.end]
    if not old.strip():
        raise NothingBetterError("nothing is selected")
    return Place(chosen.kind, chosen.start, chosen.end, chosen.indent, "\n" not in plain(old))


class _Desk:
    """One place of one text, written by one engine."""

    def __init__(self, place: Place, syntax: "Syntax", engine: "Engine", bounds: Bounds) -> None:
        self.place, self.syntax, self.engine, self.bounds = place, syntax, engine, bounds
        self.before = plain(syntax.text[: place.start]) + place.lead
        self.old = "" if place.kind == "body" else plain(syntax.text[place.start : place.end])
        self.after = place.tail + plain(syntax.text[place.end :])
        self.around = place.surroundings(syntax.text)
        self.filters = place.filters(self.old, self.around)

    def attempts(self, wish: Wish, instruction: str) -> "Iterator[Infill]":
        """What the engine writes, one attempt after the other, each unlike those before."""
        if self.place.kind == "body":
            for seed in self._seeds():
                yield self._filled(seed, self.culprits)
            return
        strengths: Sequence[float] = (wish.strength,) if wish.strength else LIGHT if wish.kind == LIGHTLY else (ANEW,)
        for strength in strengths:
            for seed in self._seeds()[: 1 if strength < ANEW and len(strengths) > 1 else None]:
                yield self.rewritten(strength, seed, instruction, self.culprits)

    def rewritten(
        self, strength: float, seed: int, instruction: str, check: Callable[[str], Sequence[tuple[int, int]]]
    ) -> "Infill":
        old, told = self.old, None
        if strength >= ANEW and len(old) > TOKEN_CHARS * max(self.engine.limits.gap_buckets):
            strength = IN_PIECES  # one gap would not hold it, and what it does not hold would be lost
        if instruction:
            told = f"{instruction}\nIn place of:\n{old}"
            # A fresh fill reads off the selection whether it is one line, which an instruction may change.
            old = old + "\n" if strength >= ANEW and self.place.kind in ("statements", "lines") else old
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

    def _filled(self, seed: int, check: Callable[[str], Sequence[tuple[int, int]]]) -> "Infill":
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

    def _seeds(self) -> list[int]:
        return [self.bounds.seed + draw for draw in range(DRAWS)]

    def culprits(self, text: str) -> Sequence[tuple[int, int]]:
        """What of a whole text is suspect, for the engine to think again about."""
        from ...grammars.repair import culprits  # noqa: PLC0415

        lead, start = len(self.place.lead), self.place.start
        whole = self.place.lead + text + self.place.tail
        found = culprits(self.syntax, self._with(text), start, start + len(whole))
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
        written = place.lead + text + place.tail
        if new_errors(self.syntax, self._with(text), place.start, place.start + len(written)):
            return None
        return Edit(place.start, place.end, written)

    def _with(self, text: str) -> "Syntax":
        place = self.place
        return self.syntax.edited(place.start, place.end, place.lead + text + place.tail)


def _texts(infill: "Infill") -> list[str]:
    """The whole texts an attempt gave, best first."""
    if infill.stop == "cancelled":
        return []
    return list(dict.fromkeys([*(one.text for one in infill.candidates), infill.text]))


def _repaired(wish: Wish, syntax: "Syntax", engine: "Engine", bounds: Bounds) -> Edit | None:
    """The smallest edit that mends most: a single token where that does it, else what the engine writes."""
    broken = broken_lines(syntax, wish.start, wish.end)
    if broken is None:
        raise NothingBetterError("there is no syntax error here")
    lines = suspects(syntax.text, broken)
    best = _best_token(syntax, lines, broken, bounds)
    if best is not None:
        return best
    for start, end in lines:
        place = Place("lines", start, end, _margin(syntax.text, start), True)
        desk = _Desk(place, syntax, engine, bounds)
        for strength in MENDING:
            if bounds.over():
                return None
            found = desk.rewritten(strength, bounds.seed, "", lambda text, desk=desk: _still_broken(desk, text))
            for text in _texts(found):
                edit = Edit(start, end, desk.kept(text))
                if edit.text.strip() and mends(syntax, edit.applied(syntax)):
                    return edit
    return None


def _best_token(
    syntax: "Syntax", lines: Sequence[tuple[int, int]], broken: tuple[int, int], bounds: Bounds
) -> Edit | None:
    """The edit of one token that leaves the least damage; of several, the first."""
    until = time.monotonic() + TOKEN_EDITS_SECONDS
    least, best = damage(syntax), None
    for line in lines:
        for edit in token_edits(syntax, line, broken):
            if bounds.over() or time.monotonic() > until:
                return best
            after = edit.applied(syntax)
            if mends(syntax, after) and damage(after) < least and _compiles(syntax, after, edit):
                least, best = damage(after), edit
                if not least[0]:
                    return best
    return best


def _compiles(before: "Syntax", after: "Syntax", edit: Edit) -> bool:
    """Whether the language's own compiler has nothing against what the grammar now lets pass."""
    from ...grammars import new_errors  # noqa: PLC0415

    return bool(after.flaws) or not new_errors(before, after, edit.start, edit.start + len(edit.text))


def _still_broken(desk: _Desk, text: str) -> Sequence[tuple[int, int]]:
    """What of a repair is suspect: the errors on it when there are no fewer than before."""
    place = desk.place
    after = desk.syntax.edited(place.start, place.end, text)
    if mends(desk.syntax, after):
        return []
    spans = [(after.point(flaw.start) - place.start, after.point(flaw.end) - place.start) for flaw in after.flaws]
    inside = [(max(a, 0), min(b, len(text))) for a, b in spans if a <= len(text) and b >= 0]
    return inside or [(len(text), len(text))]


def _margin(text: str, offset: int) -> str:
    from ...grammars.indentation import margin  # noqa: PLC0415

    return margin(text, offset)
