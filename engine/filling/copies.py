"""Copies: text of other places whose surroundings are the gap's.

Code repeats itself, in its file and in the files beside it. `copies` looks through the file around the gap; a `Library`
holds other texts, indexed once, so that looking through them costs no more per keystroke than a search for a few words.
Knows nothing of networks, tokens or files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

COPY, LIBRARY = "copy", "library"
"""Who proposed a text: the file around the gap, or another one."""

REACH = 20_000  # characters on either side of the gap in which copies are looked for
LONGEST_MATCH = 120  # characters of context that count
SHORTEST_MATCH = 3
SHARED_LINES = 3  # lines above and below a whole line that are compared
MOST_PLACES = 40  # places looked at per side, or in a library
BORDER = "\n\0\n"  # between the texts of a library; no line of code matches it


@dataclass(frozen=True)
class Draft:
    """text: of the gap. match: characters of context that agree."""

    text: str
    source: str
    match: int = 0


@dataclass(frozen=True)
class Place:
    """The gap's surroundings as copies are looked for. head: what its line begins with, tail: what it ends with,
    neither with the space around it; above, below: the other lines, stripped, none of them blank; margin: the
    indentation that a whole line has to bring along."""

    before: str  # up to the head
    head: str
    tail: str
    after: str
    above: list[str]
    below: list[str]
    margin: str

    @classmethod
    def of(cls, prefix: str, suffix: str) -> Place:
        before, after = prefix[-REACH:], suffix[:REACH]
        line_start = before.rfind("\n") + 1
        head, rest = before[line_start:].lstrip(), after.split("\n", 1)[0]
        return cls(
            before=before[: len(before) - len(head)],
            head=head,
            tail=rest.strip(),
            after=after,
            above=_lines(before[:line_start]),
            below=_lines(after[len(rest) :]),
            margin="" if before[line_start:] else _margin(after),
        )

    @property
    def whole_line(self) -> bool:
        return not self.head and not self.tail

    def shared(self, above: Sequence[str], below: Sequence[str]) -> int:
        """Characters that a line between these lines, nearest first, shares with the gap's surroundings."""
        return _shared(above, self.above[-SHARED_LINES:][::-1]) + _shared(below, self.below[:SHARED_LINES])


def copies(prefix: str, suffix: str, limit: int = 4) -> list[Draft]:
    """Text of other places in the file whose surroundings are the gap's, best match first.

    Where a line is begun: what follows the same beginning elsewhere, up to the end of that line. Where a whole line is
    missing: lines that stand elsewhere below the same line, or above it. Lines are compared without their indentation,
    matches counted in characters.
    """
    place = Place.of(prefix, suffix)
    if place.whole_line:
        found: dict[str, int] = {}
        for lines in (place.above, place.below):
            _best(found, _whole_lines(place, lines, range(len(lines))))
    else:
        found = _line_ends(place, (place.before, place.after), backwards=True)
    return _ranked(found, COPY, limit)


class Library:
    """Texts of other files, those of most worth first. Immutable, and expensive to make: keep it while they are the
    same."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._text = BORDER.join(texts)
        self._lines = _lines(self._text)
        self._numbers: dict[str, list[int]] = {}
        for number, line in enumerate(self._lines):
            self._numbers.setdefault(line, []).append(number)

    def copies(self, prefix: str, suffix: str, limit: int = 4) -> list[Draft]:
        """As `copies`, of these texts."""
        place = Place.of(prefix, suffix)
        if place.whole_line:
            near = [number + 1 for number in self._numbers.get(place.above[-1], ())] if place.above else []
            near += [number - 1 for number in self._numbers.get(place.below[0], ())] if place.below else []
            inside = [number for number in near[:MOST_PLACES] if 0 <= number < len(self._lines)]
            inside = [number for number in inside if self._lines[number] != BORDER.strip()]
            found = _best({}, _whole_lines(place, self._lines, inside))
        else:
            found = _line_ends(place, (self._text,), backwards=False)
        return _ranked(found, LIBRARY, limit)


def _ranked(found: dict[str, int], source: str, limit: int) -> list[Draft]:
    ranked = sorted(found.items(), key=lambda item: -item[1])
    return [Draft(draft, source, match) for draft, match in ranked[:limit]]


def _best(found: dict[str, int], more: Iterable[tuple[str, int]]) -> dict[str, int]:
    for draft, match in more:
        found[draft] = max(found.get(draft, 0), match)
    return found


def _margin(text: str) -> str:
    """Indentation of the first line of `text` that is not blank."""
    return next((line[: len(line) - len(line.lstrip())] for line in text.split("\n") if line.strip()), "")


def _lines(text: str) -> list[str]:
    return [stripped for line in text.split("\n") if (stripped := line.strip())]


def _whole_lines(place: Place, lines: list[str], numbers: Iterable[int]) -> Iterator[tuple[str, int]]:
    """Those lines whose neighbours are the gap's, and by how much."""
    for i in numbers:
        match = place.shared(
            lines[max(0, i - SHARED_LINES) : i][::-1],
            lines[i + 1 : i + 1 + SHARED_LINES],
        )
        if match >= SHORTEST_MATCH:
            yield place.margin + lines[i], match


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """Characters of the lines that both lists begin with."""
    match = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        match += len(mine)
    return min(match, LONGEST_MATCH)


def _line_ends(place: Place, bodies: Sequence[str], *, backwards: bool) -> dict[str, int]:
    """What follows the end of the head in the bodies, and by how much it matches. The end is shortened until something
    is found; the places looked at are the last ones of a body, or the first ones."""
    key = place.head[-LONGEST_MATCH:]
    while len(key) >= SHORTEST_MATCH:
        found: dict[str, int] = {}
        for body in bodies:
            at = body.rfind(key) if backwards else body.find(key)
            for _ in range(MOST_PLACES):
                if at < 0:
                    break
                start, end = at + len(key), body.find("\n", at)
                draft = body[start : end if end >= 0 else None].rstrip()
                if place.tail and draft.endswith(place.tail):
                    draft = draft[: -len(place.tail)]
                if draft.strip():
                    line_start = body.rfind("\n", 0, at) + 1
                    above = _lines(body[max(0, line_start - 200) : line_start])[::-1]
                    match = len(key) + _shared(above, place.above[-2:][::-1])
                    found[draft] = max(found.get(draft, 0), match)
                at = body.rfind(key, 0, at) if backwards else body.find(key, at + 1)
        if found:
            return found
        key = key[max(1, len(key) // 4) :]
    return {}
