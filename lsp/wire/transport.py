"""JSON-RPC on pygls, with its life cycle as the specification has it: every request gets exactly one reply.

Takes message bodies and decides what each one is: a parse error (-32700), not a request at all (-32600), too early
(-32002), too late (-32600), unknown (-32601), wrongly shaped (-32602), or a call of the handler registered for it.
A malformed message is logged and, where it has an id, answered; it never becomes a popup. Knows nothing of documents
or completions.

pygls gives feature registration, the capabilities, cancellation and the calls to the client. Its reader, its
document store and its treatment of malformed messages are not used.
"""

import asyncio
import contextvars
import inspect
import json
import logging
import sys
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, NoReturn

import cattrs
from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer
from pygls.protocol import JsonRPCNotification, JsonRPCResponseMessage, LanguageServerProtocol, lsp_method

from . import parent
from .stdio import Stdio

log = logging.getLogger(__name__)

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
INTERNAL_ERROR, NOT_INITIALIZED = -32603, -32002
FLUSH = 1.0  # seconds granted to the last replies

# Ours are registered as plain features: pygls' own handlers of these would keep a second copy of every document.
_NOT_OURS = (
    lsp.TEXT_DOCUMENT_DID_OPEN,
    lsp.TEXT_DOCUMENT_DID_CHANGE,
    lsp.TEXT_DOCUMENT_DID_CLOSE,
    lsp.NOTEBOOK_DOCUMENT_DID_OPEN,
    lsp.NOTEBOOK_DOCUMENT_DID_CHANGE,
    lsp.NOTEBOOK_DOCUMENT_DID_CLOSE,
)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class Protocol(LanguageServerProtocol):
    """One client's conversation. `end` is called once, with the exit code, when it is over."""

    def __init__(self, server: LanguageServer, converter: cattrs.Converter) -> None:
        super().__init__(server, converter)
        for method in _NOT_OURS:
            del self.fm.builtin_features[method]
        self._initialized = False
        self._wire: Stdio | None = None
        self.end: Callable[[int], None] = sys.exit

    # -- the two ends of the stream

    def connect(self, wire: Stdio) -> None:
        self._wire = wire

    def receive(self, body: bytes) -> None:
        """Handle one message body; whatever it holds, the stream goes on."""
        try:
            message = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            log.warning("message is not JSON: %s", error)
            self._reject(None, PARSE_ERROR, f"not JSON: {error}")
            return
        try:
            self._dispatch(message)
        except Exception:
            log.exception("a message could not be handled")

    def ended(self, problem: str | None) -> None:
        """The input is over; None: it ended between two messages."""
        if problem is not None:
            log.error("%s", problem)
        self.end(0 if self._shutdown and problem is None else 1)

    def _send_data(self, data: Any) -> None:
        if self._wire is None:
            log.error("nothing to send to: %r", data)
            return
        try:
            body = json.dumps(data, default=self._serialize_message)
        except Exception as error:
            log.exception("a message could not be written as JSON")
            if (msg_id := getattr(data, "id", None)) is not None and not hasattr(data, "method"):
                self._reject(msg_id, INTERNAL_ERROR, f"result is not JSON: {error}")
            return
        self._wire.send(body.encode("ascii"))

    # -- what a message is

    def _dispatch(self, message: Any) -> None:
        if not isinstance(message, dict) or message.get("jsonrpc") != self.VERSION:
            msg_id = message.get("id") if isinstance(message, dict) else None
            self._reject(msg_id, INVALID_REQUEST, "not a JSON-RPC 2.0 message")
        elif isinstance(method := message.get("method"), str):
            if "id" in message:
                self._request(message, method)
            else:
                self._notification(message, method)
        elif "method" not in message and "id" in message and ("result" in message or "error" in message):
            self._response(message)
        else:
            self._reject(message.get("id"), INVALID_REQUEST, "neither a request nor a response")

    def _request(self, message: dict[str, Any], method: str) -> None:
        msg_id = message["id"]
        if isinstance(msg_id, bool) or not isinstance(msg_id, (int, str)):
            self._reject(None, INVALID_REQUEST, "id is neither a number nor a string")
        elif self._shutdown:
            self._reject(msg_id, INVALID_REQUEST, "the server is shutting down")
        elif method == lsp.INITIALIZE and self._initialized:
            self._reject(msg_id, INVALID_REQUEST, "initialize was sent before")
        elif method != lsp.INITIALIZE and not self._initialized:
            self._reject(msg_id, NOT_INITIALIZED, f"{method} before initialize")
        elif method not in self.fm.builtin_features and method not in self.fm.features:
            self._reject(msg_id, METHOD_NOT_FOUND, f"unknown method {method}")
        else:
            try:
                params = self._params(message, method)
            except Exception as error:
                # cattrs, attrs validators and enums each raise their own kind.
                self._reject(msg_id, INVALID_PARAMS, f"{method}: {_describe(error)}")
                return
            contextvars.copy_context().run(self._handle_request, msg_id, method, params)

    def _notification(self, message: dict[str, Any], method: str) -> None:
        if method == lsp.EXIT:
            self.end(0 if self._shutdown else 1)
        elif self._shutdown or not self._initialized:
            log.warning("notification %s outside of a session dropped", method)
        elif method == lsp.CANCEL_REQUEST or method in self.fm.builtin_features or method in self.fm.features:
            message.setdefault("params", {})  # some clients send `initialized` without
            try:
                params = self._params(message, method)
            except Exception as error:
                log.warning("notification %s dropped: %s", method, _describe(error))
                return
            contextvars.copy_context().run(self._handle_notification, method, params)
        else:
            log.debug("notification %s is unknown here", method)

    def _response(self, message: dict[str, Any]) -> None:
        msg_id = message["id"]
        if not isinstance(msg_id, (int, str)) or msg_id not in self._request_futures:
            log.warning("response to %r, which was not asked: %s", msg_id, message.get("error"))
            return
        if "error" in message:
            try:
                error = self._converter.structure(message["error"], lsp.ResponseError)
            except Exception:
                error = lsp.ResponseError(code=INTERNAL_ERROR, message=repr(message["error"]))
            self._result_types.pop(msg_id, None)
            self._handle_response(msg_id, None, error)
            return
        kind = self._result_types.pop(msg_id, None) or JsonRPCResponseMessage
        try:
            result = self._converter.structure(message, kind).result
        except Exception as error:
            answer = lsp.ResponseError(code=INVALID_PARAMS, message=f"unreadable result: {_describe(error)}")
            self._handle_response(msg_id, None, answer)
            return
        self._handle_response(msg_id, result)

    def _params(self, message: dict[str, Any], method: str) -> Any:
        kind = self.get_message_type(method) or JsonRPCNotification
        return getattr(self._converter.structure(message, kind), "params", None)

    def _reject(self, msg_id: Any, code: int, reason: str) -> None:
        # Clients ask for what they hope for; only malformed messages are worth a line.
        log.log(logging.INFO if code == METHOD_NOT_FOUND else logging.WARNING, "%s (id %r): %s", code, msg_id, reason)
        if isinstance(msg_id, bool) or not isinstance(msg_id, (int, str)):
            msg_id = None
        # Not lsprotocol's ResponseErrorMessage: it leaves out an id of null, which JSON-RPC requires.
        self._send_data({"jsonrpc": self.VERSION, "id": msg_id, "error": {"code": code, "message": reason}})

    # -- what a handler does

    def _execute_handler(
        self,
        msg_id: Any,
        handler: Callable[..., Any],
        callback: Callable[[Any], None],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        """As pygls, and a plain function may return something to await.

        Such a handler reads the session before the next message is looked at, and only then waits; an `async def`
        would begin after the messages that are already queued behind it.
        """
        if asyncio.iscoroutinefunction(handler) or inspect.isgeneratorfunction(handler):
            super()._execute_handler(msg_id, handler, callback, args, kwargs)
            return
        future: Future[Any] | asyncio.Task[Any] = Future()
        try:
            result = handler(*(args or ()), **(kwargs or {}))
        except Exception as error:
            future.set_exception(error)
        else:
            if inspect.isawaitable(result):
                future = asyncio.ensure_future(result)
                self._request_futures[msg_id] = future  # pyright: ignore[reportArgumentType]
            else:
                future.set_result(result)
        future.add_done_callback(callback)

    @lsp_method(lsp.INITIALIZE)
    def lsp_initialize(self, params: lsp.InitializeParams) -> Any:
        result = yield from super().lsp_initialize(params)
        self._initialized = True
        parent.watch(params.process_id, partial(self.ended, "the process that started the server is gone"))
        return result


def _describe(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    return str(error) or type(error).__name__


def serve(server: LanguageServer, wire: Stdio) -> int:
    """Hold one client's conversation over `wire`; the process's exit code (LSP 3.18, "Exit Notification")."""
    protocol = server.protocol
    assert isinstance(protocol, Protocol)

    async def conversation() -> int:
        over: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def end(code: int) -> None:
            if not over.done():
                over.set_result(code)

        protocol.end = end
        protocol.connect(wire)
        wire.start(protocol.receive, protocol.ended)
        return await over

    code = asyncio.run(conversation())
    wire.flush(FLUSH)
    return code
