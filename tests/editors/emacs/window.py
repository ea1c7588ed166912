"""A real Emacs in a terminal, with a real server in it. Knows nothing of models but that one is there.

Keys go in through the terminal; what the buffer holds and what is shown is asked through emacsclient.
"""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from ..terminal import PATIENCE, ROOT, Terminal, server_settings, wait

T = TypeVar("T")

EMACS = ROOT / ".cache" / "bin" / "emacs"
EMACSCLIENT = ROOT / ".cache" / "bin" / "emacsclient"
SIZE = 40, 100  # rows and columns

# No native compiler was fetched. Keys put in what they say, and nothing is asked when Emacs starts or ends.
INIT = """
(setq native-comp-enable-subr-trampolines nil native-comp-jit-compilation nil)
(setq inhibit-startup-screen t make-backup-files nil auto-save-default nil create-lockfiles nil)
(setq confirm-kill-processes nil ring-bell-function #'ignore python-indent-guess-indent-offset nil)
(electric-indent-mode -1)
(setq-default indent-tabs-mode nil)
(require 'server)
(setq server-socket-dir {folder} server-name "emacs")
"""


@dataclass(frozen=True)
class Place:
    """The buffer and where point is in it, as an offset."""

    text: str
    point: int

    def holds(self, new: str) -> bool:
        """Whether `new` is this text with something at point."""
        return new != self.text and new.startswith(self.text[: self.point]) and new.endswith(self.text[self.point :])


class Emacs:
    """One Emacs in a folder that gets all it writes. `init` is Lisp."""

    def __init__(self, folder: Path, init: str) -> None:
        self.folder = folder
        self._answers = count(1)
        self._socket = folder / "socket" / "emacs"
        self._socket.parent.mkdir(mode=0o700)  # of one that others can read Emacs makes no use
        (folder / "init.el").write_text(
            INIT.format(folder=json.dumps(str(self._socket.parent))) + init + "\n(server-start)\n", encoding="utf-8"
        )
        extra = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config"), **server_settings()}
        argv = [EMACS, "-nw", "-Q", "-l", folder / "init.el"]
        self.terminal = Terminal(argv, extra, folder, SIZE)
        self.wait(self._socket.exists, "Emacs to start")

    # -- keys

    def open(self, name: str, text: str, point: int) -> None:
        """A new file, with point at an offset of its text."""
        path = self.folder / name
        path.write_bytes(text.encode())
        self.terminal.keys(f"\x18\x06\x01\x0b{path}\r")  # C-x C-f C-a C-k
        self.wait(lambda: self.eval("(buffer-file-name)") == str(path), f"{name} to open")
        self.go(point)

    def go(self, point: int) -> None:
        self.terminal.keys(f"\x1bgc{point + 1}\r")  # M-g c
        self.wait(lambda: self.place().point == point, "point to move")

    def type(self, text: str) -> None:
        """At once; return when it stands in the buffer."""
        before = self.place()
        wanted = before.text[: before.point] + text + before.text[before.point :]
        self.terminal.keys(text)
        self.wait(lambda: self.place().text == wanted, f"{text!r} to stand in the buffer")

    def saved(self, name: str) -> str:
        """The buffer, through the file it is written to."""
        path = self.folder / name
        path.unlink()
        self.terminal.keys("\x18\x13")  # C-x C-s
        self.wait(lambda: path.exists() and not self.eval("(buffer-modified-p)"), "the file to be written")
        return path.read_bytes().decode()

    # -- what is seen

    def eval(self, lisp: str) -> Any:
        """The value of Lisp in the window's buffer: nil, t, numbers, strings, or a plist or vector of them."""
        answer = self.folder / f"answer{next(self._answers)}"
        quoted = json.dumps(str(answer))
        wrapped = f"""(with-current-buffer (window-buffer (selected-window))
          (let ((value {lisp}) (coding-system-for-write 'utf-8-unix) (write-region-inhibit-fsync t))
            (write-region (json-serialize (vector value) :null-object nil :false-object :false) nil {quoted} nil 0)))"""
        argv = [EMACSCLIENT, "-s", self._socket, "--eval", wrapped]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert answer.exists(), done.stdout + done.stderr + "\n".join(self.terminal.screen())
        value = json.loads(answer.read_text(encoding="utf-8"))[0]
        answer.unlink()
        return value

    def messages(self) -> str:
        """What Emacs has said, in ASCII: some of it is bytes."""
        messages = '(with-current-buffer "*Messages*" (buffer-substring-no-properties 1 (point-max)))'
        return self.eval(f'(replace-regexp-in-string "[^[:ascii:]]" "?" {messages})')

    def place(self) -> Place:
        value = self.eval("(list :text (buffer-substring-no-properties 1 (point-max)) :point (1- (point)))")
        return Place(value["text"], value["point"])

    def ghost(self) -> str | None:
        """lsp-mode's ghost text: the whole buffer as the user sees it, with the ghost text made real."""
        return self.eval(
            """(let ((ghost (bound-and-true-p lsp-inline-completion--overlay)))
              (when (overlayp ghost)
                (concat (buffer-substring-no-properties 1 (overlay-start ghost))
                        (substring-no-properties (overlay-get ghost 'display))
                        (substring-no-properties (overlay-get ghost 'after-string))
                        (buffer-substring-no-properties (overlay-end ghost) (point-max)))))"""
        )

    def servers(self) -> list[psutil.Process]:
        """The Midspans this Emacs has started."""
        children = psutil.Process(self.terminal.pid).children(recursive=True)
        return [child for child in children if "--stdio" in child.cmdline()]

    def close(self) -> None:
        self.terminal.close()

    def wait(self, condition: Callable[[], T], what: str) -> T:
        value = wait(condition)
        if not value:
            messages = self.messages() if self._socket.exists() else ""
            pytest.fail(f"waited {PATIENCE:.0f} s for {what}\n" + "\n".join(self.terminal.screen()) + f"\n{messages}")
        return value
