"""What a request may know of other code, gathered within bounds and held still while someone types.

Two uses. A library: whole texts of other files, for drafts; no network sees it, so it may be long. And what the encoder
is shown before the prefix, where the checkpoint has room for that: excerpts of most worth first. Whatever changes there
makes the encoded prefix worthless, so both stay the same objects while the cursor stays near where they were gathered
and no other document changes.

Runs on the engine thread and reads files there. Excluded and ignored files never come here. Knows nothing of the
protocol, and of models only how many tokens they take.
"""

import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..complete import Snapshot
from ..lines import plain
from ..settings.exclusions import path_of
from . import excerpts
from .around import Around
from .excerpts import Excerpt
from .files import Files

if TYPE_CHECKING:
    from ...grammars import Syntax

HOLD = 8  # lines the cursor moves before anything is gathered anew
MOST_FILES = 12
MOST_LIBRARY = 200_000  # characters of all files together
MOST_OF_FILE = 60_000
CHARACTERS = 3.3  # per token, about
NAMES_NEAR = 24  # lines on either side of the cursor whose names are looked up
MOST_NAMES = 120
MOST_EDITED = 3  # places
SHARES = {"elsewhere in the file": 0.4, "definitions": 0.4, "edited": 0.3}  # the most of the room, in this order
SCHEMES = ("file:", "untitled:", "vscode-notebook-cell:")
FAMILIES = (
    frozenset(("javascript", "javascriptreact", "typescript", "typescriptreact")),
    frozenset(("c", "cpp")),
)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Used:
    """For the trace: which file, for what, how many characters. No text."""

    file: str
    purpose: str
    characters: int


@dataclass(frozen=True)
class Context:
    """shown: for the encoder; library: for drafts, files of most worth first."""

    shown: str = ""
    library: tuple[str, ...] = ()
    used: tuple[Used, ...] = ()


@dataclass(frozen=True)
class _Source:
    """A text that may be used. rank: the smaller, the more worth."""

    name: str
    language_id: str
    text: str
    rank: tuple[int, int, str]
    edited: tuple[int, ...] = ()


