"""The one engine thread: loads the engine and runs jobs on it, the newest of each document and no other.

The event loop submits and awaits; it never computes and never waits for the thread. A job that was superseded,
cancelled or given up is answered at once; the thread learns of it through the job's flag, which the engine polls at
every denoise step. Knows nothing of the protocol, of documents or of what a job computes.
"""

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .startup import open_torch

if TYPE_CHECKING:
    from ..engine import Engine

log = logging.getLogger(__name__)

State = Literal["off", "loading", "ready", "busy", "error"]

SWITCH_INTERVAL = 0.001  # seconds a computing thread may keep the interpreter from the event loop
GRACE = 0.1  # seconds past its deadline that a job may need to notice it


class Job:
    """One computation for one document. Its future lives on the event loop; None means it was called off."""

    def __init__(self, key: str, run: Callable[["Engine", "Job"], Any], budget: float) -> None:
        self.key = key
        self.run = run
        self.budget = budget  # seconds, counted from the submission or from the end of loading
        self.submitted = time.monotonic()
        self.deadline = self.submitted + budget
        self.reason = ""  # why it was called off
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._called_off = False

    def cancelled(self) -> bool:
        """Polled by the engine thread."""
        return self._called_off

    def call_off(self, reason: str) -> None:
        """On the event loop: answer None now, let the thread find out."""
        if not self.future.done():
            self._called_off = True
            self.reason = reason
            self.future.set_result(None)


class Worker:
    """Public methods belong to the event loop. `on_state` is called there with a state and a sentence for the user."""

    def __init__(self, on_state: Callable[[State, str], None]) -> None:
        self.state: State = "off"
        self._on_state = on_state
        self._loop: asyncio.AbstractEventLoop | None = None
        self._settled = asyncio.Event()  # loading is over, well or badly
        self._lock = threading.Condition()
        self._ready_since = 0.0  # time.monotonic() at which the present engine was there
        self._generation = 0  # of loads and unloads: news of an earlier one is no news
        self._load: tuple[int, Path | None, str, int] | None = None  # what to load next
        self._drop = False  # the engine is to be forgotten
        self._queue: dict[str, Job] = {}  # waiting, one per document, oldest first
        self._latest: dict[str, Job] = {}  # waiting or running

    def load(self, directory: Path | None, device: str, threads: int) -> None:
        """Load this engine, in place of any other. Jobs may be submitted at once and wait for it."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            sys.setswitchinterval(SWITCH_INTERVAL)
            threading.Thread(target=self._serve, name="midspan-engine", daemon=True).start()
        self._settled.clear()
        self._enter("loading", "")
        self._generation += 1
        with self._lock:
            self._load = (self._generation, directory, device, threads)
            self._lock.notify()

    def unload(self) -> None:
        """Forget the engine and every job."""
        for key in list(self._latest):
            self.cancel(key, "off")
        self._generation += 1
        with self._lock:
            self._load, self._drop = None, True
            self._queue.clear()
            self._lock.notify()
        self._settled.set()
        self._enter("off", "")

    def submit(self, key: str, run: Callable[["Engine", Job], Any], budget: float) -> Job:
        """Queue a job in place of the document's previous one, which is called off."""
        self.cancel(key, "superseded")
        job = Job(key, run, budget)
        self._latest[key] = job
        with self._lock:
            self._queue.pop(key, None)
            self._queue[key] = job
            self._lock.notify()
        return job

    def cancel(self, key: str, reason: str) -> None:
        """Call off the document's job, if there is one."""
        if (job := self._latest.pop(key, None)) is not None:
            job.call_off(reason)

    async def result(self, job: Job, patience: float) -> Any:
        """The job's result; None when it was called off, `job.reason` says why.

        patience: seconds it may wait for an engine that is still loading. Its own budget begins after that.
        """
        try:
            if not self._settled.is_set():
                await self._settled_or_done(job, patience)
            if not self._settled.is_set():
                job.call_off("the model is still loading")
            elif self.state in ("off", "error"):
                job.call_off("there is no model")
            await asyncio.wait({job.future}, timeout=max(0.0, self._until(job) - time.monotonic()) + GRACE)
            job.call_off("deadline")
            return job.future.result()
        except asyncio.CancelledError:
            job.call_off("cancelled")
            raise
        finally:
            if self._latest.get(job.key) is job:
                del self._latest[job.key]

    async def _settled_or_done(self, job: Job, patience: float) -> None:
        settled = asyncio.ensure_future(self._settled.wait())
        try:
            await asyncio.wait({settled, job.future}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        finally:
            settled.cancel()

    def _until(self, job: Job) -> float:
        """When the job's budget is used up, loading not counted."""
        return max(job.deadline, self._ready_since + job.budget)

    def _enter(self, state: State, message: str) -> None:
        self.state = state
        self._on_state(state, message)

    # -- the engine thread

    def _serve(self) -> None:
        engine: Engine | None = None
        while True:
            with self._lock:
                while not (self._load or self._drop or (engine and self._queue)):
                    self._lock.wait()
                wanted, self._load = self._load, None
                dropped, self._drop = self._drop, False
                if wanted or dropped:
                    engine, job = None, None
                else:
                    job = self._queue.pop(next(reversed(self._queue)))
            if wanted:
                engine = self._load_engine(*wanted)
            elif engine is not None and job is not None and not job.cancelled():
                self._run(engine, job)

    def _load_engine(self, generation: int, directory: Path | None, device: str, threads: int) -> "Engine | None":
        # Read by OpenMP when torch is imported: idle threads must sleep, not spin.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        # Compiled products kept, one per shape; the default of 1024 is hundreds of megabytes.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
        started = time.monotonic()
        try:
            open_torch()
            from ..engine import Engine, EngineError  # noqa: PLC0415  (imports torch: seconds, and only here)
        except Exception as error:
            log.exception("the engine could not be imported")
            self._post(self._loaded, generation, f"{type(error).__name__}: {error}")
            return None
        try:
            engine = Engine.load(directory, device=device, threads=threads)
        except EngineError as error:
            log.error("the engine could not be loaded: %s", error)
            self._post(self._loaded, generation, str(error))
            return None
        except Exception as error:
            log.exception("the engine could not be loaded")
            self._post(self._loaded, generation, f"{type(error).__name__}: {error}")
            return None
        log.info("%s loaded in %.1f s", engine.name, time.monotonic() - started)
        self._post(self._loaded, generation, None)
        return engine

    def _run(self, engine: "Engine", job: Job) -> None:
        job.deadline = self._until(job)
        self._post(self._enter_if_serving, "busy")
        try:
            result = job.run(engine, job)
        except Exception as error:
            self._post(_fail, job, error)
        else:
            self._post(_finish, job, result)
        self._post(self._enter_if_serving, "ready")

    def _post(self, callback: Callable[..., None], *args: Any) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            log.debug("event loop gone")

    # -- what the thread tells the event loop

    def _loaded(self, generation: int, problem: str | None) -> None:
        if generation != self._generation:
            return  # turned off, or another engine was asked for meanwhile
        self._ready_since = time.monotonic()
        if problem is None:
            self._enter("ready", "")
        else:
            self._enter("error", problem)
        self._settled.set()

    def _enter_if_serving(self, state: State) -> None:
        if self.state in ("ready", "busy"):
            self._enter(state, "")


def _finish(job: Job, result: Any) -> None:
    if not job.future.done():
        job.future.set_result(result)


def _fail(job: Job, error: Exception) -> None:
    if not job.future.done():
        job.future.set_exception(error)
