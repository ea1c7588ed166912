"""`midspan serve-http`: the engine for clients that speak HTTP. Off unless it is started; on this machine only.

    POST /infill             llama.cpp's
    POST /v1/completions     OpenAI's, with `suffix`
    GET  /v1/models, /health

It listens on 127.0.0.1 and nowhere else. A web page that the user visits can reach that address too, so a request must
carry the token, its Host must be a loopback name (no DNS rebinding), and one that a page of another origin sends is
refused. One connection carries one request. The newest request wins, and a client that goes away takes its request
with it. Nobody gets a traceback.
"""

import asyncio
import hmac
import logging
import os
import secrets
import signal
import sys
import time
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from ..loading import EngineSpec
from ..settings.exclusions import Exclusions
from ..settings.settings import Settings
from ..settings.sources import Sources
from ..worker import JobError, State, Worker
from .api import Filled, answer, events, failure, models
from .fill import fill
from .wire import MOST_HEAD, PATIENCE, Head, gone, read_body, read_head, send, send_json
from .wish import RefusalError, Wish, wish

log = logging.getLogger(__name__)

HOST, PORT = "127.0.0.1", 8012  # the port that clients of llama.cpp try
TOKEN_VARIABLE = "MIDSPAN_HTTP_TOKEN"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
LOAD_PATIENCE = 30.0  # seconds a request waits for the model to load
MOST_CONNECTIONS = 64
LEAST_TOKEN = 16  # characters
POSTS = {"/infill": "infill", "/v1/completions": "completions", "/completions": "completions"}
GETS = ("/health", "/v1/models", "/models")