class Gatherer:
    def __init__(self) -> None:
        self._files = Files()
        self._held: OrderedDict[str, tuple[object, int, Context]] = OrderedDict()
        self._parsed = lru_cache(maxsize=2 * MOST_FILES)(_parsed)

    def gather(self, snapshot: Snapshot, syntax: "Syntax", around: Around, prefix_tokens: int, tokens: int) -> Context:
        """syntax: of `snapshot.text`. prefix_tokens: about as much before the cursor is seen anyway; tokens: the most
        that the encoder can be shown besides, 0 for a checkpoint that is shown nothing."""
        line = snapshot.text.count("\n", 0, snapshot.offset)
        versions = tuple((one.uri, one.version) for one in around.opened)
        key = (versions, snapshot.language_id, around.roots, around.reach, around.exclusions, prefix_tokens, tokens)
        held = self._held.get(snapshot.uri)
        if held is not None and held[0] == key and abs(line - held[1]) <= HOLD:
            return held[2]
        context = self._gathered(snapshot, syntax, around, prefix_tokens, tokens)
        if held is not None and held[2] == context:
            context = held[2]
        self._held[snapshot.uri] = (key, line, context)
        self._held.move_to_end(snapshot.uri)
        while len(self._held) > 2 * MOST_FILES:
            self._held.popitem(last=False)
        return context

    def _gathered(
        self, snapshot: Snapshot, syntax: "Syntax", around: Around, prefix_tokens: int, tokens: int
    ) -> Context:
        sources = sorted(self._sources(snapshot, syntax, around), key=lambda one: one.rank)[:MOST_FILES]
        library: list[str] = []
        used: list[Used] = []
        room = MOST_LIBRARY
        for one in sources:
            text = _head(one.text, min(MOST_OF_FILE, room))
            if text.strip():
                library.append(text)
                used.append(Used(one.name, "drafts", len(text)))
                room -= len(text)
        shown = ""
        if tokens:
            for excerpt in self._excerpts(snapshot, syntax, around, sources, prefix_tokens, int(CHARACTERS * tokens)):
                used.append(Used(excerpt.title, excerpt.purpose, len(excerpt.text)))
                shown += excerpts.headed(excerpt, syntax.language)
        return Context(shown, tuple(library), tuple(used))

    def _sources(self, snapshot: Snapshot, syntax: "Syntax", around: Around) -> Iterator[_Source]:
        from ...grammars.languages import language_for  # noqa: PLC0415  (loads tree-sitter)
        from ...grammars.names import language_id  # noqa: PLC0415
        from ...grammars.outline import outline  # noqa: PLC0415

        if around.reach == "off":
            return
        own, family = path_of(snapshot.uri), _family(language_for(snapshot.language_id).id)
        root = _root(own, around.roots)
        imported = set(_WORD.findall(" ".join(syntax.text[a:b] for a, b in outline(syntax).imports)))
        seen: set[Path] = set()
        for one in around.opened:
            path = path_of(one.uri)
            if path is not None:
                seen.add(path)
            if _family(language_for(one.language_id).id) == family and _open_to(one.uri, path, own, root, around):
                stem = path.stem if path else ""
                rank = (0 if one.edited or stem in imported else 1, around.opened.index(one), one.uri)
                text = one.text if len(one.text) <= 10 * MOST_OF_FILE else ""
                yield _Source(_name(path, root, one.uri), one.language_id, plain(text), rank, one.edited)
        if around.reach != "folder" or own is None or root is None:
            return

        def wanted(path: Path) -> bool:
            return (
                path not in seen
                and _family(language_for(language_id(path.name)).id) == family
                and around.exclusions.is_context(path)
            )

        beside = sorted(self._files.beside(own, (root,), wanted), key=lambda path: (path.stem not in imported, path))
        for path in beside[:MOST_FILES]:
            text = self._files.read(path)
            if text is not None:
                rank = (0 if path.stem in imported else 2, MOST_FILES, path.as_posix())
                yield _Source(_name(path, root, ""), language_id(path.name), text, rank)

    def _excerpts(
        self,
        snapshot: Snapshot,
        syntax: "Syntax",
        around: Around,
        sources: Sequence[_Source],
        prefix_tokens: int,
        room: int,
    ) -> Iterator[Excerpt]:
        """What the encoder is shown, of most worth first, each kind within its share of `room` characters."""
        from ...grammars.outline import words_near  # noqa: PLC0415

        text, offset = syntax.text, snapshot.offset
        seen = int(CHARACTERS * prefix_tokens / 2)  # a window holds at least half of what it may
        own_path = path_of(snapshot.uri)
        own = _name(own_path, _root(own_path, around.roots), snapshot.uri)
        names = frozenset(words_near(text, offset, NAMES_NEAR)[:MOST_NAMES])
        near = plain(text[max(0, offset - seen) : offset + seen])
        by_purpose = {
            "elsewhere in the file": [(own, plain(excerpts.far_parts(syntax, max(0, offset - seen), offset + seen)))],
            "definitions": [
                (one.name, excerpts.definitions(self._parsed(one.text, one.language_id), names)) for one in sources
            ],
            "edited": [
                *((own, excerpts.edited(plain(text), number, near)) for number in around.edited[1:MOST_EDITED]),
                *((one.name, excerpts.edited(one.text, number, near)) for one in sources for number in one.edited),
            ][:MOST_EDITED],
        }
        for purpose, found in by_purpose.items():
            share = int(SHARES[purpose] * room)
            for title, whole in found:
                kept = _head(whole, share)
                if kept.strip():
                    share -= len(kept)
                    yield Excerpt(title, purpose, kept)


def _parsed(text: str, language_id: str) -> "Syntax":
    from ...grammars import Syntax  # noqa: PLC0415

    return Syntax.parse(text, language_id)


def _open_to(uri: str, path: Path | None, own: Path | None, root: Path | None, around: Around) -> bool:
    """Whether an open document may be shown beside the request's: of the same workspace folder, or of no file."""
    if not uri.startswith(SCHEMES):
        return False
    if path is None:
        return not around.exclusions.excluded(uri)
    if root is not None:
        return path.is_relative_to(root) and around.exclusions.is_context(path)
    return own is not None and path.parent == own.parent and around.exclusions.is_context(path)


def _root(path: Path | None, roots: Sequence[Path]) -> Path | None:
    """The innermost workspace folder that a file lies in."""
    around = [root for root in roots if path is not None and path.is_relative_to(root)]
    return max(around, key=lambda root: len(root.parts), default=None)


def _name(path: Path | None, root: Path | None, uri: str) -> str:
    if path is None:
        return uri.rpartition("/")[2] or uri
    return (path.relative_to(root) if root is not None and path.is_relative_to(root) else Path(path.name)).as_posix()


def _family(language_id: str) -> object:
    return next((family for family in FAMILIES if language_id in family), language_id)


def _head(text: str, most: int) -> str:
    """The first whole lines of at most `most` characters."""
    return text if len(text) <= most else text[: text.rfind("\n", 0, max(0, most)) + 1]
