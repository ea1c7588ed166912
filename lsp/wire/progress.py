"""The editor's progress bar while a model is loaded (`window/workDoneProgress`, LSP 3.18, "Work Done Progress").

Knows how a progress is begun, told and ended, and nothing of what is being done.
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any


class Progress:
    """notify: sends a bar's token and its news. create: asks the client for a bar, raises when it refuses.

    Without a client that has bars `supported` stays false, and nothing is sent.
    """

    def __init__(self, notify: Callable[[str, dict[str, Any]], None], create: Callable[[str], Awaitable[Any]]) -> None:
        self.supported = False
        self._notify, self._create = notify, create
        self._token = ""  # of the bar there is, or is to be
        self._begun = False
        self._last: tuple[int, str] = (0, "")
        self._count = 0

    def start(self, title: str) -> Coroutine[Any, Any, None] | None:
        """A new bar, unless there is one; what is returned has to be awaited for it to appear."""
        if not self.supported or self._token:
            return None
        self._count += 1
        self._token, self._begun, self._last = f"midspan-{self._count}", False, (0, "")
        return self._begin(self._token, title)

    async def _begin(self, token: str, title: str) -> None:
        try:
            await self._create(token)
        except Exception:  # a client that says it has bars and refuses one: then without
            self._token = "" if self._token == token else self._token
            return
        if self._token == token:  # not over yet
            percentage, message = self._last
            value = {"kind": "begin", "title": title, "cancellable": False, "percentage": percentage}
            self._begun = True
            self._notify(token, {**value, "message": message} if message else value)

    def tell(self, done: float, message: str) -> None:
        """done: 0 … 1."""
        now = (round(100 * min(max(done, 0.0), 1.0)), message)
        if not self._token or now == self._last:
            return
        self._last = now
        if self._begun:
            value = {"kind": "report", "percentage": now[0], "message": message}
            self._notify(self._token, value)

    def end(self, message: str = "") -> None:
        if self._token and self._begun:
            value = {"kind": "end"}
            self._notify(self._token, {**value, "message": message} if message else value)
        self._token, self._begun = "", False
