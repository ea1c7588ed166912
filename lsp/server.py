"""The server's features: each handler turns a message into a call of the session and its result into an answer.

No decision is made here. Handlers are plain functions, so that what they read of the session is what it was when their
message came in; one that has to wait returns a task for the rest.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from importlib import metadata
from typing import Any

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

from . import protocol
from .complete import Outcome
from .session import Request, Session
from .settings import SECTION
from .transport import Protocol
from .worker import State

log = logging.getLogger(__name__)

INLINE_COMPLETION = lsp.InlineCompletionOptions()  # without options pygls advertises nothing


class Server(LanguageServer):
    """pygls' server with a session and our protocol. Failures are logged; nothing but a failed load is a popup."""

    def __init__(self) -> None:
        super().__init__(
            name="midspan",
            version=metadata.version("midspan"),
            protocol_cls=Protocol,
            converter_factory=protocol.converter,
        )
        self.session = Session(self._state, self._problem)
        self._background: set[asyncio.Task[None]] = set()
        for method, handler, options in FEATURES:
            self.feature(method, options)(handler)

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something nobody waits for."""
        task = asyncio.ensure_future(work)
        self._background.add(task)  # the loop itself holds only a weak reference
        task.add_done_callback(self._background.discard)

    def report_server_error(self, error: Exception, source: Any) -> None:
        log.error("%s", error)

    def _state(self, state: State, message: str) -> None:
        if state == "error":
            text = f"Midspan could not load its model: {message}"
            self.window_show_message(lsp.ShowMessageParams(type=lsp.MessageType.Error, message=text))
        if self.session.settings.status:
            self.protocol.notify(protocol.STATUS, {"kind": state, "message": message})

    def _problem(self, problem: str) -> None:
        log.warning("settings: %s", problem)
        text = f"Midspan settings: {problem}"
        self.window_log_message(lsp.LogMessageParams(type=lsp.MessageType.Warning, message=text))


def initialize(ls: Server, params: lsp.InitializeParams) -> None:
    ls.session.documents.encoding = protocol.encoding(ls.workspace.position_encoding)
    ls.session.initialize(params.initialization_options)
    if protocol.wants_dynamic_registration(ls.client_capabilities):
        # Registered in `initialized` instead; advertised both ways, clients would ask twice.
        ls.protocol.fm.feature_options.pop(lsp.TEXT_DOCUMENT_INLINE_COMPLETION, None)


def initialized(ls: Server, params: lsp.InitializedParams) -> None:
    ls.session.start()
    registrations: list[lsp.Registration] = []
    if protocol.wants_dynamic_registration(ls.client_capabilities):
        options = lsp.InlineCompletionRegistrationOptions(document_selector=None)
        registrations.append(
            lsp.Registration("midspan-inline", lsp.TEXT_DOCUMENT_INLINE_COMPLETION, register_options=options)
        )
    if protocol.wants_configuration_registration(ls.client_capabilities):
        options = lsp.DidChangeConfigurationRegistrationOptions(section=SECTION)
        registrations.append(
            lsp.Registration("midspan-settings", lsp.WORKSPACE_DID_CHANGE_CONFIGURATION, register_options=options)
        )
    if registrations:
        ls.later(_register(ls, registrations))


async def _register(ls: Server, registrations: list[lsp.Registration]) -> None:
    try:
        await ls.client_register_capability_async(lsp.RegistrationParams(registrations))
    except JsonRpcException as error:
        log.error("the client refused a registration: %s", error)


def shutdown(ls: Server, params: None) -> None:
    ls.session.stop()


def did_open(ls: Server, params: lsp.DidOpenTextDocumentParams) -> None:
    document = params.text_document
    ls.session.documents.open(document.uri, str(document.language_id), document.version, document.text)


def did_change(ls: Server, params: lsp.DidChangeTextDocumentParams) -> None:
    document = params.text_document
    ls.session.change(document.uri, document.version, protocol.changes(params.content_changes))


def did_close(ls: Server, params: lsp.DidCloseTextDocumentParams) -> None:
    ls.session.close(params.text_document.uri)


def did_change_configuration(ls: Server, params: lsp.DidChangeConfigurationParams) -> None:
    if params.settings:
        ls.session.configure(params.settings)
    elif protocol.answers_configuration(ls.client_capabilities):
        ls.later(_ask_configuration(ls))


async def _ask_configuration(ls: Server) -> None:
    wanted = lsp.ConfigurationParams(items=[lsp.ConfigurationItem(section=SECTION)])
    try:
        answer = await ls.workspace_configuration_async(wanted)
    except JsonRpcException as error:
        log.error("the client did not give its configuration: %s", error)
    else:
        ls.session.configure(answer[0] if answer else None)


def inline_completion(
    ls: Server, params: lsp.InlineCompletionParams
) -> asyncio.Task[lsp.InlineCompletionList | None] | list[lsp.InlineCompletionItem] | None:
    invoked = params.context.trigger_kind == lsp.InlineCompletionTriggerKind.Invoked
    try:
        chosen = protocol.chosen(params)
    except ValueError as error:
        log.info("no suggestion in %s: %s", params.text_document.uri, error)
        return []
    request = ls.session.request(params.text_document.uri, protocol.position(params.position), invoked, chosen)
    if request is None:
        return None
    answer = asyncio.ensure_future(_answer(ls, request))
    # A task cancelled before its first step never runs at all, and the job is queued already.
    answer.add_done_callback(lambda _: request.drop())
    return answer


async def _answer(ls: Server, request: Request) -> lsp.InlineCompletionList | None:
    snapshot = request.snapshot
    outcome = Outcome("cancelled")
    try:
        outcome = await ls.session.suggest(request)
    finally:
        seconds = time.monotonic() - request.received
        log.info("%s version %d: %s, %.0f ms", snapshot.uri, snapshot.version, outcome.reason, 1000 * seconds)
        if ls.session.settings.trace:
            ls.protocol.notify(protocol.TRACE, protocol.trace(snapshot.uri, snapshot.version, outcome, seconds))
    document = ls.session.documents.get(snapshot.uri)
    if outcome.suggestion is None or document is None:
        return None
    return protocol.completions(outcome.suggestion, document)


FEATURES: tuple[tuple[str, Callable[..., Any], Any], ...] = (
    (lsp.INITIALIZE, initialize, None),
    (lsp.INITIALIZED, initialized, None),
    (lsp.SHUTDOWN, shutdown, None),
    (lsp.TEXT_DOCUMENT_DID_OPEN, did_open, None),
    (lsp.TEXT_DOCUMENT_DID_CHANGE, did_change, None),
    (lsp.TEXT_DOCUMENT_DID_CLOSE, did_close, None),
    (lsp.WORKSPACE_DID_CHANGE_CONFIGURATION, did_change_configuration, None),
    (lsp.TEXT_DOCUMENT_INLINE_COMPLETION, inline_completion, INLINE_COMPLETION),
)
