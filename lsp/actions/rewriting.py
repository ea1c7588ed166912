"""One rewrite: a wish and a document's syntax in, the edit out, or the reason why there is none.

Runs on the engine thread. Everything it reads is in its arguments. What it gives always parses no worse than what
stood there, says something else, and is not empty; a repair has fewer errors. Knows nothing of the protocol.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..lines import line_ending, plain
from .desk import ANEW, Bounds, Desk, texts
from .offers import BODY, INSTRUCTION, LIGHTLY, REPAIR
from .places import Place
from .repairs import Edit, broken_lines, damage, mends, suspects, token_edits
from .spoken import spoken
from .stubs import stub_at

if TYPE_CHECKING:
    from ...engine import Engine, Infill
    from ...grammars import Syntax

LIGHT = (0.25, 0.4, 0.6)  # shares of a selection that are denoised again, until something else comes out
TOO_LONG = "too long"  # what the engine stops with where it was given more than it takes
DRAWS = 4  # fresh fills that are tried
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


def rewritten(wish: Wish, syntax: "Syntax", engine: "Engine", bounds: Bounds) -> Edit:
    """The edit, its line ends those of the document. Raises NothingBetterError, also when it was called off."""
    write = _repaired if wish.kind == REPAIR else _written
    edit = write(wish, syntax, engine, bounds)
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
    if instruction and not engine.follows_instructions:
        raise NothingBetterError(f"{engine.name} follows no instructions")
    desk = Desk(place, syntax, engine, bounds)
    for infill in _attempts(desk, wish, instruction):
        if infill.stop == TOO_LONG:
            raise NothingBetterError("the selection is too long")
        for text in texts(infill):
            if (edit := desk.fitting(text)) is not None:
                return edit
        if bounds.over():
            break
    return None


def _attempts(desk: Desk, wish: Wish, instruction: str) -> "Iterator[Infill]":
    """What the engine writes, one attempt after the other, each unlike those before."""
    seeds = range(desk.bounds.seed, desk.bounds.seed + DRAWS)
    if desk.place.kind == "body":
        for seed in seeds:
            yield desk.filled(seed, desk.culprits)
        return
    strengths = (wish.strength,) if wish.strength else LIGHT if wish.kind == LIGHTLY else (ANEW,)
    for strength in strengths:
        for seed in seeds[: DRAWS if len(strengths) == 1 else 1]:
            yield desk.rewritten(strength, seed, instruction, desk.culprits)


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
    place = _selected(syntax, start, end)
    if instruction and place.kind in ("statements", "lines"):
        place = replace(place, single_line=False)  # what is wanted may take more lines
    return place, instruction


def _selected(syntax: "Syntax", start: int, end: int) -> Place:
    from ...grammars import choose_selection  # noqa: PLC0415  (loads tree-sitter)

    chosen = choose_selection(syntax, start, end)
    old = syntax.text[chosen.start : chosen.end]
    if not old.strip():
        raise NothingBetterError("nothing is selected")
    return Place(chosen.kind, chosen.start, chosen.end, chosen.indent, "\n" not in plain(old))


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
        desk = Desk(place, syntax, engine, bounds)
        for strength in MENDING:
            if bounds.over():
                return None
            found = desk.rewritten(strength, bounds.seed, "", lambda text, desk=desk: _still_broken(desk, text))
            for text in texts(found):
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


def _still_broken(desk: Desk, text: str) -> Sequence[tuple[int, int]]:
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
