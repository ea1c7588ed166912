"""One client's session: the open documents, the settings and the engine thread — all the mutable state there is.

Lives on the event loop, but for the syntax trees, which belong to the engine thread. Knows nothing of the protocol:
positions are pairs of integers, and what the client should hear goes out through the callbacks it was given.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from .complete import Limits, Outcome, Snapshot, complete, follow
from .documents import Change, Documents, Position
from .settings import Settings, resolve
from .worker import Job, State, Worker

if TYPE_CHECKING:
    from ..engine import Engine
    from ..grammars import Syntax

log = logging.getLogger(__name__)

LOAD_PATIENCE = 20.0  # seconds an explicitly invoked request waits for the model to load
MAX_SYNTAXES = 16  # documents whose tree is kept


@dataclass(frozen=True)
class Request:
    """One wish for a suggestion, fixed and queued at the moment it was received."""

    snapshot: Snapshot
    received: float  # time.monotonic()
    job: Job | None  # None: nothing is to be computed
    reason: str = ""  # why
    patience: float = 0.0  # seconds it may wait for a model that is still loading

    def drop(self) -> None:
        """Nobody waits for it any more."""
        if self.job is not None:
            self.job.call_off("cancelled")


class Session:
    """on_state: the engine's state and a sentence. on_problem: a setting that was not taken."""

    def __init__(self, on_state: Callable[[State, str], None], on_problem: Callable[[str], None]) -> None:
        self.documents = Documents()
        self.settings = Settings()
        self._initial = Settings()  # as initialized: what the client configures later lies over it
        self._worker = Worker(on_state)
        self._on_problem = on_problem
        self._started = False
        self._syntaxes: dict[str, tuple[str, Syntax]] = {}  # by URI: language and tree; the engine thread's own

    def initialize(self, options: object) -> None:
        """Take the settings the client starts with."""
        self._initial, problems = resolve(options)
        self.settings = self._initial
        self._report(problems)

    def start(self) -> None:
        """The client is ready: load the engine, unless it is turned off."""
        self._started = True
        self._follow_settings(None)

    def configure(self, options: object) -> None:
        """Take settings the client changed."""
        before = self.settings
        self.settings, problems = resolve(options, self._initial)
        self._report(problems)
        if self._started:
            self._follow_settings(before)

    def stop(self) -> None:
        self._worker.unload()

    def change(self, uri: str, version: int, changes: list[Change]) -> None:
        if self.documents.change(uri, version, changes):
            self._worker.cancel(uri, "the text changed")

    def close(self, uri: str) -> None:
        self.documents.close(uri)
        self._worker.cancel(uri, "the document was closed")

    def request(
        self, uri: str, position: Position, invoked: bool, chosen: tuple[Position, Position, str] | None = None
    ) -> Request | None:
        """A request as of now, in place of the document's previous one; None if there is no such document.

        chosen: start, end and text of the item selected in the client's completion menu.
        """
        if not self._started:  # a client that does not send `initialized`
            self.start()
        document = self.documents.get(uri)
        if document is None:
            log.warning("a suggestion is wanted in %s, which is not open", uri)
            return None
        start = end = document.offset(position)
        text = ""
        if chosen is not None:
            start, end, text = document.offset(chosen[0]), document.offset(chosen[1]), chosen[2]
        snapshot = Snapshot(uri, document.version, document.language_id, document.text, start, end, text)
        received, settings = time.monotonic(), self.settings
        if not settings.enable:
            return Request(snapshot, received, None, "off")
        if settings.trigger == "invoked" and not invoked:
            return Request(snapshot, received, None, "not asked for")
        least = 0.0 if invoked else settings.min_confidence
        job = self._worker.submit(uri, partial(self._complete, snapshot, settings, least), settings.deadline)
        return Request(snapshot, received, job, patience=LOAD_PATIENCE if invoked else settings.deadline)

    async def suggest(self, request: Request) -> Outcome:
        """What to show for the request. Never raises but when cancelled; every failure is a reason for nothing."""
        snapshot, job = request.snapshot, request.job
        if job is None:
            return Outcome(request.reason)
        try:
            outcome = await self._worker.result(job, request.patience)
        except Exception:
            log.exception("no suggestion in %s: the request failed", snapshot.uri)
            return Outcome("failed")
        if outcome is None:
            return Outcome(job.reason)
        document = self.documents.get(snapshot.uri)
        if document is None or document.version != snapshot.version:
            return Outcome("stale")
        return outcome

    def _follow_settings(self, before: Settings | None) -> None:
        settings = self.settings
        was = before.engine_key if before is not None and before.enable else None
        if not settings.enable:
            self._worker.unload()
        elif settings.engine_key != was:
            self._worker.load(settings.model, settings.device, settings.engine_threads)

    def _report(self, problems: list[str]) -> None:
        for problem in problems:
            self._on_problem(problem)

    def _complete(self, snapshot: Snapshot, settings: Settings, least: float, engine: "Engine", job: Job) -> Outcome:
        """On the engine thread."""
        language, syntax = self._syntaxes.pop(snapshot.uri, ("", None))
        syntax = follow(syntax if language == snapshot.language_id else None, snapshot.text, snapshot.language_id)
        self._syntaxes[snapshot.uri] = (snapshot.language_id, syntax)  # now the youngest
        while len(self._syntaxes) > MAX_SYNTAXES:
            del self._syntaxes[next(iter(self._syntaxes))]
        if job.cancelled():
            return Outcome("cancelled")
        limits = Limits(settings.max_tokens, least, settings.seed, job.deadline, job.cancelled)
        return complete(snapshot, syntax, engine, limits)
