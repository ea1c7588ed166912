"""The server's features: each handler turns a message into a call of the session and its result into an answer.

No decision is made here. Handlers are plain functions, so that what they read of the session is what it was when their
message came in; one that has to wait returns a task for the rest.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from importlib import metadata
from typing import Any, TypeVar

import attrs
from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer

from . import protocol
from .actions.bars import Bars
from .actions.offers import TITLES, asked_for
from .actions.rewrites import RefusedError, Rewrite
from .complete import Outcome
from .documents import Document
from .session import Listener, Request, Session
from .settings.exclusions import path_of
from .settings.settings import SECTION
from .wire.logs import TOLD, ClientLog, Kind
from .wire.progress import Progress
from .wire.transport import Protocol
from .worker import State

log = logging.getLogger(__name__)
logging.getLogger("pygls.protocol.json_rpc").addFilter(protocol.is_failure)  # it logs tracebacks of error replies

INLINE_COMPLETION = lsp.InlineCompletionOptions()  # without options pygls advertises nothing
ACTIONS = lsp.CodeActionOptions(code_action_kinds=list(TITLES), resolve_provider=True)
MENU = lsp.CompletionOptions(trigger_characters=list(" .([{=,:"))
T = TypeVar("T")
STEPS = 20  # in which the client hears how far loading is
ASLEEP = "the model is not in memory; it is loaded when it is needed"
KINDS = {"error": lsp.MessageType.Error, "warning": lsp.MessageType.Warning, "info": lsp.MessageType.Info}


class Server(LanguageServer):
    """pygls' server with a session and our protocol. Failures are logged; nothing but a failed load is a popup."""

    def __init__(self) -> None:
        super().__init__(
            name="midspan",
            version=metadata.version("midspan"),
            protocol_cls=Protocol,
            converter_factory=protocol.converter,
        )
        self.session = Session(Listener(self._state, self._problem, self._trouble, self._loading))
        self.bar = Progress(self._notify_progress, self._create_progress)
        self.bars = Bars(self._notify_progress, self._create_progress)
        self.stage: Callable[[dict[str, Any]], None] = lambda _: None  # hears what became of each request
        self._background: set[asyncio.Task[None]] = set()
        self._step = -1
        self._told: set[str] = set()  # what the user has seen as a message
        # Its own would answer a cancelled command and let it run on.
        del self.protocol.fm.builtin_features[lsp.WORKSPACE_EXECUTE_COMMAND]
        for method, handler, options in FEATURES:
            self.feature(method, options)(handler)
        for name, handler in COMMANDS:
            self.command(name)(handler)

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something nobody waits for."""
        task = asyncio.ensure_future(work)
        self._background.add(task)  # the loop itself holds only a weak reference
        task.add_done_callback(self._background.discard)

    def listen(self) -> None:
        """From now on the client reads our log."""
        loop, send = asyncio.get_running_loop(), self._log

        def from_any_thread(kind: Kind, message: str) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(send, kind, message)

        told = ClientLog(from_any_thread)
        told.verbose(self.session.settings.trace)
        logging.getLogger(__package__).addHandler(told)

    def report_server_error(self, error: Exception, source: Any) -> None:
        log.log(logging.INFO if isinstance(error, protocol.Refusal) else logging.ERROR, "%s", error)

    def _state(self, state: State, message: str) -> None:
        if state == "loading":
            bar = self.bar.start("Midspan: loading the model")
            if bar is not None:
                self.later(bar)
        else:
            self.bar.end()
        if state == "error":
            self.tell(f"Midspan could not load its model: {message}")
        if self.session.settings.status:
            kind, message = ("ready", ASLEEP) if state == "asleep" else (state, message)
            follows = {"instructions": True} if kind == "ready" and self.session.follows_instructions else {}
            self.protocol.notify(protocol.STATUS, {"kind": kind, "message": message, **follows})

    def _loading(self, done: float, what: str) -> None:
        step = round(STEPS * done)
        if step == self._step:
            return
        self._step = step
        self.bar.tell(done, what)
        if self.session.settings.status:
            self.protocol.notify(protocol.STATUS, {"kind": "loading", "message": what})

    def _notify_progress(self, token: str, value: dict[str, Any]) -> None:
        self.protocol.notify(lsp.PROGRESS, lsp.ProgressParams(token=token, value=value))

    async def _create_progress(self, token: str) -> None:
        await self.window_work_done_progress_create_async(lsp.WorkDoneProgressCreateParams(token=token))

    def _trouble(self, trouble: str) -> None:
        self.tell(f"Midspan: {trouble}")

    def tell(self, text: str) -> None:
        """A message the user sees; each only once."""
        if text not in self._told:
            self._told.add(text)
            self.window_show_message(lsp.ShowMessageParams(type=lsp.MessageType.Error, message=text))

    def _problem(self, problem: str) -> None:
        log.warning("settings: %s", problem, extra=TOLD)
        self._log("warning", f"Midspan settings: {problem}")

    def _log(self, kind: Kind, message: str) -> None:
        self.window_log_message(lsp.LogMessageParams(type=KINDS[kind], message=message))


def initialize(ls: Server, params: lsp.InitializeParams) -> None:
    ls.session.documents.encoding = protocol.encoding(ls.workspace.position_encoding)
    roots = [root for uri in protocol.folders(params) if (root := path_of(uri)) is not None]
    ls.session.initialize(params.initialization_options, roots)
    ls.bar.supported = ls.bars.supported = protocol.has_progress_bars(ls.client_capabilities)
    if not protocol.has_no_ghost_text(ls.client_capabilities):
        # What stands in the text as a ghost must not stand in the menu too.
        ls.protocol.fm.features.pop(lsp.TEXT_DOCUMENT_COMPLETION, None)
        ls.protocol.fm.feature_options.pop(lsp.TEXT_DOCUMENT_COMPLETION, None)
    if protocol.wants_dynamic_registration(ls.client_capabilities):
        # Registered in `initialized` instead; advertised both ways, clients would ask twice.
        ls.protocol.fm.feature_options.pop(lsp.TEXT_DOCUMENT_INLINE_COMPLETION, None)


def initialized(ls: Server, params: lsp.InitializedParams) -> None:
    ls.listen()
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


def did_change_workspace_folders(ls: Server, params: lsp.DidChangeWorkspaceFoldersParams) -> None:
    ls.session.move([root for uri in ls.workspace.folders if (root := path_of(uri)) is not None])


def inline_completion(
    ls: Server, params: lsp.InlineCompletionParams
) -> asyncio.Task[lsp.InlineCompletionList | None] | lsp.InlineCompletionList | list[lsp.InlineCompletionItem] | None:
    invoked = params.context.trigger_kind == lsp.InlineCompletionTriggerKind.Invoked
    try:
        chosen = protocol.chosen(params)
    except ValueError as error:
        log.info("no suggestion in %s: %s", params.text_document.uri, error)
        return []
    request = ls.session.request(params.text_document.uri, protocol.position(params.position), invoked, chosen)

    def reply(outcome: Outcome, document: Document | None) -> lsp.InlineCompletionList | None:
        return protocol.completions(outcome.suggestions, document) if outcome.suggestions and document else None

    return _answer(ls, request, reply) if request is not None else None


def completion(
    ls: Server, params: lsp.CompletionParams
) -> asyncio.Task[lsp.CompletionList] | lsp.CompletionList | None:
    """The menu of clients without ghost text. They do not tell typing from asking, so it counts as typing."""
    context = params.context
    asked = context is None or context.trigger_kind == lsp.CompletionTriggerKind.Invoked
    request = ls.session.request(params.text_document.uri, protocol.position(params.position), False, asked=asked)
    markdown = protocol.reads_markdown(ls.client_capabilities)

    def reply(outcome: Outcome, document: Document | None) -> lsp.CompletionList:
        if document is None:
            return lsp.CompletionList(is_incomplete=True, items=[])
        return protocol.menu(outcome.suggestion, document, markdown)

    return _answer(ls, request, reply) if request is not None else None


def _answer(ls: Server, request: Request, reply: Callable[[Outcome, Document | None], T]) -> asyncio.Task[T] | T:
    """At once where nothing has to be computed."""

    def told(outcome: Outcome) -> T:
        _account(ls, request, outcome)
        return reply(outcome, ls.session.documents.get(request.snapshot.uri))

    async def computed() -> T:
        try:
            outcome = await ls.session.suggest(request)
        except asyncio.CancelledError:
            _account(ls, request, Outcome("cancelled"))
            raise
        return told(outcome)

    if request.outcome is not None:
        return told(ls.session.settle(request, request.outcome))
    answer = asyncio.ensure_future(computed())
    # A task cancelled before its first step never runs at all, and the job is queued already.
    answer.add_done_callback(lambda _: request.drop())
    return answer


def _account(ls: Server, request: Request, outcome: Outcome) -> None:
    """What became of a request: in the log, the history and, where it is wanted, told to the client."""
    snapshot, seconds = request.snapshot, time.monotonic() - request.received
    log.info("%s version %d: %s, %.0f ms", snapshot.uri, snapshot.version, outcome.reason, 1000 * seconds)
    ls.session.history.add(snapshot.uri, snapshot.version, request.position, request.invoked, outcome, seconds)
    trace = protocol.trace(snapshot.uri, snapshot.version, outcome, seconds)
    if ls.session.settings.trace:
        ls.protocol.notify(protocol.TRACE, trace)
    ls.stage({**trace, "position": list(request.position), "invoked": request.invoked})


def code_action(
    ls: Server, params: lsp.CodeActionParams
) -> asyncio.Task[list[lsp.CodeAction | lsp.Command]] | list[lsp.CodeAction | lsp.Command]:
    """Asked at every move of the cursor: by the syntax alone, never a popup."""
    uri, place = params.text_document.uri, params.range
    wanted = asked_for(params.context.only)
    offers = ls.session.rewrites.offers(uri, protocol.position(place.start), protocol.position(place.end), wanted)
    document = ls.session.documents.get(uri)
    if offers is None or document is None:
        return []
    told = protocol.code_actions(params, document, ls.client_capabilities)

    async def found() -> list[lsp.CodeAction | lsp.Command]:
        return told(await offers)

    return asyncio.ensure_future(found())


def resolve(ls: Server, action: lsp.CodeAction) -> asyncio.Task[lsp.CodeAction] | lsp.CodeAction:
    if action.data is None and (action.command is not None or action.edit is not None):
        return action  # there is nothing to add
    rewrite = _begun(ls, action.data)

    async def resolved() -> lsp.CodeAction:
        return attrs.evolve(action, edit=await _edit(ls, rewrite))

    return _with_bar(ls, rewrite, resolved())


def rewrite(ls: Server, *arguments: Any) -> asyncio.Task[dict[str, Any]]:
    """Rewrites what the argument says, {uri, range, version?, kind?, instruction?, strength?}, and has it applied."""
    if not protocol.applies_edits(ls.client_capabilities):
        raise protocol.Refusal.to(RefusedError("failed", "this editor does not apply the edits of a server"))
    wanted = _begun(ls, arguments[0] if len(arguments) == 1 else None)

    async def applied() -> dict[str, Any]:
        edit = await _edit(ls, wanted)
        answer = await ls.workspace_apply_edit_async(lsp.ApplyWorkspaceEditParams(edit, wanted.order.title))
        if not answer.applied:
            why_not = f"the editor did not take the edit: {answer.failure_reason or 'it gave no reason'}"
            raise protocol.Refusal.to(RefusedError("failed", why_not))
        return {"applied": True}

    return _with_bar(ls, wanted, applied())


def _begun(ls: Server, data: Any) -> Rewrite:
    try:
        return ls.session.rewrite(protocol.order(data))
    except ValueError as error:
        raise JsonRpcInvalidParams(f"{protocol.REWRITE}: {error}") from None
    except RefusedError as error:
        raise protocol.Refusal.to(error) from None


async def _edit(ls: Server, wanted: Rewrite) -> lsp.WorkspaceEdit:
    try:
        edit = await ls.session.rewrites.edit(wanted)
    except RefusedError as error:
        raise protocol.Refusal.to(error) from None
    document = ls.session.documents.get(wanted.order.uri)  # no step of the loop after it was found unchanged
    assert document is not None
    return protocol.workspace_edit(edit, document, ls.client_capabilities)


def _with_bar(ls: Server, wanted: Rewrite, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda _: wanted.drop())  # as in `_answer`
    bar = ls.bars.around(task, wanted.order.title.removeprefix("Midspan: "), wanted.drop)
    if bar is not None:
        ls.later(bar)
    return task


def execute_command(ls: Server, params: lsp.ExecuteCommandParams) -> Any:
    command = dict(COMMANDS).get(params.command)
    if command is None:
        raise JsonRpcInvalidParams(f"there is no command {params.command!r}")
    return command(ls, *(params.arguments or ()))


def why(ls: Server, *arguments: Any) -> list[dict[str, Any]]:
    """What became of the last requests, youngest first. Arguments: a document's URI or "", and how many."""
    uri = arguments[0] if arguments and isinstance(arguments[0], str) else ""
    n = arguments[1] if len(arguments) > 1 and isinstance(arguments[1], int) else 10
    return ls.session.history.last(max(0, n), uri)


