"""The open documents, as the client's notifications describe them.

A document is a list of lines, so that an edit costs what it touches and not the file's length; its whole text is
joined when somebody asks for it and kept until the next edit. Lines end at `\\n`, `\\r\\n` and `\\r` and nowhere else
(LSP 3.18, "Text Documents"); `str.splitlines` also splits at form feeds, U+2028 and more, and edits the wrong line.

Positions are (line, character) with characters counted in the client's units; offsets are code points. A position
outside the text means the nearest one inside, one between the halves of a character the place before it. Pure: knows
nothing of the protocol's types or of what the text is for.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

log = logging.getLogger(__name__)

Encoding = Literal["utf-8", "utf-16", "utf-32"]
Position = tuple[int, int]

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_LF_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_SPLIT_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


@dataclass(frozen=True)
class Change:
    """Replace `start`..`end` by `text`; without a range, the whole document."""

    text: str
    start: Position | None = None
    end: Position | None = None


class Document:
    """One open document. Invariant: every line but the last ends with its line ending, the last has none."""

    def __init__(self, uri: str, language_id: str, version: int, text: str, encoding: Encoding) -> None:
        self.uri = uri
        self.language_id = language_id
        self.version = version
        self.encoding: Encoding = encoding
        self._lines = _split(text)
        self._text: str | None = None

    @property
    def text(self) -> str:
        if self._text is None:
            self._text = "".join(self._lines)
        return self._text

    def apply(self, version: int, changes: Iterable[Change]) -> None:
        """The changes in order, each described in terms of the text the one before left."""
        for change in changes:
            if change.start is None or change.end is None:
                self._lines = _split(change.text)
            else:
                start, end = sorted((change.start, change.end))
                self._replace(start, end, change.text)
        self._text = None
        self.version = version

    def offset(self, position: Position) -> int:
        line, column = self._locate(position)
        return sum(map(len, self._lines[:line])) + column

    def position(self, offset: int) -> Position:
        """(line, character in the client's units) of a code-point offset."""
        for number, line in enumerate(self._lines):
            if offset < len(line):
                return number, _units(line[:offset], self.encoding)
            offset -= len(line)
        last = self._lines[-1]
        return len(self._lines) - 1, _units(last, self.encoding)

    def _locate(self, position: Position) -> tuple[int, int]:
        """(line, code points into it), inside the text and before the line's ending."""
        number, character = position
        if number >= len(self._lines):
            return len(self._lines) - 1, len(self._lines[-1])
        line = self._lines[number].rstrip("\r\n")
        return number, _code_points(line, character, self.encoding)

    def _replace(self, start: Position, end: Position, text: str) -> None:
        first, head = self._locate(start)
        last, tail = self._locate(end)
        joined = self._lines[first][:head] + text + self._lines[last][tail:]
        # A line ending may form across the seam: \r | \n. (Not at the end: `tail` never lies inside a line ending.)
        if first > 0 and joined.startswith("\n") and self._lines[first - 1].endswith("\r"):
            first -= 1
            joined = self._lines[first] + joined
        lines = _split(joined)
        if last + 1 < len(self._lines) and lines[-1] == "":
            lines.pop()  # `joined` ended with a line ending, and its last line is the next one here
        self._lines[first : last + 1] = lines


class Documents:
    """The open documents by URI. Notifications that make no sense are logged and change nothing."""

    def __init__(self) -> None:
        self.encoding: Encoding = "utf-16"
        self._open: dict[str, Document] = {}

    def get(self, uri: str) -> Document | None:
        return self._open.get(uri)

    def __iter__(self) -> Iterator[Document]:
        """In the order they were opened in."""
        return iter(self._open.values())

    def open(self, uri: str, language_id: str, version: int, text: str) -> None:
        if uri in self._open:
            log.warning("%s is opened a second time; taking the new text", uri)
        self._open[uri] = Document(uri, language_id, version, text, self.encoding)

    def change(self, uri: str, version: int, changes: Iterable[Change]) -> bool:
        """Whether the change was taken: a version that is not newer describes a text we no longer have."""
        document = self._open.get(uri)
        if document is None:
            log.warning("change of %s, which is not open", uri)
            return False
        if version <= document.version:
            log.warning("change of %s to version %d ignored: it is at %d", uri, version, document.version)
            return False
        document.apply(version, changes)
        return True

    def close(self, uri: str) -> None:
        if self._open.pop(uri, None) is None:
            log.warning("close of %s, which is not open", uri)


def _split(text: str) -> list[str]:
    """The lines with their endings, and the last one, which has none and may be empty."""
    if not text.isascii():
        # Two edits may bring the halves of one character; together they are that character.
        text = _SPLIT_PAIR.sub(lambda pair: _joined(pair[0]), text)
    lines = (_LINE if "\r" in text else _LF_LINE).findall(text)
    if not lines or lines[-1][-1] in "\r\n":
        lines.append("")
    return lines


def _joined(pair: str) -> str:
    return pair.encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def _units(text: str, encoding: Encoding) -> int:
    if encoding == "utf-32" or text.isascii():
        return len(text)
    if encoding == "utf-16":
        return len(text.encode("utf-16-le", "surrogatepass")) // 2
    return len(text.encode("utf-8", "surrogatepass"))


def _code_points(line: str, units: int, encoding: Encoding) -> int:
    """How many whole characters of `line` fit into its first `units` units."""
    units = max(units, 0)
    if encoding == "utf-32" or line.isascii():
        return min(units, len(line))
    if encoding == "utf-16":
        data, high = line.encode("utf-16-le", "surrogatepass"), 2 * units
        if high >= len(data):
            return len(line)
        # data[high:high+2] is the unit after the cut; a low surrogate there belongs to the character before it,
        # unless it stands alone.
        if 0xDC <= data[high + 1] <= 0xDF and high >= 2 and 0xD8 <= data[high - 1] <= 0xDB:
            high -= 2
        return len(data[:high].decode("utf-16-le", "surrogatepass"))
    data = line.encode("utf-8", "surrogatepass")
    if units >= len(data):
        return len(line)
    while data[units] & 0xC0 == 0x80:
        units -= 1
    return len(data[:units].decode("utf-8", "surrogatepass"))
