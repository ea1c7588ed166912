"""The one engine thread: loads the engine and runs jobs on it, the newest of each document and no other.

The event loop submits and awaits; it never computes and never waits for the thread. A job that was superseded,
cancelled or given up is answered at once; the thread learns of it through the job's flag, which the engine polls at
every denoise step. Knows nothing of the protocol, of documents or of what a job computes.
"""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from .loading import EngineSpec, LoadError, load_engine, over_limit, release

if TYPE_CHECKING:
    from ..engine import Engine

log = logging.getLogger(__name__)

State = Literal["off", "asleep", "loading", "ready", "busy", "error"]
"""asleep: there is no model in memory, and the next request loads it."""

SWITCH_INTERVAL = 0.001  # seconds a computing thread may keep the interpreter from the event loop
REST = 0.02  # seconds after an answer in which its document's next request, or a prefetch, may come
GRACE = 0.1  # seconds past its deadline that a job may need to notice it


class JobError(Exception):
    """The engine could not do a job for a reason the user can do something about, which the message says."""


class Job:
    """One computation for one document. Its future lives on the event loop; None means it was called off."""

    def __init__(self, key: str, run: Callable[["Engine", "Job"], Any], budget: float, *, idle: bool = False) -> None:
        self.key = key
        self.idle = idle  # nobody waits for it: it runs when nothing else does, and gives way
        self.run = run
        self.budget = budget  # seconds, counted from the submission or from the end of loading
        self.submitted = time.monotonic()
        self.deadline = self.submitted + budget
        self.began = 0.0  # time.monotonic() when the engine took it up; 0: it has not
        self.reason = ""  # why it was called off
        self.after: Callable[[Callable[[], bool]], object] | None = None
        """For the thread to do when the answer is out and nothing else comes: it is told how to ask."""
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
    """Public methods belong to the event loop. `on_state` is called there with a state and a sentence for the user,
    `on_progress` while a model is loaded."""

    def __init__(
        self, on_state: Callable[[State, str], None], on_progress: Callable[[float, str], None] = lambda *_: None
    ) -> None:
        self.state: State = "off"
        self.follows_instructions = False  # the engine that is there, or was there last
        self._idle_after = 0.0
        self._on_state, self._on_progress = on_state, on_progress
        self._loop: asyncio.AbstractEventLoop | None = None
        self._settled = asyncio.Event()  # loading is over, well or badly
        self._lock = threading.Condition()
        self._ready_since = 0.0  # time.monotonic() at which the present engine was there
        self._generation = 0  # of loads and unloads: news of an earlier one is no news
        self._load: tuple[int, EngineSpec] | None = None  # what to load next
        self._spec = EngineSpec()  # what was loaded last, or is to be after sleeping
        self._drop = False  # the engine is to be forgotten
        self._closing = False
        self._queue: dict[str, Job] = {}  # waiting, one per document, oldest first
        self._idle: Job | None = None  # waiting
        self._running_idle: Job | None = None
        self._latest: dict[str, Job] = {}  # waiting or running, but for the idle one
        self._used = 0.0  # time.monotonic() of the last job
        self._bedtime: asyncio.TimerHandle | None = None

    def load(self, spec: EngineSpec) -> None:
        """Load this engine, in place of any other. Jobs may be submitted at once and wait for it."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            sys.setswitchinterval(SWITCH_INTERVAL)
            threading.Thread(target=self._serve, name="midspan-engine", daemon=True).start()
        self._settled.clear()
        self._spec = spec
        self._generation += 1
        self._enter("loading", "")
        with self._lock:
            self._load = (self._generation, spec)
            self._lock.notify()

    def sleep(self, spec: EngineSpec | None = None) -> None:
        """Forget the engine; the next job loads it again, or `spec`."""
        self._spec = spec or self._spec
        self._forget("asleep", "")

    def sleep_after(self, seconds: float) -> None:
        """Without a job for this long the engine is forgotten, as by `sleep`; 0: never."""
        if seconds != self._idle_after:
            self._idle_after = seconds
            if self._bedtime is not None:
                self._bedtime.cancel()
                self._bedtime = None
            if self.state in ("ready", "busy"):
                self._stay_awake()

    def unload(self) -> None:
        """Forget the engine and every job."""
        self._forget("off", "")

    def close(self) -> None:
        """Forget everything and end the thread."""
        self._closing = True
        self._forget("off", "")

    def _forget(self, state: State, message: str) -> None:
        for key in list(self._latest):
            self.cancel(key, "off")
        self.cancel_idle("off")
        self._generation += 1
        with self._lock:
            self._load, self._drop = None, True
            self._queue.clear()
            self._lock.notify()
        self._settled.set()
        self._enter(state, message)

    def submit(self, key: str, run: Callable[["Engine", Job], Any], budget: float, delay: float = 0.0) -> Job:
        """Queue a job in place of the document's previous one, which is called off. delay: seconds to hold it back."""
        self.cancel(key, "superseded")
        if self.state == "asleep":
            self.load(self._spec)
        job = Job(key, run, budget)
        self._latest[key] = job
        if delay > 0:
            asyncio.get_running_loop().call_later(delay, self._enqueue, job)
        else:
            self._enqueue(job)
        return job

    def submit_idle(self, key: str, run: Callable[["Engine", Job], Any], budget: float) -> Job | None:
        """Queue a job for when nothing else is to be done, in place of the idle job before; None: no engine is there.

        It is called off when any other job is queued.
        """
        if self.state not in ("ready", "busy"):
            return None
        self.cancel_idle("superseded")
        job = Job(key, run, budget, idle=True)
        with self._lock:
            self._idle = job
            self._lock.notify()
        return job

    def promote(self, job: Job) -> None:
        """Somebody waits for the idle job now: it is its document's job and gives way to nothing."""
        self.cancel(job.key, "superseded")
        job.idle = False
        job.submitted = time.monotonic()
        job.deadline = job.submitted + job.budget
        self._latest[job.key] = job
        with self._lock:
            if self._idle is job:  # it has not begun
                self._idle = None
                self._queue.pop(job.key, None)
                self._queue[job.key] = job
                self._lock.notify()

    def cancel(self, key: str, reason: str) -> None:
        """Call off the document's job, if there is one."""
        if (job := self._latest.pop(key, None)) is not None:
            job.call_off(reason)

    def cancel_idle(self, reason: str) -> None:
        with self._lock:
            job, self._idle = self._idle, None
        if job is not None:
            job.call_off(reason)
        if self._running_idle is not None and self._running_idle.idle:
            self._running_idle.call_off(reason)

    def _enqueue(self, job: Job) -> None:
        if job.cancelled():
            return
        self.cancel_idle("a request came")
        with self._lock:
            self._queue.pop(job.key, None)
            self._queue[job.key] = job
            self._lock.notify()

    async def result(self, job: Job, patience: float) -> Any:
        """The job's result; None when it was called off, `job.reason` says why.

        patience: seconds it may wait for an engine that is still loading. Its own budget begins after that.
        """
        try:
            if not self._settled.is_set():
                await self._settled_or_done(job, patience)
            if not self._settled.is_set():
                job.call_off("the model is still loading")
            elif self.state in ("off", "asleep", "error"):
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

    def _stay_awake(self) -> None:
        """Put the bedtime off. One timer at a time, set again when it rings too early."""
        self._used = time.monotonic()
        if self._bedtime is None and self._idle_after > 0:
            self._bedtime = asyncio.get_running_loop().call_later(self._idle_after, self._go_to_bed)

    def _go_to_bed(self) -> None:
        self._bedtime = None
        if self._idle_after <= 0 or self.state not in ("ready", "busy"):
            return
        rest = self._used + self._idle_after - time.monotonic()
        if rest > 0 or self._latest:
            self._bedtime = asyncio.get_running_loop().call_later(max(rest, 1.0), self._go_to_bed)
        else:
            log.info("the model was not used for %.0f s and is unloaded", self._idle_after)
            self.sleep()

    # -- the engine thread

    def _serve(self) -> None:
        engine: Engine | None = None
        while True:
            with self._lock:
                while not (self._load or self._drop or (engine and (self._queue or self._idle))):
                    self._lock.wait()
                wanted, self._load = self._load, None
                dropped, self._drop = self._drop, False
                job = None
                if wanted or dropped:
                    engine = None
                elif self._queue:
                    job = self._queue.pop(next(reversed(self._queue)))
                else:
                    job, self._idle = self._idle, None
                self._running_idle = job if job is not None and job.idle else None
            if dropped or wanted:
                release()
            if self._closing:
                return
            if wanted:
                engine = self._load_engine(*wanted)
            elif engine is not None and job is not None and not job.cancelled():
                self._run(engine, job)
                if job.after is not None and self._rests():
                    job.after(lambda: bool(self._queue))
                if problem := over_limit(self._spec.memory_limit):
                    engine = None
                    self._post(self._loaded, self._generation, problem)
            # The last reference to a result lives in its future.
            job = self._running_idle = None

    def _rests(self) -> bool:
        """Whether nothing comes for so long that the event loop, which this thread would hold up, is done as well."""
        with self._lock:
            return not self._lock.wait_for(lambda: self._load or self._drop or self._queue or self._idle, REST)

    def _load_engine(self, generation: int, spec: EngineSpec) -> "Engine | None":
        try:
            engine = load_engine(spec, lambda done, what: self._post(self._progress, generation, done, what))
        except LoadError as error:
            self._post(self._loaded, generation, str(error))
            return None
        problem = over_limit(spec.memory_limit)
        self._post(self._loaded, generation, problem or None, engine.follows_instructions)
        return None if problem else engine

    def _run(self, engine: "Engine", job: Job) -> None:
        if not job.idle:
            job.deadline = self._until(job)
            self._post(self._enter_if_serving, "busy")
        else:
            job.deadline = time.monotonic() + job.budget
        job.began = time.monotonic()
        try:
            result = job.run(engine, job)
        except Exception as error:
            from ..engine import EngineError  # noqa: PLC0415  (imported already: it has loaded the engine)

            self._post(_fail, job, JobError(str(error)) if isinstance(error, EngineError) else error)
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

    def _progress(self, generation: int, done: float, what: str) -> None:
        if generation == self._generation and self.state == "loading":
            self._on_progress(done, what)

    def _loaded(self, generation: int, problem: str | None, follows_instructions: bool = False) -> None:
        if generation != self._generation:
            return  # turned off, or another engine was asked for meanwhile
        self.follows_instructions = follows_instructions
        self._ready_since = time.monotonic()
        if problem is None:
            self._enter("ready", "")
            self._stay_awake()
        else:
            self._enter("error", problem)
        self._settled.set()

    def _enter_if_serving(self, state: State) -> None:
        if self.state in ("ready", "busy"):
            self._stay_awake()
            if state != self.state:
                self._enter(state, "")


def _finish(job: Job, result: Any) -> None:
    if not job.future.done():
        job.future.set_result(result)


def _fail(job: Job, error: Exception) -> None:
    if not job.future.done():
        job.future.set_exception(error)
    if job.idle:
        job.future.exception()  # nobody waits for it, and that is no error