def clear_cache(ls: Server, *_: Any) -> None:
    ls.session.forget()


def unload(ls: Server, *_: Any) -> None:
    ls.session.unload()


FEATURES: tuple[tuple[str, Callable[..., Any], Any], ...] = (
    (lsp.INITIALIZE, initialize, None),
    (lsp.INITIALIZED, initialized, None),
    (lsp.SHUTDOWN, shutdown, None),
    (lsp.TEXT_DOCUMENT_DID_OPEN, did_open, None),
    (lsp.TEXT_DOCUMENT_DID_CHANGE, did_change, None),
    (lsp.TEXT_DOCUMENT_DID_CLOSE, did_close, None),
    (lsp.WORKSPACE_DID_CHANGE_CONFIGURATION, did_change_configuration, None),
    (lsp.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS, did_change_workspace_folders, None),
    (lsp.TEXT_DOCUMENT_INLINE_COMPLETION, inline_completion, INLINE_COMPLETION),
    (lsp.TEXT_DOCUMENT_COMPLETION, completion, MENU),
    (lsp.TEXT_DOCUMENT_CODE_ACTION, code_action, ACTIONS),
    (lsp.CODE_ACTION_RESOLVE, resolve, None),
    (lsp.WINDOW_WORK_DONE_PROGRESS_CANCEL, lambda ls, params: ls.bars.cancel(params.token), None),
    (lsp.WORKSPACE_EXECUTE_COMMAND, execute_command, None),
)
COMMANDS: tuple[tuple[str, Callable[..., Any]], ...] = (
    ("midspan.rewrite", rewrite),
    ("midspan.why", why),
    ("midspan.clearCache", clear_cache),
    ("midspan.unload", unload),
)
