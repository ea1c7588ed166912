"""The persistent cache: suggestions of earlier sessions, in one msgpack file in the user's cache directory.

Keyed by a digest of what an answer depends on: the text on both sides of the cursor within a window, the language, the
model's files and the settings that matter. Holds the texts that were suggested, never the texts they were suggested
for, and nothing at all that the caller did not put there, which leaves excluded files out. Bounded in entries and
bytes, least recently used first out. What is on disk is never trusted: a file that is not ours, is damaged or was
written under other exclusions is ignored and written anew.

Several servers may use one file: each writes it whole, to another name first, with what it finds there at that time
merged in, one after the other. A thread of its own reads and writes; `get` and `put` never touch the disk.
Knows nothing of the protocol or of what its entries are for.
"""

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgpack

log = logging.getLogger(__name__)

FORMAT, VERSION = "midspan-suggestions", 1
FILE = "suggestions.msgpack"
MAX_ENTRIES, MAX_BYTES = 2000, 1 << 20
MAX_FILE = 8 * MAX_BYTES  # a larger one is not ours
MAX_TEXT = 2000  # characters of one entry
WRITE_EVERY = 15.0  # seconds
BEGINNING = 0.02  # seconds a question may wait for the file to be read; later ones find it read
LOCKED = 0.5  # seconds another server may take to write before it is taken for dead


@dataclass(frozen=True)
class Entry:
    """A suggestion in place of the rest of a line: text[:filled] is new. `used`: seconds since the epoch."""

    text: str
    filled: int
    kind: str
    model: str
    source: str
    steps: int
    tokens: int
    confidence: float
    used: float


class DiskCache:
    """Public methods are for one thread, and quick. `guard` is what the file must have been written under."""

    def __init__(self, file: Path, guard: bytes) -> None:
        self._file, self._guard = file, guard
        self._lock = threading.Condition()
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()  # youngest last
        self._bytes = 0
        self._dirty = False
        self._stopping = False
        self._emptied = False  # what is on disk is not to be kept
        self._loaded = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="midspan-cache", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> Entry | None:
        self._loaded.wait(BEGINNING)
        with self._lock:
            entry = self._entries.pop(key, None)
            if entry is not None:
                entry = self._entries[key] = replace(entry, used=time.time())
            return entry

    def put(self, key: bytes, entry: Entry) -> None:
        if len(entry.text) > MAX_TEXT:
            return
        with self._lock:
            self._take(key, entry)
            self._dirty = True
            self._lock.notify()

    def clear(self) -> None:
        """Forget everything, here and on disk."""
        with self._lock:
            self._entries.clear()
            self._bytes, self._dirty, self._emptied = 0, True, True
            self._lock.notify()

    def stop(self, patience: float = 1.0) -> None:
        """Write what is not yet written and end; at most `patience` seconds."""
        with self._lock:
            self._stopping = True
            self._lock.notify()
        self._thread.join(patience)

    def _take(self, key: bytes, entry: Entry) -> None:
        old = self._entries.pop(key, None)
        self._bytes += len(entry.text) - (len(old.text) if old else 0)
        self._entries[key] = entry
        while len(self._entries) > MAX_ENTRIES or self._bytes > MAX_BYTES:
            self._bytes -= len(self._entries.popitem(last=False)[1].text)

    # -- the thread

    def _serve(self) -> None:
        try:
            self._merge()
        finally:
            self._loaded.set()
        written = float("-inf")
        while True:
            with self._lock:
                while not (self._stopping or (self._dirty and time.monotonic() - written >= WRITE_EVERY)):
                    self._lock.wait(max(0.0, written + WRITE_EVERY - time.monotonic()) if self._dirty else None)
                stopping, dirty, self._dirty = self._stopping, self._dirty, False
            if dirty:
                try:
                    self._write()
                except OSError as error:
                    log.warning("suggestions are not kept on disk: %s", error)
                    return
                written = time.monotonic()
            if stopping:
                return

    def _merge(self) -> None:
        """Take what the file has, as older than what is here."""
        found = dict(_read(self._file, self._guard))
        with self._lock:
            if self._emptied:
                return
            mine, self._entries, self._bytes = self._entries, OrderedDict(), 0
            for key, entry in sorted({**found, **mine}.items(), key=lambda item: item[1].used):
                self._take(key, entry)

    def _write(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(self._file.with_suffix(".lock")):
            with self._lock:
                emptied, self._emptied = self._emptied, False
            if not emptied:
                self._merge()
            with self._lock:
                rows = [(key, *astuple(entry)) for key, entry in self._entries.items()]
            self._replace(_packed([FORMAT, VERSION, self._guard, rows]))

    def _replace(self, data: bytes) -> None:
        new = self._file.with_suffix(f".{os.getpid()}.new")
        try:
            with os.fdopen(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as stream:
                stream.write(data)
            os.replace(new, self._file)
        except OSError:
            new.unlink(missing_ok=True)
            raise


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """While no other server is in here; one that ended in here is waited for only so long."""
    deadline = time.monotonic() + LOCKED
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL, 0o600))
            break
        except FileExistsError:
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _read(file: Path, guard: bytes) -> Iterator[tuple[bytes, Entry]]:
    """What of a file is ours and whole."""
    try:
        if file.stat().st_size > MAX_FILE:
            return
        data = file.read_bytes()
        head = msgpack.unpackb(data, unicode_errors="surrogatepass")
    except (OSError, ValueError, UnicodeError, msgpack.UnpackException, RecursionError):
        return
    if not isinstance(head, list) or len(head) != 4 or head[:3] != [FORMAT, VERSION, guard]:
        return
    kinds: list[Any] = [(int, float) if one.type is float else one.type for one in fields(Entry)]
    for row in head[3] if isinstance(head[3], list) else ():
        if (
            isinstance(row, list)
            and len(row) == 1 + len(kinds)
            and isinstance(row[0], bytes)
            and all(isinstance(value, kind) for value, kind in zip(row[1:], kinds, strict=True))
            and 0 < row[2] <= len(row[1]) <= MAX_TEXT
        ):
            yield row[0], Entry(*row[1:])


def _packed(value: Any) -> bytes:
    data = msgpack.packb(value, unicode_errors="surrogatepass")  # an editor may send half a character
    assert data is not None
    return data


def guard_of(patterns: tuple[str, ...]) -> bytes:
    """Digest of the exclusions a file is written under."""
    return blake2b(repr(patterns).encode(errors="surrogatepass"), digest_size=16).digest()
