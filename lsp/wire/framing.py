"""LSP frames: a byte stream ⇄ message bodies (LSP 3.18, "Base Protocol").

Pure: bytes in, bytes out. Knows nothing of JSON-RPC, of file descriptors or of what a body means.

Header names are case-insensitive, unknown headers are ignored and a bare line feed may end a header line (RFC 9112
§2.2 lets a recipient take one). Everything else that leaves the next frame's start unknown is a `FramingError`: a
stream that has lost its frames cannot be read any further, only ended.
"""

import json
import re
from collections.abc import Iterator

MAX_HEADER = 16 * 1024
MAX_BODY = 1 << 30

_HEADER_END = re.compile(rb"\r?\n\r?\n")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class FramingError(ValueError):
    """The stream has no readable next frame. The message says why, in one sentence."""


def frame(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class FrameReader:
    """Collects chunks of a stream and cuts them into bodies. After a FramingError it must not be fed again."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._length: int | None = None  # of the body being collected; None while reading headers

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Every body that `data` completes, in order."""
        self._buffer += data
        while True:
            if self._length is None:
                self._length = self._take_header()
            if self._length is None or len(self._buffer) < self._length:
                return
            body = bytes(self._buffer[: self._length])
            del self._buffer[: self._length]
            self._length = None
            yield body

    @property
    def partial(self) -> bool:
        """Whether the stream stands inside a frame."""
        return self._length is not None or bool(self._buffer)

    def overlong(self) -> bool:
        """Whether the body so far is a whole JSON object, so that the bytes announced for it will never come.

        Meant to be asked when the stream has been quiet for a while: a Content-Length that is too large would
        otherwise leave both sides waiting for each other for ever.
        """
        if self._length is None or self._buffer[-1:] != b"}":
            return False
        try:
            json.loads(bytes(self._buffer))
        except (ValueError, RecursionError):
            return False
        return True

    def _take_header(self) -> int | None:
        """Cut one header block off the buffer; its Content-Length, or None while it is incomplete."""
        end = _HEADER_END.search(self._buffer)
        if end is None:
            # Complete lines are judged at once: garbage must not wait for an empty line that never comes.
            _content_length(bytes(self._buffer).split(b"\n")[:-1], complete=False)
            if len(self._buffer) > MAX_HEADER:
                raise FramingError(f"no end of headers within {MAX_HEADER} bytes")
            return None
        lines = bytes(self._buffer[: end.start()]).split(b"\n")
        del self._buffer[: end.end()]
        return _content_length(lines, complete=True)


def _content_length(lines: list[bytes], *, complete: bool) -> int | None:
    length: int | None = None
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name):
            raise FramingError(f"not a header line: {line[:60]!r}")
        if name.lower() != b"content-length":
            continue
        value = value.strip(b" \t\r")
        if not re.fullmatch(rb"[0-9]{1,12}", value) or int(value) > MAX_BODY:
            raise FramingError(f"not a usable Content-Length: {value[:40]!r}")
        if length is not None and length != int(value):
            raise FramingError("two different Content-Length headers")
        length = int(value)
    if complete and length is None:
        raise FramingError("headers without Content-Length")
    return length
