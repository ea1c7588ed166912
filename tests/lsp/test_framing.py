"""Frames cut out of a byte stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midspan.lsp.wire.framing import FrameReader, FramingError, frame


@given(st.lists(st.binary(max_size=40)), st.integers(1, 30))
def test_bodies_survive_any_chunking(bodies: list[bytes], size: int) -> None:
    stream = b"".join(map(frame, bodies))
    reader = FrameReader()
    got = [body for start in range(0, len(stream), size) for body in reader.feed(stream[start : start + size])]
    assert got == bodies
    assert not reader.partial


@pytest.mark.parametrize(
    "header",
    [
        b"content-length: 2\r\n\r\n",
        b"CONTENT-LENGTH:2\r\n\r\n",
        b"Content-Length: \t 2 \r\n\r\n",
        b"Content-Length: 2\n\n",
        b"Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: 2\r\n\r\n",
        b"Content-Length: 2\r\nX-Other: a:b\r\n\r\n",
        b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_headers_the_specification_allows(header: bytes) -> None:
    assert list(FrameReader().feed(header + b"{}")) == [b"{}"]


@pytest.mark.parametrize(
    "stream",
    [
        b"hello\r\n",
        b"\r\n\r\n{}",
        b"{}",
        b'"}}}}Content-Length: 2\r\n\r\n{}',
        b'}"x": y\r\nContent-Length: 2\r\n\r\n{}',
        b"Content-Length: -2\r\n\r\n{}",
        b"Content-Length: two\r\n\r\n{}",
        b"Content-Length:\r\n\r\n{}",
        b"Content-Length: 99999999999\r\n\r\n",
        b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"Content-Type: text\r\n\r\n{}",
        b"X" * 20_000,
    ],
)
def test_what_cannot_be_a_frame_is_an_error_at_once(stream: bytes) -> None:
    if stream == b"{}":
        stream += b"\n"  # a line that never ends is no line yet
    with pytest.raises(FramingError):
        list(FrameReader().feed(stream))


def test_a_length_beyond_the_message_is_noticed() -> None:
    reader = FrameReader()
    assert list(reader.feed(b'Content-Length: 30\r\n\r\n{"method": "exit"')) == []
    assert not reader.overlong()
    assert list(reader.feed(b"}")) == []
    assert reader.overlong()
