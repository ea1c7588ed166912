"""One day with Midspan, told once and played in every editor: the steps, and what has to be true after each.

An `Editor` gives a user's hands and eyes; `Story` says what they do and see. Which code a model writes, and where it
prefers silence, is its own affair: the steps hold the editor to what its screen has promised. Knows nothing of any
editor and nothing of the protocol; what the servers did is read off their recordings.
"""

import os
import re
import shlex
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
from midspan.lsp.commands.recording import read

from .sample import SAMPLE

T = TypeVar("T")

LINES = SAMPLE.split("\n")
EMPTY = LINES.index("    for name in os.listdir(folder):") + 1  # the row to write in, from 0
BODY = LINES.index("    with open(path) as handle:")  # the first of the two rows to rewrite
BEGINNINGS = (
    "        result.app",
    "        path = os.path.jo",
    "        value = json.lo",
    "        if name.",
    "        result = lo",
    "        value = json.du",
    "        with op",
    "        value = na",
)
HEADERS = (
    "        if not name:",
    "        for value in name:",
    "        with open(name) as handle:",
    "        if name in result:",
    "        while name:",
    "        try:",
)
REFILL = "Midspan: write the selection anew"
REWRITES = (  # rows and how; a model may find nothing better for some
    (BODY, BODY + 1, REFILL),
    (EMPTY - 2, EMPTY - 1, REFILL),
    (BODY + 1, BODY + 1, "Midspan: rewrite the selection lightly"),
    (BODY + 5, BODY + 6, REFILL),
)
LONG = SAMPLE + "\n\n".join(
    ["", *(SAMPLE[SAMPLE.index("def ") :].replace("path", f"path_{number}") for number in range(12))]
)
MUCH = 60  # rows of it, that take a model seconds to rewrite
SAME = 10  # looks at the screen that are the same once it stands still
RESOLVE = "codeAction/resolve"
CALLED_OFF = -32800  # LSP 3.18, `RequestCancelled`
NEWER = frozenset({"superseded", "the text changed", "cancelled", "stale"})  # outcomes that another request follows
FROM_MEMORY = frozenset({"remembered", "prefetched", "disk"})


class Editor(Protocol):
    """What a user does in an editor, and sees of it. Rows count from 0; each method returns when it is done."""

    @property
    def recordings(self) -> Path:
        """The folder `recording_server` was given."""
        ...

    def open(self, text: str, row: int) -> None:
        """A new Python file with this text in it, the cursor at the end of a row, ready to be typed at."""
        ...

    def ready(self) -> None:
        """Wait until the model is loaded, as far as the editor says so."""
        ...

    def suggestion(self, beginnings: tuple[str, ...], wanted: Callable[[str], Any]) -> str:
        """Write these beginnings into the cursor's row, each in place of the one before, until there is ghost text that
        will do; the ghost text."""
        ...

    def type(self, text: str) -> None: ...
    def ghost(self) -> str:
        """The ghost text; empty: there is none."""
        ...

    def screen(self) -> str:
        """The text as the user sees it, ghost text included."""
        ...

    def holds(self, text: str) -> None:
        """Assert that the file, saved now, is this."""
        ...

    def accept(self) -> None: ...
    def accept_word(self) -> None: ...
    def undo(self) -> None:
        """One step; no ghost text is left."""
        ...

    def select(self, first: int, last: int) -> None:
        """Whole rows."""
        ...

    def choose(self, action: str) -> None:
        """This one of the code actions that are offered for the selection."""
        ...

    def cancel(self) -> None:
        """Call off what was chosen, as soon as it can be seen to be under way."""
        ...

    def said(self) -> str:
        """What the user was told since the last choice."""
        ...

    def servers(self) -> list[int]:
        """The running servers' process ids."""
        ...

    def wait(self, condition: Callable[[], T], what: str, patience: float = ..., fail: bool = True) -> T: ...


