"""What lies around a request at the moment it comes: the other open documents, and what may be read beside them.

Taken on the event loop, since open documents belong to it; cheap, no text is copied. A value that the engine thread
then works with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..documents import Documents
from ..settings.exclusions import Exclusions
from .edits import Edits

MOST_OPEN = 24  # documents


@dataclass(frozen=True)
class Opened:
    """An open document as it was when the request came; edited: lines edited last, the last first."""

    uri: str
    version: int
    language_id: str
    text: str
    edited: tuple[int, ...] = ()


@dataclass(frozen=True)
class Around:
    """opened: the other open documents, those edited last first. edited: lines edited last in the request's own. roots:
    the workspace folders. reach: one of the setting's REACHES."""

    opened: tuple[Opened, ...] = ()
    edited: tuple[int, ...] = ()
    roots: tuple[Path, ...] = ()
    exclusions: Exclusions = field(default_factory=Exclusions)
    reach: str = "folder"


def around(
    uri: str,
    documents: Documents,
    edits: Edits,
    roots: Sequence[Path],
    exclusions: Exclusions,
    reach: str,
    excluded: Callable[[str], bool],
) -> Around:
    """Of a request in document `uri`. exclusions: of its project; excluded: of a document's URI, by its own project;
    such documents are not looked at."""
    opened: list[Opened] = []
    if reach != "off":
        order = {one: place for place, one in enumerate(edits.uris())}
        others = sorted(documents, key=lambda one: order.get(one.uri, len(order)))
        for one in others:
            if one.uri != uri and len(opened) < MOST_OPEN and not excluded(one.uri):
                opened.append(Opened(one.uri, one.version, one.language_id, one.text, edits.lines(one.uri)))
    return Around(tuple(opened), edits.lines(uri), tuple(roots), exclusions, reach)
