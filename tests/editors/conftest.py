"""A real Neovim with a real server in it, driven over its own RPC. Knows nothing of models but that one is there.

`.ci/fetch-neovim` puts Neovim behind `.cache/bin/nvim`; without it these tests are skipped.
MIDSPAN_E2E_MODEL names a checkpoint directory to use in place of the bundled one, MIDSPAN_E2E_SERVER a `midspan` in
place of the one that is installed here.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest

ROOT = Path(__file__).parents[2]
NVIM = ROOT / ".cache" / "bin" / "nvim"
PLUGIN = ROOT / "editors" / "nvim"
SERVER = Path(os.environ.get("MIDSPAN_E2E_SERVER") or Path(sys.executable).with_name("midspan"))
PATIENCE = 60.0  # seconds; a first suggestion waits for torch and the model, perhaps on a busy machine
LIFETIME = 600.0  # seconds after which a Neovim that hangs is killed

T = TypeVar("T")

# How often the server was asked; what Neovim hands over when something is accepted, and the line it will change.
RECORDER = """
_G.asked = 0
vim.api.nvim_create_autocmd('LspRequest', { callback = function(event)
  local request = event.data.request
  if request.type == 'pending' and request.method == 'textDocument/inlineCompletion' then
    _G.asked = _G.asked + 1
  end
end })
local get = vim.lsp.inline_completion.get
vim.lsp.inline_completion.get = function(opts)
  local on_accept = opts.on_accept
  opts.on_accept = function(item)
    local _, column = item.range:to_extmark()
    _G.accepted = { text = item.insert_text, column = column, line = vim.api.nvim_get_current_line() }
    return on_accept(item)
  end
  return get(opts)
end
"""

# What is typed is what stands there.
PLAIN_TYPING = """
vim.api.nvim_create_autocmd('FileType', { callback = function(event)
  vim.bo[event.buf].indentexpr, vim.bo[event.buf].autoindent, vim.bo[event.buf].expandtab = '', false, false
end })
"""


@dataclass(frozen=True)
class Ghost:
    """Ghost text as the extmark has it. Column in bytes; `inline` pushes the rest of the line, overlay hides it."""

    row: int
    column: int
    text: str
    inline: bool

    def applied(self, lines: list[str]) -> list[str]:
        """The buffer as the user sees it, with the ghost text made real. An overlay reaches to the line's end."""
        line = lines[self.row].encode()
        rest = line[self.column :].decode() if self.inline else ""
        new = (line[: self.column].decode() + self.text + rest).split("\n")
        return lines[: self.row] + new + lines[self.row + 1 :]


