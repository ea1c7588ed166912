"""The files beside a document, read when they are wanted and kept while they are unchanged.

Only regular files of its folder, in a workspace folder, that are neither excluded nor ignored nor large; links are not
followed. Runs on the engine thread, never on the event loop. Knows nothing of documents or of what the texts are for.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..lines import plain

LARGEST = 100_000  # bytes
MOST_ENTRIES = 1_000  # of a folder that are looked at
MOST_KEPT = 64  # texts
WIDEST = 200  # characters of a line, on average: what is wider was made by a program


class Files:
    def __init__(self) -> None:
        self._texts: OrderedDict[Path, tuple[tuple[int, int], str | None]] = OrderedDict()

    def beside(self, path: Path, roots: Sequence[Path], wanted: Callable[[Path], bool]) -> Iterator[Path]:
        """Files of the folder of `path`, by name, that are `wanted`; none where it lies in none of the roots."""
        folder = path.parent
        if not any(_inside(folder, root) for root in roots):
            return
        try:
            with os.scandir(folder) as entries:
                names = sorted(
                    entry.name
                    for entry, _ in zip(entries, range(MOST_ENTRIES), strict=False)
                    if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False)
                )
        except OSError:
            return
        for name in names:
            if name != path.name and wanted(folder / name):
                yield folder / name

    def read(self, path: Path) -> str | None:
        """Its text, with "\\n" for every line ending; None for what is too large, no text, or not written by hand."""
        try:
            stat = path.stat()
            state = (stat.st_mtime_ns, stat.st_size)
            known = self._texts.get(path)
            if known is None or known[0] != state:
                known = (state, _text(path.read_bytes()) if stat.st_size <= LARGEST else None)
        except OSError:
            self._texts.pop(path, None)
            return None
        self._texts[path] = known
        self._texts.move_to_end(path)
        while len(self._texts) > MOST_KEPT:
            self._texts.popitem(last=False)
        return known[1]


def _text(data: bytes) -> str | None:
    if b"\0" in data:
        return None
    try:
        text = plain(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return None
    return text if text.strip() and len(text) <= WIDEST * (text.count("\n") + 1) else None


def _inside(folder: Path, root: Path) -> bool:
    """Also where links lead."""
    try:
        return Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(root))
    except (OSError, ValueError):
        return False
