"""A real Helix in a terminal, with a real server in it. Knows nothing of models but that one is there.

What was typed and accepted is read from the file Helix writes, what is shown from its screen, and what went over the
wire from its own log.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from ..terminal import PATIENCE, ROOT, Terminal, server_settings, wait

T = TypeVar("T")

HELIX = ROOT / ".cache" / "bin" / "hx"
SIZE = 40, 100  # rows and columns

# A client of its own settles nothing: these keep typed text what was typed.
CONFIG = """
[editor]
auto-pairs = false
smart-tab.enable = false
"""
_MESSAGE = re.compile(r"helix_lsp::transport \[INFO\] midspan (?P<way><-|->) (?P<json>\{.*)")


@dataclass(frozen=True)
class Item:
    """The one entry of a menu as it came over the wire: what it is called, and the text of its documentation."""

    label: str
    preview: str


class Helix:
    """One Helix in a folder that gets all it writes. `languages` is its languages.toml."""

    def __init__(self, folder: Path, languages: str) -> None:
        config = folder / "config" / "helix"
        config.mkdir(parents=True)
        (config / "config.toml").write_text(CONFIG)
        (config / "languages.toml").write_text(languages)
        self.folder = folder
        self._log = folder / "helix.log"
        self._log.touch()
        self._read, self._messages = 0, []
        extra = {name: str(folder / name.lower()) for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME")}
        extra["XDG_CONFIG_HOME"] = str(folder / "config")
        extra.update(server_settings())
        self.terminal = Terminal([HELIX, "-vv", "--log", self._log], extra, folder, SIZE)
        self._wait(lambda: "NOR" in self.status(), "Helix to start")

    # -- keys

    def open(self, name: str, text: str, row: int, column: int) -> None:
        """A new file; the cursor, counted from 0, is where `type` will insert."""
        (self.folder / name).write_bytes(text.encode())
        self.command(f"open {name}:{row + 1}:{column + 1}")
        self._wait(lambda: name in self.status() and f"{row + 1}:{column + 1}" in self.status(), "the file")
        self.terminal.keys("i")
        self._wait(lambda: "INS" in self.status(), "insert mode")

    def normal(self) -> None:
        """Leave insert mode, and menus. Escape and what follows at once would be a key with Alt."""
        for _ in range(3):
            if "NOR" in self.status():
                return
            self.terminal.keys("\x1b")
            wait(lambda: "NOR" in self.status(), 1.0)
        pytest.fail("Helix does not leave insert mode\n" + "\n".join(self.screen()))

    def command(self, command: str) -> None:
        self.normal()
        self.terminal.keys(f":{command}\r")

    def type(self, text: str) -> None:
        """In insert mode, at once."""
        self.terminal.keys(text)

    def invoke(self) -> None:
        """Ask for the menu."""
        self.terminal.keys("\x18")  # C-x

    def saved(self, name: str) -> str:
        """The buffer, through the file it is written to."""
        path = self.folder / name
        path.unlink()
        self.command("write!")
        self._wait(lambda: path.exists() and "written" in self.screen()[-1], "the file to be written")
        return path.read_bytes().decode()

    # -- what is seen

    def screen(self) -> list[str]:
        return self.terminal.screen()

    def shows(self, item: Item) -> bool:
        """Whether the menu is open with this entry: its label, then its kind."""
        entry = re.compile(re.escape(item.label) + r"\s+text\b")
        return any(entry.search(line) for line in self.screen())

    def status(self) -> str:
        """The line that says the mode, the file, and where the cursor is, counted from 1."""
        return self.screen()[-2]

    # -- what went over the wire

    def messages(self) -> list[tuple[str, dict[str, Any]]]:
        """All so far: "->" to the server, "<-" from it."""
        with self._log.open(encoding="utf-8") as log:
            log.seek(self._read)
            while (line := log.readline()).endswith("\n"):
                self._read = log.tell()
                if match := _MESSAGE.search(line):
                    self._messages.append((match["way"], json.loads(match["json"])))
        return self._messages

    def asked(self) -> list[dict[str, Any]]:
        """The completion requests so far."""
        return [message for way, message in self.messages() if way == "->" and _is_completion(message)]

    def answers(self) -> dict[int, dict[str, Any]]:
        """The answers to completion requests, by id."""
        ids = {message["id"] for message in self.asked()}
        return {message["id"]: message for way, message in self.messages() if way == "<-" and message.get("id") in ids}

    def resolved(self) -> bool | None:
        """Whether the last action that was resolved has an edit; None while there is no answer."""
        ids = [one["id"] for way, one in self.messages() if way == "->" and one.get("method") == "codeAction/resolve"]
        answers = [one for way, one in self.messages() if way == "<-" and ids and one.get("id") == ids[-1]]
        return "edit" in (answers[-1].get("result") or {}) if answers else None

    def item(self, name: str, line: str) -> Item | None:
        """Of the answer to the newest request, if that was made in this file with this much of a line typed."""
        answered = self._wait(lambda: self._answered(name, line), f"an answer for {line!r}")
        return answered[0] if answered else None

    def _answered(self, name: str, line: str) -> tuple[Item | None] | None:
        asked = self.asked()
        if not asked:
            return None
        last = asked[-1]
        place = last["params"]["position"]["character"]
        if not last["params"]["textDocument"]["uri"].endswith("/" + name) or place != len(line.encode()):
            return None
        answer = self.answers().get(last["id"])
        if answer is None:
            return None
        items = (answer.get("result") or {}).get("items") or [None]
        one = items[0]
        return (one and Item(one["label"], one["documentation"]["value"]),)

    def servers(self) -> list[psutil.Process]:
        """The Midspans this Helix has started."""
        children = psutil.Process(self.terminal.pid).children(recursive=True)
        return [child for child in children if "--stdio" in child.cmdline()]

    def ready(self) -> None:
        """Return once the model is loaded."""

        def loaded() -> bool:
            progress = [message["params"] for _, message in self.messages() if message.get("method") == "$/progress"]
            return any(one["value"]["kind"] == "end" for one in progress)

        self._wait(loaded, "the model to be loaded")

    def close(self) -> None:
        self.terminal.close()

    def _wait(self, condition: Callable[[], T], what: str) -> T:
        value = wait(condition)
        if not value:
            log = self._log.read_text(encoding="utf-8")[-2000:]
            pytest.fail(f"waited {PATIENCE:.0f} s for {what}\n" + "\n".join(self.screen()) + f"\n{log}")
        return value


def _is_completion(message: dict[str, Any]) -> bool:
    return message.get("method") == "textDocument/completion"
