"""What the editor is likely to ask next while a suggestion stands there: what follows its acceptance.

A prefetch is one step deep: the text with the suggestion accepted and the cursor behind it and, where nothing is to be
filled there, the new line the user would begin. It runs when the keys have been still for a while, gives way to every
request, and is given up when the text changes in another way than towards the suggestion. Lives on the event loop;
knows nothing of engines or of the protocol.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from ..complete import Outcome, Snapshot, Suggestion
from ..lines import common_prefix, line_ending, line_start
from .suggestions import Place, Remembered, left

STILL = 0.3  # seconds without a change before a prefetch begins
MOST_CLOSED = 3  # closers an editor may have put in by itself


class Computation(Protocol):
    """A job that somebody may come to wait for."""

    future: "asyncio.Future[Any]"

    def call_off(self, reason: str) -> None: ...


def accepted(snapshot: Snapshot, suggestion: Suggestion) -> Snapshot:
    """As the document would be with the suggestion accepted. The cursor is where editors put it: behind all of it."""
    document, end = snapshot.document, suggestion.start + len(suggestion.text)
    text = document[: suggestion.start] + suggestion.text + document[suggestion.end :]
    return replace(snapshot, document=text, start=end, end=end, chosen="")


def next_line(snapshot: Snapshot) -> Snapshot | None:
    """With the line after the cursor's begun, indented as this one is; None when the cursor is not at a line's end.

    Where an editor indents otherwise (after a colon, say) this is not what will be asked, and costs one fill.
    """
    text, at = snapshot.document, snapshot.start
    line = text[line_start(text, at) : at]
    if text[at : at + 1] not in ("", "\n", "\r") or not line.strip() or line.rstrip().endswith((":", "{", "(", "[")):
        return None
    new = line_ending(text) + line[: len(line) - len(line.lstrip(" \t"))]
    return replace(snapshot, document=text[:at] + new + text[at:], start=at + len(new), end=at + len(new))


def on_the_way(one: Remembered, start: int, before: str, text: str) -> bool:
    """Whether `text` is `before` with some of the suggestion, made for offset `start`, typed or all of it accepted."""
    if text == before[:start] + one.text + before[start + len(one.rest) :]:
        return True
    typed = len(text) - len(before)
    most = common_prefix(text[start : start + one.filled], one.text)
    return any(
        left(one, Place.at(text, start + length)) == length
        for length in range(max(0, typed - MOST_CLOSED), typed + 1)
        if length <= most
    )


class Prefetch:
    """At most one at a time.

    begin: starts a computation for a snapshot, or None when there is nothing to compute it with. keep: is given what
    was computed. known: whether a snapshot has its answer already.
    """

    def __init__(
        self,
        begin: Callable[[Snapshot], Computation | None],
        keep: Callable[[Snapshot, Outcome], None],
        known: Callable[[Snapshot], bool],
    ) -> None:
        self._begin, self._keep, self._known = begin, keep, known
        self._shown: tuple[Remembered, Snapshot] | None = None
        self._aim: Snapshot | None = None  # the acceptance
        self._target: Snapshot | None = None  # what is computed or to be computed: the aim, or the line after it
        self._over = False  # there is nothing left to compute
        self._timer: asyncio.TimerHandle | None = None
        self._running: Computation | None = None

    def shown(self, one: Remembered, snapshot: Snapshot, suggestion: Suggestion) -> None:
        """The suggestion stands in the editor now."""
        aim = accepted(snapshot, suggestion)
        if self._aim is None or not _same(self._aim, aim):
            self.stop()
            self._aim = self._target = aim
        self._shown = (one, snapshot)
        if not self._over and self._running is None:
            self._wait()

    def changed(self, uri: str, text: Callable[[], str]) -> None:
        """A document changed. text: what it holds now."""
        if self._shown is None or self._shown[1].uri != uri:
            return
        one, snapshot = self._shown
        if not on_the_way(one, snapshot.offset, snapshot.text, text()):
            self.stop()
        elif self._timer is not None:
            self._wait()

    def running(self, snapshot: Snapshot) -> Computation | None:
        """The computation under way for exactly this, for somebody to wait for; it is no prefetch any more."""
        if self._running is None or self._target is None or not _same(self._target, snapshot):
            return None
        computation, self._running = self._running, None
        return computation

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._running is not None:
            self._running.call_off("not accepted")
        self._shown = self._aim = self._target = self._timer = self._running = None
        self._over = False

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(STILL, self._start)

    def _start(self) -> None:
        self._timer = None
        target = self._target
        if target is None or self._over:
            return
        if self._known(target):
            self._over = True
            return
        self._running = computation = self._begin(target)
        if computation is not None:
            computation.future.add_done_callback(lambda future: self._done(target, computation, future))

    def _done(self, target: Snapshot, computation: Computation, future: "asyncio.Future[Any]") -> None:
        mine = self._running is computation
        if mine:
            self._running = None
        outcome = None if future.cancelled() or future.exception() else future.result()
        if not isinstance(outcome, Outcome):
            return
        self._keep(target, outcome)
        if mine and self._target is target:
            following = next_line(target) if outcome.suggestion is None and target is self._aim else None
            if following is not None:
                self._target = following
                self._start()
            else:
                self._over = True


def _same(one: Snapshot, other: Snapshot) -> bool:
    return (one.uri, one.start, one.end, one.chosen) == (other.uri, other.start, other.end, other.chosen) and (
        one.document == other.document
    )
