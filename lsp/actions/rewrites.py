"""The rewrites of one session: what is offered, and one that is computed for each document at a time.

Lives on the event loop. The trees that offers are made from belong to a thread of their own, since the engine's may be
denoising; the rewrite itself is a job of the engine thread, under a key beside the document's suggestions, so that a
cursor that moves does not call it off and a text that changes does. Knows nothing of the protocol.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from ..complete import follow
from ..documents import Document, Documents, Position
from ..settings.settings import Settings
from ..worker import Job, JobError, Worker
from .desk import Bounds
from .offers import INSTRUCTION, REFILL, TITLES, Offer, offers
from .repairs import Edit
from .rewriting import NothingBetterError, Wish, rewritten

if TYPE_CHECKING:
    from ...engine import Engine
    from ...grammars import Syntax

log = logging.getLogger(__name__)

SECONDS = 30.0  # of one rewrite, loading not counted; its bar can be cancelled
LOADING = 120.0  # seconds it waits for a model that is still loading
MARGIN = 0.5  # seconds before the end at which the engine stops, for what it has to be judged
CHANGED = "the text has changed since; nothing was rewritten"

REASONS = {
    "off": "Midspan is turned off",
    "excluded": "this file is excluded",
    "off for this language": "Midspan is turned off for this language",
    "deadline": "it took too long",
    "the model is still loading": "the model is still loading",
    "there is no model": "the model could not be loaded; the log says why",
}


class RefusedError(Exception):
    """There is no edit. changed: the text is not what it was; cancelled: nobody wants it; failed: for the user to
    read."""

    def __init__(self, kind: Literal["changed", "cancelled", "failed"], message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Order:
    """What a client asks for. version None: of the text as it is now; kind "": as instruction and strength say."""

    uri: str
    version: int | None
    start: Position
    end: Position
    kind: str = ""
    instruction: str = ""
    strength: float = 0.0

    @property
    def meant(self) -> str:
        return self.kind or (INSTRUCTION if self.instruction else REFILL)

    @property
    def title(self) -> str:
        return TITLES[self.meant]


@dataclass(frozen=True)
class Rewrite:
    """One that is being computed, of a document's version."""

    order: Order
    version: int
    job: Job
    began: float  # time.monotonic()

    def drop(self) -> None:
        """Nobody waits for it any more."""
        self.job.call_off("cancelled")


class Rewrites:
    """silence: why nothing is to be computed for a document, "" if it may. syntax_of: on the engine thread, the syntax
    of a document's text: URI, language, text."""

    def __init__(
        self,
        documents: Documents,
        worker: Worker,
        settings_for: Callable[[str], Settings],
        silence: Callable[[Document], str],
        syntax_of: Callable[[str, str, str], "Syntax"],
    ) -> None:
        self._documents, self._worker = documents, worker
        self._settings_for, self._silence, self._syntax_of = settings_for, silence, syntax_of
        self._thread: ThreadPoolExecutor | None = None
        self._seen: tuple[str, str, Syntax] | None = None  # URI, language, tree: the offering thread's own

    # -- life

    def changed(self, uri: str, reason: str) -> None:
        self._worker.cancel(_key(uri), reason)

    def stop(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._thread = None

    # -- offering

    def offers(
        self, uri: str, start: Position, end: Position, wanted: frozenset[str]
    ) -> Coroutine[Any, Any, list[Offer]] | None:
        """What could be done for a range of the text as it is now; None where nothing is, and nothing is looked at."""
        document = self._documents.get(uri)
        if document is None or not wanted or self._silence(document):
            return None
        first, last = sorted((document.offset(start), document.offset(end)))
        text, language = document.text, document.language_id
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "midspan-offers")
        look = partial(self._look, uri, language, text, first, last, wanted, self._worker.follows_instructions)
        asked = asyncio.get_running_loop().run_in_executor(self._thread, look)

        async def found() -> list[Offer]:
            return await asked

        return found()

    def _look(
        self, uri: str, language: str, text: str, start: int, end: int, wanted: frozenset[str], follows: bool
    ) -> list[Offer]:
        seen, self._seen = self._seen, None
        syntax = follow(seen[2] if seen and seen[:2] == (uri, language) else None, text, language)
        self._seen = (uri, language, syntax)
        return offers(syntax, start, end, wanted, follows)

    # -- computing

    def begin(self, order: Order) -> Rewrite:
        """A rewrite as of now, in place of the document's previous one. Raises RefusedError."""
        document = self._documents.get(order.uri)
        if document is None:
            raise RefusedError("changed", "the document is not open; nothing was rewritten")
        if order.version is not None and order.version != document.version:
            raise RefusedError("changed", CHANGED)
        if silence := self._silence(document):
            raise RefusedError("failed", REASONS.get(silence, silence))
        start, end = sorted((document.offset(order.start), document.offset(order.end)))
        wish = Wish(order.meant, start, end, order.instruction, order.strength)
        text, language, settings = document.text, document.language_id, self._settings_for(order.uri)
        run = partial(self._run, order.uri, language, text, wish, settings.seed)
        job = self._worker.submit(_key(order.uri), run, SECONDS)
        return Rewrite(order, document.version, job, time.monotonic())

    async def edit(self, rewrite: Rewrite) -> Edit:
        """Raises RefusedError, and CancelledError."""
        job, uri = rewrite.job, rewrite.order.uri
        try:
            found = await self._worker.result(job, LOADING)
        except NothingBetterError as error:
            raise self._told(rewrite, RefusedError("failed", str(error))) from None
        except JobError as error:
            raise self._told(rewrite, RefusedError("failed", str(error))) from error
        except Exception as error:
            log.exception("a rewrite in %s failed", uri)
            raise RefusedError("failed", "something went wrong; the log says what") from error
        if found is None:
            raise self._told(rewrite, _refusal(job.reason))
        document = self._documents.get(uri)
        if document is None or document.version != rewrite.version:
            raise self._told(rewrite, RefusedError("changed", CHANGED))
        log.info("%s version %d: rewritten, %.0f ms", uri, rewrite.version, self._milliseconds(rewrite))
        return found

    def _told(self, rewrite: Rewrite, refusal: RefusedError) -> RefusedError:
        uri, version = rewrite.order.uri, rewrite.version
        log.info("%s version %d: not rewritten, %s, %.0f ms", uri, version, refusal, self._milliseconds(rewrite))
        return refusal

    def _milliseconds(self, rewrite: Rewrite) -> float:
        return 1000 * (time.monotonic() - rewrite.began)

    def _run(self, uri: str, language: str, text: str, wish: Wish, seed: int, engine: "Engine", job: Job) -> Edit:
        """On the engine thread."""
        syntax = self._syntax_of(uri, language, text)
        return rewritten(wish, syntax, engine, Bounds(seed, job.deadline - MARGIN, job.cancelled, uri))


def _key(uri: str) -> str:
    return f"rewrite:{uri}"


def _refusal(reason: str) -> RefusedError:
    """Why a job was called off, as the client hears it."""
    if reason in ("the text changed", "the document was closed"):
        return RefusedError("changed", CHANGED)
    if reason in REASONS:
        return RefusedError("failed", REASONS[reason])
    return RefusedError("cancelled", f"the rewrite was called off: {reason}")
