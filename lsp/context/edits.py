"""Where the open documents were edited last.

Lives on the event loop, beside the documents; costs a few comparisons per change. Lines are followed through later
edits. Keeps no text; knows nothing of the protocol or of who asks.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..documents import Change

MOST = 8  # places kept
NEAR = 15  # lines; what is closer is the same place


@dataclass(frozen=True)
class _Place:
    uri: str
    line: int


class Edits:
    def __init__(self) -> None:
        self._places: deque[_Place] = deque(maxlen=MOST)  # the last one last

    def change(self, uri: str, changes: Iterable[Change]) -> None:
        """The document changed, by these in order."""
        for change in changes:
            if change.start is None or change.end is None:
                self.forget(uri)  # another text: nobody knows where it differs
                continue
            first, last = sorted((change.start[0], change.end[0]))
            end = first + change.text.count("\n")
            moved = [_moved(place, first, last, end) if place.uri == uri else place for place in self._places]
            kept = [place for place in moved if place.uri != uri or abs(place.line - end) > NEAR]
            self._places = deque([*kept, _Place(uri, end)], maxlen=MOST)

    def forget(self, uri: str) -> None:
        self._places = deque((place for place in self._places if place.uri != uri), maxlen=MOST)

    def lines(self, uri: str) -> tuple[int, ...]:
        """Numbers of the lines edited last in a document, the last first."""
        return tuple(place.line for place in reversed(self._places) if place.uri == uri)

    def uris(self) -> tuple[str, ...]:
        """Documents by their last edit, the last first."""
        return tuple(dict.fromkeys(place.uri for place in reversed(self._places)))


def _moved(place: _Place, first: int, last: int, end: int) -> _Place:
    """As the lines first..last became first..end."""
    if place.line > last:
        return replace(place, line=place.line + end - last)
    return replace(place, line=min(place.line, end)) if place.line > first else place
