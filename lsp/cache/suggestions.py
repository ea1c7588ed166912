"""Suggestions that were given already, and what is left of them after some typing.

A suggestion is remembered by the text around it, not by a version: typing what it says, also where the editor closes a
bracket or quote by itself, or going back to where it was made, finds it again without the model. `left` is a pure
function of one remembered suggestion and the present place. Its rule is the proof that it is right: accepting what is
left gives, character for character, the text that accepting the whole suggestion would have given; and what is
replaced for it, beyond what the suggestion replaced, is nothing but closers of what the user has opened since.

Knows nothing of models, of the protocol or of when to ask.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace

from ..complete import Outcome, Snapshot, Suggestion
from ..lines import line_end

BEFORE, AFTER = 2000, 1000
"""Characters of the text around a suggestion that have to be the same for it to be found again."""
MOST = 64  # suggestions remembered
MAX_TEXT = 4000  # characters of a suggestion that is remembered

_CLOSER = {"(": ")", "[": "]", "{": "}"}
_QUOTES = "\"'`"


@dataclass(frozen=True)
class Remembered:
    """before + rest + after was around the cursor, rest up to the line's end; `text` takes the place of rest.

    text[:filled] is new. `outcome` is the request's that made it, without its suggestions.
    """

    key: Hashable  # language, model, settings: what must be the same for the answer to be
    before: str
    rest: str
    after: str
    text: str
    filled: int
    outcome: Outcome
    invoked: bool


def remembered(key: Hashable, snapshot: Snapshot, outcome: Outcome, invoked: bool) -> tuple[Remembered, ...]:
    """Every suggestion of an answer, in its order."""
    text, offset = snapshot.text, snapshot.offset
    end, chosen = line_end(text, offset), len(snapshot.chosen)
    about = replace(outcome, suggestions=())
    return tuple(
        Remembered(
            key=key,
            before=text[max(0, offset - BEFORE) : offset],
            rest=text[offset:end],
            after=text[end : end + AFTER],
            text=suggestion.text[chosen:],
            filled=suggestion.filled - chosen,
            outcome=about,
            invoked=invoked,
        )
        for suggestion in outcome.suggestions
        if len(suggestion.text) <= MAX_TEXT and suggestion.filled > chosen
    )


@dataclass(frozen=True)
class Place:
    """A cursor, the end of its line, and what stands after that."""

    text: str
    offset: int
    end: int
    after: str

    @classmethod
    def at(cls, text: str, offset: int) -> "Place":
        end = line_end(text, offset)
        return cls(text, offset, end, text[end : end + AFTER])


def left(one: Remembered, place: Place) -> int | None:
    """How much of the suggestion stands left of the cursor, so that the rest of it fits there; None: it does not."""
    text, offset = place.text, place.offset
    rest = text[offset : place.end]
    if place.after != one.after or not rest.endswith(one.rest):
        return None
    closed = rest[: len(rest) - len(one.rest)]
    for typed in range(min(one.filled, offset + 1)):
        start = offset - typed
        if (
            text[start:offset] == one.text[:typed]
            and text[max(0, start - BEFORE) : start] == one.before
            and _in_order(closed, unclosed(one.text[:typed]))
        ):
            return typed
    return None


def _in_order(some: str, all_: str) -> bool:
    """Whether `some` is `all_` with characters left out: editors do not close everything everywhere."""
    rest = iter(all_)
    return all(char in rest for char in some)


def unclosed(text: str) -> str:
    """The closers of what `text` opens and leaves open, innermost first; a quote closes itself."""
    open_: list[str] = []
    for char in text:
        if open_ and char == open_[-1]:
            open_.pop()
        elif open_ and open_[-1] in _QUOTES:
            continue  # inside a string nothing opens
        elif char in _CLOSER:
            open_.append(_CLOSER[char])
        elif char in _QUOTES:
            open_.append(char)
    return "".join(reversed(open_))


class Recent:
    """The suggestions given lately, the youngest first."""

    def __init__(self) -> None:
        self._all: OrderedDict[int, Remembered] = OrderedDict()
        self._last = 0

    def __len__(self) -> int:
        return len(self._all)

    def add(self, suggestions: tuple[Remembered, ...]) -> None:
        for one in reversed(suggestions):
            self._last += 1
            self._all[self._last] = one
        while len(self._all) > MOST:
            self._all.popitem(last=False)

    def clear(self) -> None:
        self._all.clear()

    def answer(
        self, key: Hashable, snapshot: Snapshot, least: float, invoked: bool = False, most: int = 1
    ) -> Outcome | None:
        """What is left, at the snapshot, of the youngest suggestion that still fits; None when none does.

        least: how likely a suggestion has to be that nobody asked for and of which nothing was typed. invoked: only
        what was asked for will do, and `most` alternatives of it.
        """
        place = Place.at(snapshot.text, snapshot.offset)
        found: list[Suggestion] = []
        about: Outcome | None = None
        for one in reversed(self._all.values()):
            if one.key != key or (invoked and not one.invoked) or (about is not None and one.outcome is not about):
                continue
            typed = left(one, place)
            if typed is None or not (typed or one.invoked or one.outcome.confidence >= least):
                continue
            about = one.outcome
            suggestion = placed(snapshot, one.text[typed:], one.filled - typed)
            if suggestion not in found:
                found.append(suggestion)
            if len(found) == most:
                break
        if about is None:
            return None
        return replace(about, suggestions=tuple(found), origin=about.origin or "remembered")


def placed(snapshot: Snapshot, text: str, filled: int) -> Suggestion:
    """`text` in place of the rest of the snapshot's line, behind the item chosen in the menu if there is one."""
    return Suggestion(
        start=snapshot.start,
        end=line_end(snapshot.document, snapshot.end),
        text=snapshot.chosen + text,
        filled=len(snapshot.chosen) + filled,
    )
