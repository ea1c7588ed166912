"""The process's standard streams as one message stream: reading, writing and ending, never on the event loop's time.

Takes fds 0 and 1 away from everybody else: afterwards fd 0 reads nothing and fd 1 is fd 2, so a library's print
lands in the log and never between two frames. Knows nothing of JSON-RPC; bodies are bytes.
"""

import asyncio
import logging
import os
import queue
import threading
from collections.abc import Callable

from .framing import FrameReader, FramingError, frame

log = logging.getLogger(__name__)

CHUNK = 1 << 16
QUIET = 1.0  # seconds without a byte inside a frame before its length is doubted
MAX_UNSENT = 4096  # messages queued for a client that does not read


class Stdio:
    """Bodies come in through `on_body` and the end of the stream through `on_end`, both on the event loop."""

    def __init__(self) -> None:
        self._input, self._output = os.dup(0), os.dup(1)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(2, 1)
        self._frames = FrameReader()
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._quiet_timer: asyncio.TimerHandle | None = None

    def start(self, on_body: Callable[[bytes], None], on_end: Callable[[str | None], None]) -> None:
        """Begin reading and writing. `on_end` gets None for a clean end of input, else what broke."""
        self._loop = asyncio.get_running_loop()
        self._on_body, self._on_end = on_body, on_end
        self._writer = threading.Thread(target=self._write, name="midspan-write", daemon=True)
        self._writer.start()
        threading.Thread(target=self._read, name="midspan-read", daemon=True).start()

    def send(self, body: bytes) -> None:
        """Queue one body. Never blocks; a client that stopped reading ends the stream before it fills the memory."""
        if self._outbox.qsize() > MAX_UNSENT:
            self._on_end("the client does not read its replies")
            return
        self._outbox.put(frame(body))

    def flush(self, timeout: float) -> None:
        """Wait until what is queued was written, at most `timeout` seconds. Nothing can be sent after this."""
        self._outbox.put(None)
        if self._writer is not None:
            self._writer.join(timeout)

    def _post(self, callback: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop has ended before us
            log.debug("event loop gone")

    def _read(self) -> None:
        problem: str | None = None
        try:
            while chunk := os.read(self._input, CHUNK):
                for body in self._frames.feed(chunk):
                    self._post(self._on_body, body)
                self._post(self._doubt, self._frames.partial)
            if self._frames.partial:
                problem = "the input ended inside a message"
        except FramingError as error:
            problem = f"broken stream: {error}"
        except OSError as error:
            problem = f"cannot read: {error.strerror}"
        self._post(self._on_end, problem)

    def _doubt(self, partial: bool) -> None:
        """(Re)start the wait after which an unfinished frame is looked at."""
        if self._quiet_timer is not None:
            self._quiet_timer.cancel()
            self._quiet_timer = None
        if partial:
            self._quiet_timer = self._loop.call_later(QUIET, self._judge)

    def _judge(self) -> None:
        if self._frames.overlong():
            self._on_end("broken stream: Content-Length is larger than the message that follows it")

    def _write(self) -> None:
        while (data := self._outbox.get()) is not None:
            rest = memoryview(data)
            try:
                while rest:
                    rest = rest[os.write(self._output, rest) :]
            except OSError as error:
                self._post(self._on_end, f"cannot write: {error.strerror}")
                return
