"""Why there was no suggestion: what became of the last requests, and each reason in words for people.

Knows nothing of the protocol; keeps no text of any document.
"""

import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from .complete import Outcome

KEPT = 100  # requests

WORDS = {
    "shown": "There was one.",
    "off": "Midspan is turned off (setting `enable`, or the project's midspan.toml).",
    "off for this language": "Midspan is turned off for this language (setting `languages`).",
    "not asked for": "Suggestions are only given when asked for (settings `trigger`, `languages`).",
    "excluded": "The file looks like a secret or is excluded (setting `exclude`); it is not looked at.",
    "there is no model": "The model could not be loaded; the log says why, and so does `midspan doctor`.",
    "the model is still loading": "The model was still being loaded.",
    "no span here": "Nothing can sensibly be filled in here: inside a comment, a string or an operator.",
    "the span leaves the line": "What could be filled in here does not end in the cursor's line.",
    "not confident": "Nothing was likely enough to be right (setting `minConfidence`); ask for it to see it anyway.",
    "nothing is missing": "The model found nothing missing here.",
    "no time": "There was no time for any fill (setting `deadline`).",
    "deadline": "The answer was not there in time (setting `deadline`).",
    "breaks the syntax": "What was found would not have parsed.",
    "superseded": "A newer request took its place.",
    "cancelled": "The editor called the request off.",
    "the text changed": "The text changed before the answer was there.",
    "the document was closed": "The document was closed.",
    "stale": "The text had changed when the answer was there.",
    "failed": "Something went wrong; the log says what.",
    "undecodable": "What was found was not text.",
    "repeated_lines": "What was found stands below already.",
    "blank": "What was found was blank.",
    "unchanged": "What was found stands there already.",
}


def words(reason: str) -> str:
    """One sentence; filters of the post-processing that have none of their own share one."""
    return WORDS.get(reason, f"What was found was not worth showing ({reason.replace('_', ' ')}).")


@dataclass(frozen=True)
class Event:
    """One request. position: line and character as the client counts; seconds: from the request to its answer."""

    uri: str
    version: int
    position: tuple[int, int]
    invoked: bool
    outcome: str
    why: str
    origin: str
    span: str
    confidence: float
    seconds: float
    at: float  # seconds since the epoch
    context: tuple[dict[str, Any], ...] = ()  # files that could be drawn on, for what, and how many characters of them


class History:
    """The last requests, oldest first."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=KEPT)

    def add(
        self, uri: str, version: int, position: tuple[int, int], invoked: bool, outcome: Outcome, seconds: float
    ) -> None:
        self._events.append(
            Event(
                uri,
                version,
                position,
                invoked,
                outcome.reason,
                words(outcome.reason),
                outcome.origin,
                outcome.kind,
                round(outcome.confidence, 3),
                round(seconds, 4),
                time.time(),
                tuple(asdict(one) for one in outcome.context),
            )
        )

    def last(self, n: int = 10, uri: str = "") -> list[dict[str, Any]]:
        """The youngest first; of one document, or of all."""
        chosen = [event for event in reversed(self._events) if uri in ("", event.uri)]
        return [asdict(event) for event in chosen[:n]]