def recording_server(server: Path, folder: Path) -> Path:
    """A command that is `server`, but for a recording of each of its processes in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    command = folder / "midspan"
    line = f'exec {shlex.quote(str(server))} --record {shlex.quote(str(folder))}/$$.msgpack "$@"'
    command.write_text(f"#!/bin/sh\n{line}\n")
    command.chmod(0o755)
    return command


def requests(folder: Path) -> list[dict[str, Any]]:
    """What became of every request so far, as the servers recorded it; of each process in order."""
    return [what for kind, what in _records(folder) if kind == "stage"]


def silent(folder: Path, n: int) -> bool:
    """Whether there were more than n requests, and the last one got nothing."""
    last = requests(folder)[n:][-1:]
    return bool(last) and last[0]["outcome"] not in {"shown", *NEWER}


def refusals(folder: Path, method: str) -> list[int]:
    """The codes of the errors that requests of this method were answered with so far."""
    asked, codes = set[Any](), []
    for kind, what in _records(folder):
        if kind == "in" and what.get("method") == method:
            asked.add(what["id"])
        elif kind == "out" and "error" in what and what["id"] in asked:
            codes.append(what["error"]["code"])
    return codes


def _records(folder: Path) -> Iterator[tuple[str, Any]]:
    for file in sorted(folder.glob("*.msgpack"), key=lambda file: file.stat().st_ctime):
        yield from ((kind, what) for _, kind, what in read(file)[1])


def long_enough(ghost: str) -> bool:
    """One line that begins with a word's letters and has more than one word left after two of them."""
    return "\n" not in ghost and re.match("[a-z]{2}", ghost) is not None and len(re.findall(r"\w+", ghost[2:])) > 1


