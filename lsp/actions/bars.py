"""Progress bars of rewrites, which the user can cancel (`window/workDoneProgress`, LSP 3.18, "Work Done Progress").

Each has a token of its own, and goes at any time: before the client has agreed to show it, or after it was cancelled.
Knows nothing of what is computed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

TITLE = "Midspan: rewriting"


class Bars:
    """notify: sends a bar's token and its news. create: asks the client for a bar, raises when it refuses.

    Without a client that has bars `supported` stays false, and nothing is sent.
    """

    def __init__(self, notify: Callable[[str, dict[str, Any]], None], create: Callable[[str], Awaitable[Any]]) -> None:
        self.supported = False
        self._notify, self._create = notify, create
        self._count = 0
        self._open: dict[str, Callable[[], None]] = {}  # what cancels it, by token
        self._shown: set[str] = set()

    def around(
        self, task: asyncio.Task[Any], message: str, cancel: Callable[[], None]
    ) -> Coroutine[Any, Any, None] | None:
        """A bar for as long as the task takes, where the client has bars; what is returned has to be awaited for it to
        appear. cancel: what the user does with it."""
        if not self.supported:
            return None
        self._count += 1
        token = f"midspan-rewrite-{self._count}"
        self._open[token] = cancel
        task.add_done_callback(lambda _: self._close(token))
        return self._show(token, message)

    async def _show(self, token: str, message: str) -> None:
        try:
            await self._create(token)
        except Exception:  # a client that says it has bars and refuses one: then without
            return
        if token in self._open:  # not over yet
            self._shown.add(token)
            self._notify(token, {"kind": "begin", "title": TITLE, "message": message, "cancellable": True})

    def cancel(self, token: object) -> None:
        """The user's wish; a token that is not ours, or over, is nobody's."""
        if isinstance(token, str) and (cancel := self._open.get(token)) is not None:
            cancel()

    def _close(self, token: str) -> None:
        self._open.pop(token, None)
        if token in self._shown:
            self._shown.discard(token)
            self._notify(token, {"kind": "end"})