class Endpoint:
    """Serves with one worker. `token`: what every request but /health must carry."""

    def __init__(self, settings: Settings, token: str) -> None:
        self._settings, self._token = settings, token
        self._exclusions = Exclusions(settings.exclude)
        self._worker = Worker(self._state)
        self._problem = ""
        self._model = settings.model.name if settings.model else "midspan-mini"
        self._n_connections = 0

    async def start(self, port: int) -> asyncio.Server:
        """Loads the model and listens. Raises OSError when the port is taken."""
        server = await asyncio.start_server(self._connection, HOST, port, limit=MOST_HEAD)
        settings = self._settings
        spec = EngineSpec(
            settings.model, settings.device, settings.engine_threads, settings.quantize, settings.memory_limit
        )
        self._worker.sleep_after(60 * settings.idle_unload)
        self._worker.load(spec)
        return server

    def _state(self, state: State, message: str) -> None:
        self._problem = message if state == "error" else ""
        log.info("model: %s %s", state, message)
        if message:
            print(f"midspan: the model cannot be used: {message}", file=sys.stderr, flush=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._n_connections += 1
        try:
            try:
                if self._n_connections > MOST_CONNECTIONS:
                    raise RefusalError(503, "too many connections")
                async with asyncio.timeout(PATIENCE):
                    head = await read_head(reader)
                    self._admit(head)
                    body = await read_body(head, reader, writer)
            except TimeoutError:
                raise RefusalError(408, "the request did not arrive in time") from None
            await self._respond(head, body, reader, writer)
        except RefusalError as refusal:
            await send_json(writer, refusal.status, failure(refusal.status, str(refusal)))
        except (ConnectionError, asyncio.IncompleteReadError):
            log.debug("a client went away")
        except Exception:
            log.exception("a request failed")
            await send_json(writer, 500, failure(500, "the request failed; the server's log says why"))
        finally:
            self._n_connections -= 1
            writer.close()

    def _admit(self, head: Head) -> None:
        """Raises RefusalError for who may not ask, before anything of the body is read."""
        if _host(head.headers.get("host", "")) not in LOOPBACK:
            raise RefusalError(403, "this server answers requests to 127.0.0.1 and localhost only")
        origin = head.headers.get("origin")
        if origin is not None and (origin == "null" or _host(urlsplit(origin).netloc) not in LOOPBACK):
            raise RefusalError(403, "web pages may not ask")
        if head.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise RefusalError(403, "web pages may not ask")
        if head.path not in GETS and head.path not in POSTS:
            raise RefusalError(404, f"there is no {head.path[:80]}; there is /infill and /v1/completions")
        if head.method != ("POST" if head.path in POSTS else "GET"):
            raise RefusalError(405, f"{head.path} does not take {head.method[:20]}")
        if head.path == "/health":
            return
        scheme, _, given = head.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token.encode()):
            raise RefusalError(401, "the token is missing or wrong: send it as `Authorization: Bearer …`")
        kind = head.headers.get("content-type", "").partition(";")[0].strip().lower()
        if head.method == "POST" and kind != "application/json":
            raise RefusalError(415, "the body must be application/json")

    async def _respond(
        self, head: Head, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if head.path == "/health":
            self._health()
            await send_json(writer, 200, {"status": "ok"})
        elif head.path in GETS:
            await send_json(writer, 200, models(self._model))
        else:
            wanted = wish(POSTS[head.path], body)
            filled = await self._filled(wanted, reader)
            id_, created = f"cmpl-{secrets.token_hex(8)}", int(time.time())
            if wanted.stream:
                await send(writer, 200, "text/event-stream", "".join(events(wanted, filled, id_, created)).encode())
            else:
                await send_json(writer, 200, answer(wanted, filled, id_, created))

    def _health(self) -> None:
        if self._worker.state == "loading":
            raise RefusalError(503, "Loading model")
        if self._worker.state == "error":
            raise RefusalError(503, self._problem)

    async def _filled(self, wanted: Wish, reader: asyncio.StreamReader) -> Filled:
        """Raises RefusalError when there is no engine, ConnectionError when the client went away."""
        if wanted.n_tokens == 0:
            return Filled(reason="nothing was asked for", model=self._model)
        run = partial(fill, wanted, self._settings, self._exclusions)
        job = self._worker.submit("http", run, wanted.budget)
        result = asyncio.ensure_future(self._worker.result(job, LOAD_PATIENCE))
        left = asyncio.ensure_future(gone(reader))
        try:
            await asyncio.wait({result, left}, return_when=asyncio.FIRST_COMPLETED)
            if not result.done():
                raise ConnectionError
            filled = result.result()
        except JobError as error:
            raise RefusalError(503, str(error)) from None
        finally:
            left.cancel()
            result.cancel()
            job.call_off("the client went away")
        if filled is None and self._worker.state in ("error", "loading"):
            self._health()
        if filled is None:
            return Filled(reason=job.reason, model=self._model)
        self._model = filled.model
        return filled


def _host(netloc: str) -> str:
    """The name without a port, in lower case."""
    name, colon, port = netloc.strip().rpartition(":")
    return (name if colon and port.isdigit() else netloc.strip()).lower().rstrip(".")


def serve_http(options: dict[str, object], port: int, token_file: Path | None) -> int:
    """Serve until interrupted; the exit code. The token comes from a file or the environment, else it is made up and
    printed, once."""
    try:
        token = token_file.read_text(encoding="utf-8").strip() if token_file else os.environ.get(TOKEN_VARIABLE, "")
    except (OSError, UnicodeDecodeError) as error:
        return _fail(f"cannot read the token from {token_file}: {error}")
    if (token_file or token) and not (len(token) >= LEAST_TOKEN and token.isascii() and token.isprintable()):
        return _fail(f"the token must have at least {LEAST_TOKEN} printable ASCII characters")
    sources = Sources(lambda problem: print(f"midspan: {problem}", file=sys.stderr))
    settings = sources.initialize(options)
    if not settings.enable:
        return _fail("Midspan is turned off by the setting `enable`")
    try:
        return asyncio.run(_serve(settings, port, token))
    except KeyboardInterrupt:
        return 130


async def _serve(settings: Settings, port: int, token: str) -> int:
    made_up = "" if token else secrets.token_urlsafe(24)
    endpoint = Endpoint(settings, token or made_up)
    try:
        server = await endpoint.start(port)
    except OSError as error:
        return _fail(f"cannot listen on {HOST}:{port}: {error.strerror}")
    address = server.sockets[0].getsockname()
    print(f"midspan: listening on http://{address[0]}:{address[1]}", flush=True)
    if made_up:
        print(f"midspan: token {made_up}", flush=True)
    stopped = asyncio.Event()
    for name in ("SIGINT", "SIGTERM"):
        try:
            asyncio.get_running_loop().add_signal_handler(getattr(signal, name), stopped.set)
        except (NotImplementedError, AttributeError):
            log.debug("%s is not handled here", name)
    async with server:
        await stopped.wait()
    return 0


def _fail(message: str) -> int:
    print(f"midspan: {message}", file=sys.stderr)
    return 2