class Story:
    """Steps in their order; each begins where the one before ended. After one that fails, no other is played."""

    def __init__(self, editor: Editor) -> None:
        self.editor = editor
        self.broken = ""
        self.promised = ""  # the screen with ghost text on it, which acceptance has to make real
        self.held = ""  # the file before the last acceptance

    def play(self, step: str) -> None:
        if self.broken:
            pytest.skip(f"the story broke off where someone {self.broken.replace('_', ' ')}")
        self.broken = step
        getattr(self, step)()
        self.broken = ""

    def opens_a_file(self) -> None:
        self.editor.open(SAMPLE, EMPTY)
        self.editor.ready()
        assert self.editor.screen() == SAMPLE

    def types_and_sees_ghost_text(self) -> None:
        ghost = self.editor.suggestion(BEGINNINGS, long_enough)
        self.promised = self.editor.screen()
        begun, rest = self._around(self.promised)
        assert begun.endswith(ghost) and begun.removesuffix(ghost) in BEGINNINGS
        assert rest == self._around(SAMPLE)[1], "nothing else on the screen has changed"

    def types_through_it_and_no_model_is_asked(self) -> None:
        ghost = self.editor.ghost()
        shown = requests(self.editor.recordings)[-1]
        for typed in (1, 2):
            self.editor.type(ghost[typed - 1])
            assert self.editor.screen() == self.promised, "it stays where it is, one character of it typed"
        self.editor.wait(lambda: self._since(shown), "the editor to ask again", patience=2.0, fail=False)
        assert self.editor.ghost() == ghost[2:]
        assert {request["origin"] for request in self._since(shown)} <= FROM_MEMORY

    def accepts_a_word(self) -> None:
        ghost = self.editor.ghost()
        self.editor.accept_word()
        left = self.editor.wait(lambda: self._less_than(ghost), "a word to be taken, and the rest kept")
        assert self.editor.screen() == self.promised
        begun, _ = self._around(self.promised)
        self.held = self.promised.replace(begun, begun.removesuffix(left))
        self.editor.holds(self.held)

    def accepts_the_rest(self) -> None:
        self.editor.wait(lambda: self.editor.screen() == self.promised, "the rest, still there after saving")
        self.editor.accept()
        self.editor.holds(self.promised)

    def takes_it_back(self) -> None:
        self.editor.undo()
        self.editor.holds(self.held)
        for _ in range(5 * len(BEGINNINGS)):
            if self.editor.screen() == SAMPLE:
                break
            self.editor.undo()
        self.editor.holds(SAMPLE)

    def ends_a_header_and_gets_its_body(self) -> None:
        self.editor.open(SAMPLE, EMPTY)
        self.editor.suggestion(HEADERS, lambda ghost: self.editor.screen().count("\n") > SAMPLE.count("\n"))
        promised = self.editor.screen()
        lines, below = promised.split("\n"), LINES[EMPTY + 1 :]
        header, *body = lines[EMPTY : len(lines) - len(below)]
        assert header in HEADERS and all(line.startswith("            ") for line in body), "one step in"
        assert (lines[:EMPTY], lines[len(lines) - len(below) :]) == (LINES[:EMPTY], below)
        self.editor.accept()
        self.editor.holds(promised)

    def rewrites_a_selection(self) -> None:
        editor = self.editor
        editor.open(SAMPLE, EMPTY)
        for first, last, action in REWRITES:
            editor.select(first, last)
            editor.choose(action)
            editor.wait(lambda: editor.screen() != SAMPLE or editor.said(), "the rewriting")
            if (rewritten := self._at_rest()) != SAMPLE:
                break
            editor.holds(SAMPLE)
        else:
            pytest.fail(f"nothing was rewritten: {editor.said()}")
        lines, below = rewritten.split("\n"), LINES[last + 1 :]
        around = lines[:first], lines[len(lines) - len(below) :]
        assert around == (LINES[:first], below), f"the selection and no more\n{rewritten}"
        editor.holds(rewritten)
        editor.undo()
        editor.holds(SAMPLE)

    def cancels_a_rewrite(self) -> None:
        editor = self.editor
        editor.open(LONG, EMPTY)
        editor.select(0, MUCH)
        before = refusals(editor.recordings, RESOLVE)
        editor.choose(REFILL)
        editor.cancel()
        codes = [*before, CALLED_OFF]
        editor.wait(lambda: refusals(editor.recordings, RESOLVE) == codes, "the server to have given it up")
        editor.holds(LONG)
        editor.open(SAMPLE, EMPTY)
        editor.suggestion(BEGINNINGS, bool)

    def loses_the_server_and_gets_it_back(self) -> None:
        self.editor.open(SAMPLE, EMPTY)
        self.editor.suggestion(BEGINNINGS, bool)
        (before,) = self.editor.servers()
        os.kill(before, signal.SIGKILL)
        self.editor.type(" # kept")
        kept = "what is typed meanwhile, in place of the ghost text"
        self.editor.wait(lambda: "# kept" in self.editor.screen() and not self.editor.ghost(), kept)
        written = self._at_rest()
        self.editor.holds(written)
        self.editor.wait(lambda: self.editor.servers() not in ([], [before]), "another server, unasked")
        self.editor.ready()
        self.editor.holds(written)
        self.editor.suggestion(BEGINNINGS, bool)
        promised = self.editor.screen()
        self.editor.accept()
        self.editor.holds(promised)

    def _at_rest(self) -> str:
        """The screen once it has stood still: an edit of several rows is not painted at once."""
        seen: list[str] = []

        def still() -> bool:
            seen.append(self.editor.screen())
            return len(seen) >= SAME and len(set(seen[-SAME:])) == 1

        self.editor.wait(still, "the screen to stand still")
        return seen[-1]

    def _around(self, text: str) -> tuple[str, list[str]]:
        """The row that is written in, and all others."""
        lines = text.split("\n")
        return lines[EMPTY], lines[:EMPTY] + lines[EMPTY + 1 :]

    def _less_than(self, ghost: str) -> str:
        left = self.editor.ghost()
        return left if left != ghost and ghost.endswith(left) else ""

    def _since(self, shown: dict[str, Any]) -> list[dict[str, Any]]:
        """The requests for younger versions of the same document."""
        asked = requests(self.editor.recordings)
        return [one for one in asked if one["uri"] == shown["uri"] and one["version"] > shown["version"]]


STEPS = tuple(name for name in vars(Story) if not name.startswith("_") and name != "play")
