"""An editor's session in this process, with an engine whose answers and pace are given; `live` runs stories with it."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from midspan.engine import Candidate, Infill, InfillRequest
from midspan.engine.engine import Limits
from midspan.lsp.complete import Outcome
from midspan.lsp.documents import Change
from midspan.lsp.session import Listener, Session

URI = "file:///project/code.py"


class Given:
    """An engine that answers from a table: the end of the prefix → the fill. `gate` holds it up."""

    name = "given"
    follows_instructions = False
    limits = Limits(464, 48, (32,))

    def __init__(self, table: dict[str, str]) -> None:
        self.table = table
        self.asked: list[str] = []  # the ends of the prefixes
        self.begun = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def infill(self, request: InfillRequest) -> Infill:
        self.asked.append(request.prefix[-12:])
        self.begun.release()
        while not self.gate.wait(0.002):
            if request.cancelled():
                return Infill("", (), (), 1, "cancelled", {}, 0.0)
        found = [fill for end, fill in self.table.items() if request.prefix.endswith(end)]
        texts = found[-1].split("|") if found else [""]
        candidates = tuple(Candidate(text, (), frozenset({"canvas"}), probability=0.9) for text in texts)
        return Infill(texts[0], (), (), 1, "converged", {}, 0.9, "canvas", candidates)


class Editor:
    """One document, its text typed into it, and a session."""

    def __init__(self, engine: Given, **options: Any) -> None:
        self.engine = engine
        self.states: list[tuple[str, str]] = []
        self.troubles: list[str] = []
        state = lambda kind, message: self.states.append((kind, message))  # noqa: E731
        self.session = Session(Listener(state=state, trouble=self.troubles.append))
        self.session.initialize({"diskCache": False, "deadline": 30, "debounce": 0, **options}, [])
        self.version = 1

    def open(self, marked: str) -> None:
        self.column = len(marked.partition("║")[0])
        self.text = marked.replace("║", "")
        self.session.documents.open(URI, "python", self.version, self.text)

    def become(self, marked: str) -> None:
        """The text, of one line or more, and the cursor, all at once."""
        self.column = len(marked.partition("║")[0])
        self.text = marked.replace("║", "")
        self.version += 1
        self.session.change(URI, self.version, [Change(self.text)])

    async def ask(self, invoked: bool = False) -> Outcome:
        document = self.session.documents.get(URI)
        assert document is not None
        request = self.session.request(URI, document.position(self.column), invoked)
        assert request is not None
        if request.outcome is not None:
            return self.session.settle(request, request.outcome)
        return await self.session.suggest(request)

    async def until(self, satisfied: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 20
        while not satisfied():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)


Story = Callable[[Editor], Coroutine[Any, Any, None]]
Live = Callable[..., None]
