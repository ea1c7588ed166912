"""The one fixture notation of all tests: a document with marks for the cursor, the fill and what it replaces.

    ║      the cursor
    ├…┤    right after the cursor: the text expected to be inserted there
    ╣      the end of the replaced text; without it nothing is replaced
    //- a/path.py    on a line of its own: the text of that file follows

    total = add(║├a, ┤b)          inserts `a, ` and replaces nothing
    print(val║├ue)┤_x)╣           inserts `ue)` and replaces `_x)`

Exactly one file holds the cursor. A source that begins with a line break is a block: that break is dropped, and the
indentation all its lines share is taken away, so that fixtures can be indented with the test around them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_MARKED = re.compile(
    "(?P<prefix>[^║├┤╣]*)║(?:├(?P<insertion>[^║├┤╣]*)┤)?(?P<rest>[^║├┤╣]*)(?:(?P<replace>╣)(?P<suffix>[^║├┤╣]*))?"
)
_FILE = re.compile(r"^//- (?P<path>\S+)[ \t]*\n", re.MULTILINE)


@dataclass(frozen=True)
class Fixture:
    """What a source says once its marks are taken out; all positions are code points of `text`."""

    text: str  # the document before the fill
    start: int  # the cursor
    end: int  # text[start:end] is replaced
    insertion: str | None = None  # what is expected to be inserted; None if the source does not say
    path: str = ""  # of the file with the cursor; "" if the source names none
    files: dict[str, str] = field(default_factory=dict)  # the other files

    @property
    def prefix(self) -> str:
        return self.text[: self.start]

    @property
    def suffix(self) -> str:
        return self.text[self.end :]

    @property
    def filled(self) -> str:
        """The document after the expected insertion."""
        return self.prefix + (self.insertion or "") + self.suffix


def parse(source: str) -> Fixture:
    """Read a fixture. ValueError says what is wrong with a source that is not one."""
    if source.startswith("\n"):
        source = _dedent(source[1:])
    marked = [(path, text) for path, text in _split(source) if re.search("[║├┤╣]", text)]
    if len(marked) != 1:
        raise ValueError(f"one file of a fixture has the cursor ║, not {len(marked)}")
    path, text = marked[0]
    match = _MARKED.fullmatch(text)
    if match is None:
        raise ValueError(f"marks must stand as ║, ║├…┤, ║…╣ or ║├…┤…╣, once: {text!r}")
    prefix, insertion, rest, replace, suffix = match.group("prefix", "insertion", "rest", "replace", "suffix")
    end = len(prefix) + (len(rest) if replace else 0)
    files = {name: other for name, other in _split(source) if name != path}
    return Fixture(prefix + rest + (suffix or ""), len(prefix), end, insertion, path, files)


def show(text: str, start: int, end: int | None = None) -> str:
    """The document with a cursor at `start` and, where text is replaced, the mark of its end: `parse` reads it back."""
    if end is None or end == start:
        return f"{text[:start]}║{text[start:]}"
    return f"{text[:start]}║{text[start:end]}╣{text[end:]}"


def _split(source: str) -> list[tuple[str, str]]:
    heads = list(_FILE.finditer(source))
    if not heads:
        return [("", source)]
    if source[: heads[0].start()].strip():
        raise ValueError("text stands before the first //- line")
    ends = [head.start() for head in heads[1:]] + [len(source)]
    return [(head["path"], source[head.end() : end]) for head, end in zip(heads, ends, strict=True)]


def _dedent(block: str) -> str:
    lines = block.split("\n")
    if not lines[-1].strip():  # the line of the closing quotes
        lines[-1] = ""
    shared = min((len(line) - len(line.lstrip(" ")) for line in lines if line.strip()), default=0)
    return "\n".join(line[shared:] for line in lines)
