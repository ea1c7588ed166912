"""A real VS Code with the packaged extension and a real server in it, driven by keys and read off its screen.

VS Code is code-server, its window is a page in a headless Chromium. Knows nothing of models but that one is there.
"""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ..story import recording_server, requests, silent
from .code_server import RIG, SERVER, code_server, environment, free_port, listens
from .page import Page

PATIENCE = 60.0  # seconds; a first suggestion waits for VS Code, torch and the model, perhaps on a busy machine

T = TypeVar("T")

SETTINGS = {
    "breadcrumbs.enabled": False,
    "editor.autoIndent": "none",
    "chat.disableAIFeatures": True,
    "editor.minimap.enabled": False,
    "editor.quickSuggestions": {"other": "off", "comments": "off", "strings": "off"},
    "editor.parameterHints.enabled": False,
    "editor.scrollBeyondLastLine": False,
    "editor.stickyScroll.enabled": False,
    "extensions.autoCheckUpdates": False,
    "extensions.ignoreRecommendations": True,
    "git.enabled": False,
    "python.languageServer": "None",
    "security.workspace.trust.enabled": False,
    "telemetry.telemetryLevel": "off",
    "update.mode": "none",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "workbench.startupEditor": "none",
    "workbench.tips.enabled": False,
    # Neither speed nor taste is tested here.
    "midspan.deadline": 20,
    "midspan.minConfidence": 0,
}
KEYBINDINGS = {  # for commands that have no key of their own
    "ctrl+alt+1": "midspan.toggle",
    "ctrl+alt+2": "midspan.explain",
    "ctrl+alt+3": "midspan.rewriteSelection",
    "ctrl+alt+4": "notifications.clearAll",
    "ctrl+alt+5": "midspan.runDoctor",
    "ctrl+alt+6": "midspan.wake",
    "ctrl+alt+7": "workbench.trust.manage",
    "ctrl+alt+8": "editor.action.inlineSuggest.trigger",
    "ctrl+alt+0": "midspan.openSample",
    "ctrl+alt+9": ("cursorLineEnd", "cursorLineStartSelect"),
}

# The editor's lines as they stand on the screen, ghost text included; and the ghost text alone.
SCREEN = """(() => {
  const editor = document.querySelector('.editor-instance .monaco-editor');
  if (!editor) return null;
  const plain = (element) => element.textContent.replace(/\\u00a0/g, ' ').replace(/[\\u200b\\u200c]/g, '');
  const top = (element) => Math.round(element.getBoundingClientRect().top);
  const rows = [...editor.querySelectorAll('.view-lines .view-line')];
  const zones = [...editor.querySelectorAll('.view-zones [class*="ghost-text"] .view-line, ' +
                                            '[class*="suggest-preview-text"] .view-line')];
  const lines = new Map(rows.map((row) => [top(row), plain(row)]));
  for (const zone of zones) lines.set(top(zone), plain(zone));
  const inline = [...editor.querySelectorAll('.view-lines [class*="ghost-text"]')].map(plain).join('');
  const below = zones.sort((a, b) => top(a) - top(b)).map(plain);
  return { lines: [...lines].sort((a, b) => a[0] - b[0]).map((entry) => entry[1]), ghost: [inline, ...below] };
})()"""