class Neovim:
    """One headless Neovim. `init` is its init.lua; the folder gets all it writes."""

    def __init__(self, folder: Path, init: str) -> None:
        import pynvim  # noqa: PLC0415

        self.folder = folder
        (folder / "init.lua").write_text(init)
        for name in ("CONFIG", "DATA", "STATE", "CACHE"):
            os.environ[f"XDG_{name}_HOME"] = str(folder / name.lower())
        argv = [str(NVIM), "--embed", "--headless", "-n", "-u", str(folder / "init.lua")]
        self.rpc = pynvim.attach("child", argv=argv)
        self.pid: int = self.rpc.funcs.getpid()
        self._names = count(1)
        self._watchdog = threading.Timer(LIFETIME, os.kill, (self.pid, signal.SIGKILL))
        self._watchdog.daemon = True
        self._watchdog.start()

    def close(self) -> None:
        self._watchdog.cancel()
        try:
            self.rpc.command("qall!", async_=True)
            self.rpc.close()
        finally:
            # Its parent, this process, reaps it in a thread of asyncio's.
            self.wait(lambda: not Path(f"/proc/{self.pid}").exists(), "Neovim to end", patience=10.0, fail=False)

    def open(self, text: str, name: str = "") -> Path:
        """A new file in place of the present buffer, in insert mode's absence, cursor at its start."""
        path = self.folder / (name or f"sample{next(self._names)}.py")
        path.write_bytes(text.encode())
        self.keys("<Esc>")
        self.rpc.command("silent %bwipeout!")
        self.rpc.command(f"edit {path}")
        return path

    def keys(self, keys: str, pause: float = 0.0) -> None:
        """Keys as in a mapping. With a pause (seconds) each character is one keystroke."""
        for key in keys if pause else [keys]:
            self.rpc.input("<lt>" if pause and key == "<" else key)
            time.sleep(pause)

    def settle(self) -> None:
        """Return when every key sent so far has been worked off: keys go a slower way into Neovim than calls do."""
        number = next(self._names)
        self.lua(f"vim.keymap.set({{ 'n', 'i', 'v' }}, '<F12>', function() _G.settled = {number} end)")
        self.keys("<F12>")
        self.wait(lambda: self.lua("return _G.settled") == number, "the keys to be worked off")

    def lua(self, code: str, *arguments: Any) -> Any:
        return self.rpc.exec_lua(code, *arguments)

    @property
    def lines(self) -> list[str]:
        return list(self.rpc.current.buffer[:])

    @property
    def line(self) -> str:
        return self.rpc.current.line

    @property
    def cursor(self) -> tuple[int, int]:
        """Row from 1, column in bytes from 0."""
        row, column = self.rpc.current.window.cursor
        return row, column

    def ghost(self) -> Ghost | None:
        """What is shown at this moment, if it is anything."""
        space = self.rpc.api.create_namespace("nvim.lsp.inline_completion")
        for _, row, column, details in self.rpc.api.buf_get_extmarks(0, space, 0, -1, {"details": True}):
            first = "".join(chunk[0] for chunk in details.get("virt_text", []))
            others = ["".join(chunk[0] for chunk in line) for line in details.get("virt_lines", [])]
            if first or others:
                return Ghost(row, column, "\n".join([first, *others]), details.get("virt_text_pos") == "inline")
        return None

    def wait(self, condition: Callable[[], T], what: str, patience: float = PATIENCE, fail: bool = True) -> T:
        end = time.monotonic() + patience
        while not (value := condition()) and time.monotonic() < end:
            time.sleep(0.02)
        if fail and not value:
            pytest.fail(f"waited {patience:.0f} s for {what}\n{self.status()}\n{self.messages()}")
        return value

    def status(self) -> str:
        return self.rpc.command_output("Midspan status") if self.rpc.funcs.exists(":Midspan") else ""

    def messages(self) -> str:
        return self.rpc.command_output("messages")

    def servers(self) -> list[int]:
        """The running servers' process ids."""
        psutil = pytest.importorskip("psutil")
        found = []
        for process in psutil.Process(self.pid).children():
            try:
                if "--stdio" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found

    def ready(self) -> None:
        """Return once the server's model is loaded."""
        self.wait(lambda: "; ready" in self.status(), "the model to be loaded")

    def suggestion(self, *typed: str, first: str = "", after: str = "", wanted: Callable[[Ghost], Any] = bool) -> Ghost:
        """Type these beginnings of a line in turn, each in place of the one before, until one gets ghost text.

        first: the one to begin with. after: what stands right of the cursor. wanted: which ghost text will do. What a
        model fills, and where it prefers silence, is its own affair.
        """
        reasons: list[str] = []
        for text in (first, *typed) if first else typed:
            self.keys("<Esc>0C" + after.replace("<", "<lt>") + "<Left>" * len(after))
            self.settle()
            asked = self.lua("return _G.asked")
            self.keys(text.replace("<", "<lt>"))
            self.settle()
            assert self.line == text + after
            self.wait(lambda asked=asked: self.ghost() or self._answered(asked), "an answer")
            ghost = self.wait(self.ghost, "ghost text", patience=0.2, fail=False)
            if ghost and wanted(ghost):
                return ghost
            reasons.append(f"{text}║{after}: {ghost or self.status().splitlines()[-1]}")
        pytest.fail("no ghost text anywhere:\n" + "\n".join(reasons))

    def _answered(self, asked: int) -> bool:
        """Whether more than `asked` requests were made and none is open."""
        return self.lua(
            """if _G.asked <= ... then return false end
            for _, client in ipairs(vim.lsp.get_clients()) do
              for _, request in pairs(client.requests) do
                if request.method == 'textDocument/inlineCompletion' then return false end
              end
            end
            return true""",
            asked,
        )

    def accepted(self) -> dict[str, Any] | None:
        """What was handed over for the acceptance since the last call."""
        return self.lua("local accepted = _G.accepted; _G.accepted = nil; return accepted")


def server_options(server: Path) -> str:
    """The server's command and settings, as Lua. The deadline is generous and every fill is shown: neither speed
    nor taste is tested here."""
    model = os.environ.get("MIDSPAN_E2E_MODEL")
    settings = {"deadline": 20, "minConfidence": 0, **({"model": model} if model else {})}
    lua = ", ".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())
    return f"cmd = {{ {json.dumps(str(server))}, '--stdio' }}, settings = {{ {lua} }}"


def plugin_init(server: Path = SERVER) -> str:
    """An init.lua with the plugin set up."""
    return (
        f"vim.opt.runtimepath:prepend({json.dumps(str(PLUGIN))})\n"
        f"{RECORDER}{PLAIN_TYPING}"
        f"require('midspan').setup({{ filetypes = {{ 'python', 'text' }}, {server_options(server)} }})\n"
    )


@pytest.fixture(scope="session")
def set_up() -> Callable[[Path], str]:
    """An init.lua with the plugin set up, for a server's command."""
    return plugin_init


@pytest.fixture(scope="session")
def server() -> Path:
    """The installed `midspan` command."""
    return SERVER


@pytest.fixture(scope="session")
def recorder() -> str:
    """Lua to append to an init.lua, without which `_G.asked` and `Neovim.accepted` do not work."""
    return RECORDER


@pytest.fixture(scope="session")
def plain_typing() -> str:
    """Lua to append to an init.lua, so that no indentation is made up."""
    return PLAIN_TYPING


@pytest.fixture(scope="module")
def start_neovim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Neovim]]:
    """Start a Neovim with an init.lua; it ends with the module."""
    pytest.importorskip("pynvim")
    if not NVIM.exists():
        pytest.skip(f"no Neovim: run .ci/fetch-neovim to put one behind {NVIM.relative_to(ROOT)}")
    started: list[Neovim] = []
    environment = dict(os.environ)

    def start(init: str) -> Neovim:
        started.append(Neovim(tmp_path_factory.mktemp("neovim"), init))
        return started[-1]

    try:
        yield start
    finally:
        for neovim in started:
            neovim.close()
        os.environ.clear()
        os.environ.update(environment)


@pytest.fixture(scope="module")
def editor(start_neovim: Callable[[str], Neovim]) -> Neovim:
    """One Neovim with the plugin set up, for all tests of a module: loading a model takes seconds."""
    return start_neovim(plugin_init())
