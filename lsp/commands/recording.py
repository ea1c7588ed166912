"""`midspan --record FILE`: every message and what became of every request, for `midspan replay`.

The file is a msgpack stream: a header, which says what the file holds, then [seconds, kind, what] with kind "in" or
"out" for a message and "stage" for the account of a request. Of excluded files it holds names, versions and places and
no text. The file can be read by its owner alone. A thread of its own writes it. Knows nothing of what messages mean
but where they name a document.
"""

import json
import os
import platform
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import msgpack

from ..wire.stdio import Stdio

FORMAT, VERSION = "midspan-recording", 1
HOLDS = (
    "every message between editor and server, with the text of every document that was open, the editor's settings "
    "for Midspan and the names of files and folders; no text of excluded files"
)
MAX_NESTING = 64  # of documents looked for in a message
CLOSING = 2.0  # seconds the last records may take to be written


class RecordingError(Exception):
    """A file that is no recording, or one of another version. The message says which."""


class Recorder:
    """excluded: whether a document's text must not be recorded; may be set later than the first message comes."""

    def __init__(self, file: Path) -> None:
        """Raises OSError when the file cannot be written."""
        self.excluded: Callable[[str], bool] = lambda _: False
        handle = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        self._stream = os.fdopen(handle, "wb")
        self._started = time.monotonic()
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._queue.put(
            {
                "format": FORMAT,
                "version": VERSION,
                "holds": HOLDS,
                "midspan": metadata.version("midspan"),
                "python": platform.python_version(),
                "platform": sys.platform,
                "started": time.time(),
            }
        )
        self._writer = threading.Thread(target=self._write, name="midspan-record", daemon=True)
        self._writer.start()

    def message(self, kind: str, body: bytes, at: float | None = None) -> None:
        """kind: "in" or "out". at: time.monotonic() when it came or went, if that is not now."""
        try:
            what = json.loads(body)
        except (ValueError, RecursionError):
            what = {"unreadable": len(body)}
        self._put(kind, self._without_excluded(what), at)

    def stage(self, what: dict[str, Any]) -> None:
        self._put("stage", what)

    def close(self) -> None:
        self._queue.put(None)
        self._writer.join(CLOSING)

    def _put(self, kind: str, what: Any, at: float | None = None) -> None:
        self._queue.put([round((at or time.monotonic()) - self._started, 6), kind, what])

    def _without_excluded(self, message: Any) -> Any:
        params = message.get("params") if isinstance(message, dict) else None
        if not isinstance(params, dict):
            return message
        if message.get("method") == "workspace/didChangeConfiguration":
            settings = params.get("settings")  # an editor may send those of all its servers
            ours = {"midspan": settings["midspan"]} if isinstance(settings, dict) and "midspan" in settings else None
            return {**message, "params": {"settings": ours}}
        excluded = [uri for uri in uris(params) if self.excluded(uri)]
        if not excluded:
            return message
        document = params.get("textDocument")
        kept = {name: document[name] for name in ("uri", "version") if isinstance(document, dict) and name in document}
        return {**message, "params": {"textDocument": kept, "excluded": True, "position": params.get("position")}}

    def _write(self) -> None:
        packer = msgpack.Packer(unicode_errors="surrogatepass")
        with self._stream as stream:
            while (record := self._queue.get()) is not None:
                try:
                    stream.write(packer.pack(record))
                    stream.flush()
                except (OSError, ValueError, OverflowError) as error:
                    print(f"midspan: the recording ends here: {error}", file=sys.stderr)
                    return


class RecordedStdio(Stdio):
    """Standard streams whose messages are recorded."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def start(self, on_body: Callable[[bytes], None], on_end: Callable[[str | None], None]) -> None:
        def recorded(body: bytes) -> None:
            at = time.monotonic()
            try:
                on_body(body)
            finally:  # what the message itself says about exclusions is known now
                self._recorder.message("in", body, at)

        super().start(recorded, on_end)

    def send(self, body: bytes) -> None:
        self._recorder.message("out", body)
        super().send(body)


def uris(value: Any, depth: int = 0) -> Iterator[str]:
    """Every document that a message names, wherever in it."""
    if depth > MAX_NESTING:
        return
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("uri", "targetUri", "oldUri", "newUri") and isinstance(inner, str):
                yield inner
            elif isinstance(name, str) and "://" in name:  # a WorkspaceEdit's `changes`
                yield name
            yield from uris(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from uris(inner, depth + 1)


def read(file: Path) -> tuple[dict[str, Any], Iterator[tuple[float, str, Any]]]:
    """Header and records of a recording. A record cut off at the file's end is left out. Raises RecordingError."""
    stream = file.open("rb")
    try:
        unpacker = msgpack.Unpacker(stream, unicode_errors="surrogatepass", strict_map_key=False)
        try:
            header = next(unpacker, None)
        except Exception as error:  # msgpack has a kind of its own for each way a file can be wrong
            raise RecordingError(f"{file} is no recording: {type(error).__name__}") from error
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise RecordingError(f"{file} is no recording of midspan")
        if header.get("version") != VERSION:
            raise RecordingError(f"{file} is of version {header.get('version')}, this midspan reads {VERSION}")
    except RecordingError:
        stream.close()
        raise

    def records() -> Iterator[tuple[float, str, Any]]:
        with stream:
            try:
                for record in unpacker:
                    if isinstance(record, list) and len(record) == 3:
                        yield record[0], record[1], record[2]
            except (ValueError, UnicodeError, msgpack.UnpackException):
                return

    return header, records()
