"""One client's session: the open documents, the settings and the engine thread — all the mutable state there is.

Lives on the event loop, but for the syntax trees, which belong to the engine thread. Knows nothing of the protocol:
positions are pairs of integers, and what the client should hear goes out through the callbacks it was given.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .actions.rewrites import Order, Rewrite, Rewrites
from .cache.answers import Answers
from .cache.prefetch import Computation, Prefetch
from .cache.suggestions import remembered
from .complete import Limits, Outcome, Snapshot, complete, follow
from .context.around import Around, around
from .context.edits import Edits
from .context.gather import Gatherer
from .documents import Change, Document, Documents, Position
from .loading import EngineSpec
from .rhythm import Pace, Rhythm
from .settings.exclusions import Exclusions, path_of
from .settings.settings import Settings
from .settings.sources import Sources
from .why import History
from .worker import Job, JobError, State, Worker

if TYPE_CHECKING:
    from ..engine import Engine
    from ..grammars import Syntax

log = logging.getLogger(__name__)

LOAD_PATIENCE = 20.0  # seconds an explicitly invoked request waits for the model to load
MAX_SYNTAXES = 16  # documents whose tree is kept


@dataclass(frozen=True)
class Request:
    """One wish for a suggestion, fixed and queued or answered at the moment it was received."""

    snapshot: Snapshot
    position: Position
    received: float  # time.monotonic()
    invoked: bool
    settings: Settings
    job: Job | None = None  # None: nothing is to be computed
    outcome: Outcome | None = None  # the answer in that case
    patience: float = 0.0  # seconds it may wait for a model that is still loading

    def drop(self) -> None:
        """Nobody waits for it any more."""
        if self.job is not None:
            self.job.call_off("cancelled")


@dataclass
class Listener:
    """What the client is to hear: the engine's state and a sentence; a setting that was not taken; a failure the user
    can do something about; how far loading is, 0 … 1, and what is being done."""

    state: Callable[[State, str], None] = lambda *_: None
    problem: Callable[[str], None] = lambda _: None
    trouble: Callable[[str], None] = lambda _: None
    progress: Callable[[float, str], None] = lambda *_: None


class Session:
    def __init__(self, listener: Listener) -> None:
        self.documents = Documents()
        self.settings = Settings()
        self.history = History()
        self._listener = listener
        self._sources = Sources(listener.problem)
        self._roots: list[Path] = []
        self._exclusions: dict[tuple[str, ...], Exclusions] = {}
        self._worker = Worker(listener.state, listener.progress)
        self._started = False
        self._answers = Answers()
        self._rhythms: dict[str, Rhythm] = {}
        self._pace = Pace()
        self._edits = Edits()
        self._prefetch = Prefetch(self._begin_prefetch, self._keep_prefetched, self._known)
        self._syntaxes: dict[str, tuple[str, Syntax]] = {}  # by URI: language and tree; the engine thread's own
        self.rewrites = Rewrites(self.documents, self._worker, self._settings_for, self._why_silent, self._syntax_of)
        self._gatherer = Gatherer()  # the engine thread's own

    # -- life

    def initialize(self, options: object, roots: list[Path]) -> None:
        """Take the settings and the workspace folders the client starts with."""
        self._roots = roots
        self.settings = self._sources.initialize(options)

    def start(self) -> None:
        """The client is ready: load the engine, unless it is turned off or to be loaded on first use."""
        self._started = True
        self._follow_settings(None)

    def configure(self, options: object) -> None:
        """Take settings the client changed."""
        before, self.settings = self.settings, self._sources.configure(options)
        if self._started:
            self._follow_settings(before)

    def move(self, roots: list[Path]) -> None:
        """Take the client's workspace folders."""
        self._roots = roots
        self._exclusions.clear()

    def stop(self) -> None:
        self._prefetch.stop()
        self.rewrites.stop()
        self._worker.close()
        self._answers.stop()

    def unload(self) -> None:
        """Forget the model until the next request."""
        if self.settings.enable:
            self._worker.sleep()

    def forget(self) -> None:
        """Forget every suggestion, here and on disk."""
        self._prefetch.stop()
        self._answers.forget()

    # -- documents

    def change(self, uri: str, version: int, changes: list[Change]) -> None:
        if not self.documents.change(uri, version, changes):
            return
        self._worker.cancel(uri, "the text changed")
        self.rewrites.changed(uri, "the text changed")
        self._rhythms.setdefault(uri, Rhythm()).key(time.monotonic())
        self._edits.change(uri, changes)
        document = self.documents.get(uri)
        if document is not None:
            self._prefetch.changed(uri, lambda: document.text)

    def close(self, uri: str) -> None:
        self.documents.close(uri)
        self._worker.cancel(uri, "the document was closed")
        self.rewrites.changed(uri, "the document was closed")
        self._rhythms.pop(uri, None)
        self._edits.forget(uri)

    def excluded(self, uri: str) -> bool:
        """Whether a document is never to be looked at."""
        return self.exclusions(self._settings_for(uri)).excluded(uri)

    def exclusions(self, settings: Settings) -> Exclusions:
        known = self._exclusions.get(settings.exclude)
        if known is None:
            roots = [root.as_posix() for root in self._roots]
            known = self._exclusions[settings.exclude] = Exclusions(settings.exclude, roots)
        return known

    def _around(self, uri: str, settings: Settings) -> Around:
        """What other code a request may draw on, as of now."""
        exclusions, reach = self.exclusions(settings), settings.context
        return around(uri, self.documents, self._edits, self._roots, exclusions, reach, self.excluded)

    # -- requests

    def request(
        self,
        uri: str,
        position: Position,
        invoked: bool,
        chosen: tuple[Position, Position, str] | None = None,
        asked: bool = False,
    ) -> Request | None:
        """A request as of now, in place of the document's previous one; None if there is no such document.

        chosen: start, end and text of the item selected in the client's completion menu. asked: it may have been asked
        for, the client cannot tell.
        """
        if not self._started:  # a client that does not send `initialized`
            self.start()
        document = self.documents.get(uri)
        if document is None:
            log.warning("a suggestion is wanted in %s, which is not open", uri)
            return None
        received, settings = time.monotonic(), self._settings_for(uri)
        request = Request(Snapshot(uri, document.version, "", "", 0, 0), position, received, invoked, settings)
        silence = self._silence(document, settings, invoked or asked)
        if silence is not None:
            self._worker.cancel(uri, "superseded")
            return replace(request, outcome=silence)
        start = end = document.offset(position)
        text = ""
        if chosen is not None:
            start, end, text = document.offset(chosen[0]), document.offset(chosen[1]), chosen[2]
        snapshot = Snapshot(uri, document.version, document.language_id, document.text, start, end, text)
        request = replace(request, snapshot=snapshot)
        known = self._answers.known(snapshot, settings, invoked)
        if known is not None:
            self._worker.cancel(uri, "superseded")
            return replace(request, outcome=known)
        job = None if invoked else self._prefetch.running(snapshot)
        if isinstance(job, Job):
            self._worker.promote(job)
        else:
            rhythm = None if invoked else self._rhythms.get(uri)
            wait = rhythm.wait(received, self._pace.seconds, settings.debounce / 1000) if rhythm else 0.0
            run = partial(self._complete, snapshot, settings, self._around(uri, settings), invoked)
            job = self._worker.submit(uri, run, settings.deadline, wait)
        return replace(request, job=job, patience=LOAD_PATIENCE if invoked else settings.deadline)

    async def suggest(self, request: Request) -> Outcome:
        """What to show for a request whose answer is computed; every failure is a reason for nothing.

        Raises nothing but CancelledError.
        """
        snapshot, job = request.snapshot, request.job
        assert job is not None
        try:
            outcome = await self._worker.result(job, request.patience)
        except JobError as error:
            log.error("no suggestion in %s: %s", snapshot.uri, error)
            self._listener.trouble(str(error))
            return Outcome("failed")
        except Exception:
            log.exception("no suggestion in %s: the request failed", snapshot.uri)
            return Outcome("failed")
        if outcome is None:
            if not job.began:
                return Outcome(job.reason)
            wasted = time.monotonic() - job.began
            self._pace.gave_up(wasted)
            return Outcome(job.reason, timings={"wasted": wasted})
        self._pace.took(sum(outcome.timings.get(stage, 0.0) for stage in ("span", "engine", "check")))
        document = self.documents.get(snapshot.uri)
        if document is None or document.version != snapshot.version:
            return Outcome("stale")
        if outcome.suggestion is not None:
            self._answers.keep(snapshot, outcome, request.settings, request.invoked)
        return self.settle(request, outcome)

    def settle(self, request: Request, outcome: Outcome) -> Outcome:
        """The outcome is the request's answer, and will be shown."""
        settings, snapshot, best = request.settings, request.snapshot, outcome.suggestion
        if best is not None and settings.prefetch and settings.how(snapshot.language_id) == "automatic":
            for one in remembered(None, snapshot, outcome, request.invoked)[:1]:
                self._prefetch.shown(one, snapshot, best)
        return outcome

    def _silence(self, document: Document, settings: Settings, invoked: bool) -> Outcome | None:
        """Why nothing is to be computed, and nothing looked at, for this document."""
        if not settings.enable:
            return Outcome("off")
        if self.exclusions(settings).excluded(document.uri):
            return Outcome("excluded")
        how = settings.how(document.language_id)
        if how == "off":
            return Outcome("off for this language")
        return Outcome("not asked for") if how == "invoked" and not invoked else None

    @property
    def follows_instructions(self) -> bool:
        return self._worker.follows_instructions

    def rewrite(self, order: Order) -> Rewrite:
        """As `Rewrites.begin`."""
        if not self._started:  # a client that does not send `initialized`
            self.start()
        return self.rewrites.begin(order)

    def _why_silent(self, document: Document) -> str:
        """The same for a rewrite, which is always asked for; "" if nothing speaks against it."""
        silence = self._silence(document, self._settings_for(document.uri), True)
        return silence.reason if silence is not None else ""

    # -- what will be asked next

    def _begin_prefetch(self, target: Snapshot) -> Computation | None:
        settings = self._settings_for(target.uri)
        run = partial(self._complete, target, settings, self._around(target.uri, settings), False)
        return self._worker.submit_idle(target.uri, run, settings.deadline)

    def _keep_prefetched(self, target: Snapshot, outcome: Outcome) -> None:
        if outcome.suggestion is not None:
            settings = self._settings_for(target.uri)
            self._answers.keep(target, replace(outcome, origin="prefetched"), settings, False)

    def _known(self, target: Snapshot) -> bool:
        return self._answers.known(target, self._settings_for(target.uri), False) is not None

    # -- settings

    def _settings_for(self, uri: str) -> Settings:
        return self._sources.narrowed(self.settings, path_of(uri), self._roots)

    def _follow_settings(self, before: Settings | None) -> None:
        settings, worker = self.settings, self._worker
        was = before.engine_key if before is not None and before.enable else None
        worker.sleep_after(60 * settings.idle_unload)
        self._answers.follow(settings)
        self._exclusions.clear()
        if before is not None:
            self._prefetch.stop()
        if not settings.enable:
            worker.unload()
        elif settings.engine_key != was:
            spec = EngineSpec(
                settings.model, settings.device, settings.engine_threads, settings.quantize, settings.memory_limit
            )
            if settings.load == "use":
                worker.sleep(spec)
            else:
                worker.load(spec)

    # -- on the engine thread

    def _complete(
        self, snapshot: Snapshot, settings: Settings, around: Around, invoked: bool, engine: "Engine", job: Job
    ) -> Outcome:
        syntax = self._syntax_of(snapshot.uri, snapshot.language_id, snapshot.text)
        job.after = syntax.catch_up
        has = engine.limits
        context = self._gatherer.gather(snapshot, syntax.standing, around, has.prefix_tokens, has.context_tokens)
        if job.cancelled():
            return Outcome("cancelled")
        limits = Limits(
            settings.max_tokens,
            0.0 if invoked else settings.min_confidence,
            settings.seed,
            job.deadline,
            job.cancelled,
            settings.alternatives if invoked else 1,
            settings.prose,
        )
        outcome = complete(snapshot, syntax, engine, limits, context.shown, context.library)
        return replace(outcome, context=context.used)

    def _syntax_of(self, uri: str, language_id: str, text: str) -> "Syntax":
        language, syntax = self._syntaxes.pop(uri, ("", None))
        syntax = follow(syntax if language == language_id else None, text, language_id)
        self._syntaxes[uri] = (language_id, syntax)  # now the youngest
        while len(self._syntaxes) > MAX_SYNTAXES:
            del self._syntaxes[next(iter(self._syntaxes))]
        return syntax