class VSCode:
    """One window of VS Code on a folder of its own, with the `extensions` of `installed`. `settings` lie over those
    above; `workspace` are the folder's own settings, `files` are copied into it."""

    def __init__(
        self,
        folder: Path,
        extensions: Path,
        settings: dict[str, Any] | None = None,
        workspace: dict[str, Any] | None = None,
        files: dict[str, Path] | None = None,
        size: tuple[int, int] = (1000, 760),
    ) -> None:
        self.folder = folder / "project"
        (self.folder / ".vscode").mkdir(parents=True)
        (self.folder / ".vscode" / "settings.json").write_text(json.dumps(workspace or {}))
        for name, source in (files or {}).items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, self.folder / name)
        self._data = folder / "user"
        for name in ("User", "Machine"):
            (self._data / name).mkdir(parents=True)
        self.recordings = folder / "recordings"
        server = recording_server(SERVER, self.recordings)
        self._settings = {**SETTINGS, "midspan.server.command": [str(server)], **(settings or {})}
        if model := os.environ.get("MIDSPAN_E2E_MODEL"):
            self._settings["midspan.model"] = model
        self.set()
        keys = [
            {"key": key, "command": command}
            if isinstance(command, str)
            else {"key": key, "command": "runCommands", "args": {"commands": command}}
            for key, command in KEYBINDINGS.items()
        ]
        (self._data / "User" / "keybindings.json").write_text(json.dumps(keys))
        self.log = folder / "code-server.log"
        self._names = count(1)
        port = free_port()
        flags = ["--auth", "none", "--bind-addr", f"127.0.0.1:{port}", "--disable-telemetry", "--disable-update-check"]
        self._process = subprocess.Popen(
            [*code_server(folder, extensions), *flags],
            env=environment(folder),
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        self.wait(lambda: listens(port), "code-server to listen")
        self.page = Page(
            RIG / "browser" / "run", f"http://127.0.0.1:{port}/?folder={self.folder}", folder / "browser", *size
        )
        self.wait(lambda: self.page.look("!!document.querySelector('.statusbar .statusbar-item')"), "the window")

    def close(self) -> None:
        import psutil  # noqa: PLC0415

        self.page.close()
        tree = [self._process, *psutil.Process(self._process.pid).children(recursive=True)]
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        for process in psutil.wait_procs(tree[1:], timeout=2)[1]:
            process.kill()

    def set(self, **settings: Any) -> None:
        """Change the user's settings; `midspan.x` is given as `midspan_x`, and None takes one away."""
        for name, value in settings.items():
            self._settings[name.replace("_", ".")] = value
        written = {name: value for name, value in self._settings.items() if value is not None}
        # To VS Code, code-server is another machine: the settings of that machine are the ones whose file is watched,
        # and the only ones that may say what runs there.
        machine = {name: written.pop(name) for name in list(written) if name.startswith("midspan.")}
        for folder, content in (("User", written), ("Machine", machine)):
            new = self._data / folder / "settings.new"
            new.write_text(json.dumps(content))
            new.replace(self._data / folder / "settings.json")  # at once: half a file is one without settings

    def setting(self, name: str) -> Any:
        return self._settings.get(name)

    def open(self, text: str, row: int, column: int = 1, name: str = "") -> Path:
        """A new file, and the cursor at a row and column of it, both from 1."""
        path = self.folder / (name or f"sample{next(self._names)}.py")
        path.write_bytes(text.encode())
        self.wait(lambda: self.status, "the extension to be active")
        rows = "[...document.querySelectorAll('.quick-input-list .monaco-list-row')]"
        listed = f"{rows}.some(row => row.ariaLabel.includes({json.dumps(path.name)}))"
        for _ in range(10):  # asked too early, VS Code finds no file and does not look again
            self.press("Escape", "Escape", "ctrl+alt+4", "ctrl+p")
            self.wait(
                lambda: self.page.look("document.activeElement?.closest('.quick-input-widget') !== null"), "a box"
            )
            self.type(str(path))
            if self.wait(lambda: self.page.look(listed), "the file", patience=5.0, fail=False):
                break
        self.press("Enter")
        tab = f"document.querySelector('.tab.active')?.textContent?.includes({json.dumps(path.name)})"
        self.wait(lambda: self.page.look(tab), f"{path.name} to be open")
        self.wait(self._focused, "the editor to have the keys")
        self.go(row, column)
        return path

    def go(self, row: int, column: int = 1) -> None:
        """Put the cursor there."""
        self.press("ctrl+g")
        self.wait(lambda: not self._focused(), "a box")
        self.type(f"{row}:{column}")
        self.press("Enter")
        self.wait(self._focused, "the cursor to be there")

    def _focused(self) -> bool:
        return self.page.look("!!document.querySelector('.editor-instance .monaco-editor.focused')")

    def choose(self, *labels: str) -> None:
        """Click on the status item, then choose in one menu after the other."""
        self.press("ctrl+alt+4")
        rows = "[...document.querySelectorAll('.quick-input-list .monaco-list-row')].map(row => row.ariaLabel)"
        self.wait(
            lambda: (
                self.page.click(".statusbar [aria-label^='Midspan:']")
                and self.wait(lambda: self.page.look(rows), "the menu", patience=3.0, fail=False)
            ),
            "the menu",
        )
        for label in labels:
            self.wait(lambda label=label: any(label in row for row in self.page.look(rows)), label)
            self.type(label)
            self.wait(lambda label=label: label in (self.page.look(rows) or [""])[0], f"{label} to come first")
            self.press("Enter")
        self.press("ctrl+1")  # the keys to the editor again

    def act(self, action: str) -> None:
        """Choose one of the code actions for the selection."""
        entries = "[...document.querySelectorAll('.action-widget .monaco-list-row')].map(row => row.textContent)"
        focused = "document.querySelector('.action-widget .monaco-list-row.focused')?.textContent ?? ''"
        self.press("ctrl+.")
        self.wait(lambda: any(action in entry for entry in self.page.look(entries)), f"{action} in the menu")
        self.wait(lambda: self.page.look(focused), "the menu to have the keys")
        for _ in self.page.look(entries):
            if action in self.page.look(focused):
                break
            self.press("ArrowDown")
        self.press("Enter")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.press(key)

    def type(self, text: str, pause: float = 0.0) -> None:
        for character in text:
            self.page.press(character)
            time.sleep(pause)

    @property
    def screen(self) -> list[str]:
        """The lines in the editor as the user sees them, ghost text included."""
        return self.page.look(SCREEN)["lines"]

    @property
    def ghost(self) -> str:
        """The ghost text alone; empty: none is shown."""
        seen = self.page.look(SCREEN)
        return "\n".join(seen["ghost"]) if seen and any(seen["ghost"]) else ""

    @property
    def status(self) -> str:
        """What the status bar says about Midspan."""
        label = self.page.look("document.querySelector('.statusbar [aria-label^=\"Midspan:\"]')?.ariaLabel ?? ''")
        return label.removeprefix("Midspan: ")

    @property
    def messages(self) -> list[str]:
        """The notifications on the screen, but for those that only show progress."""
        return self.page.look(
            "[...document.querySelectorAll('.notifications-toasts .notification-list-item-message')]"
            ".map(message => message.textContent).filter(text => !text.startsWith('Midspan: rewriting'))"
        )

    def holds(self, path: Path, text: str) -> None:
        """Assert that the editor holds this text, by saving it."""

        def saved() -> str:
            self.press("ctrl+s")
            self.wait(lambda: path.read_bytes().decode() == text, "the text", patience=0.5, fail=False)
            return path.read_bytes().decode()

        self.wait(lambda: saved() == text, "the text to be saved", patience=10.0, fail=False)
        assert saved() == text

    def servers(self) -> list[int]:
        """The running servers' process ids."""
        import psutil  # noqa: PLC0415

        found = []
        for process in psutil.Process(self._process.pid).children(recursive=True):
            try:
                if "--stdio" in process.cmdline() and str(SERVER) in process.cmdline():
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found

    def ready(self) -> None:
        """Return once the server's model is loaded."""
        self.wait(lambda: re.match("ready|busy", self.status), "the model to be loaded")

    def wait(self, condition: Callable[[], T], what: str, patience: float = PATIENCE, fail: bool = True) -> T:
        end = time.monotonic() + patience
        while not (value := condition()) and time.monotonic() < end:
            time.sleep(0.05)
        if fail and not value:
            pytest.fail(f"waited {patience:.0f} s for {what}\n{self.describe()}")
        return value

    def describe(self) -> str:
        if not hasattr(self, "page"):
            return self.log.read_text()[-2000:]
        self.page.picture(self.folder.parent / "failed.png")
        parts = [f"status: {self.status}", f"messages: {self.messages}", f"picture: {self.folder.parent}/failed.png"]
        for file in (self._data / "logs").rglob("*Midspan.log"):
            parts.append(file.read_text()[-2000:])
        return "\n".join(parts)

    def suggestion(self, typed: Sequence[str], wanted: Callable[[str], Any] = bool) -> str:
        """Type these beginnings of a line in turn, each in place of the one before, until one gets ghost text.

        wanted: which ghost text will do. What a model fills, and where it prefers silence, is its own affair.
        """
        ghost = ""
        for text in typed:
            self.press("Escape", "ctrl+alt+9")
            asked = len(requests(self.recordings))
            self.type(text)
            for _ in range(8):  # a silence counts when no other request follows
                ghost = self.wait(lambda: self.ghost, "ghost text", patience=0.8, fail=False)
                if ghost or silent(self.recordings, asked):
                    break
            if ghost and wanted(ghost):
                return ghost
        pytest.fail(f"no ghost text anywhere\n{self.describe()}")
