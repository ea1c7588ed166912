"""One HTTP request per connection, read and answered: the little of HTTP/1.1 that the loopback endpoint needs.

Knows nothing of who may ask for what.
"""

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from .wish import RefusalError

log = logging.getLogger(__name__)

MOST_HEAD, MOST_BODY = 16 << 10, 8 << 20  # bytes
PATIENCE = 10.0  # seconds for a request to arrive and for an answer to be taken
REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    411: "Length Required",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True)
class Head:
    """A request without its body; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


async def read_head(reader: asyncio.StreamReader) -> Head:
    """Raises RefusalError for what is no request, IncompleteReadError when nothing comes."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise RefusalError(431, "the request's head is too long") from None
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            raise
        raise RefusalError(400, "the request ends in its head") from None
    first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        raise RefusalError(400, "this is no HTTP/1.1 request")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name or name != name.strip() or (name in headers and name in ("host", "content-length")):
            raise RefusalError(400, "a header cannot be read")
        headers[name] = value.strip()
    return Head(words[0], words[1].partition("?")[0], headers)


async def read_body(head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Raises RefusalError, and IncompleteReadError when the client goes away."""
    if head.method != "POST":
        return b""
    length = head.headers.get("content-length", "")
    if "transfer-encoding" in head.headers or not length:
        raise RefusalError(411, "the body needs a Content-Length")
    if not (length.isascii() and length.isdigit()):
        raise RefusalError(400, "Content-Length is no number")
    if len(length) > 12 or int(length) > MOST_BODY:
        raise RefusalError(413, f"the body may have {MOST_BODY >> 20} MiB")
    if head.headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
    return await reader.readexactly(int(length))


async def gone(reader: asyncio.StreamReader) -> None:
    """Returns when the client has closed its end; what else it may send is not looked at."""
    while await reader.read(1024):
        continue


async def send_json(writer: asyncio.StreamWriter, status: int, value: dict[str, object]) -> None:
    await send(writer, status, "application/json; charset=utf-8", json.dumps(value).encode())


async def send(writer: asyncio.StreamWriter, status: int, kind: str, body: bytes) -> None:
    """Never fails: who does not take the answer has gone."""
    head = (
        f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    try:
        writer.write(head.encode("latin-1") + body)
        async with asyncio.timeout(PATIENCE):
            await writer.drain()
    except (ConnectionError, TimeoutError):
        log.debug("a client did not take its answer")
