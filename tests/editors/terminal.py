"""A program in a terminal of its own, and the server editors are given: keys go in, and what is drawn can be read.

The screen understands what crossterm and terminfo's `xterm` draw a full-screen program with; it keeps characters only,
no colours. Wide characters take two cells, as in real terminals.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import threading
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
SERVER = Path(os.environ.get("MIDSPAN_E2E_SERVER") or Path(sys.executable).with_name("midspan"))
PATIENCE = 60.0  # seconds; a first suggestion waits for torch and the model, perhaps on a busy machine
LIFETIME = 600.0  # seconds after which a program that hangs is killed

_TOKEN = re.compile(
    r"\x1b\[(?P<arguments>[0-9;:?<=>]*)[ -/]*(?P<final>[@-~])"
    r"|\x1b[\]P_^][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles, queries
    r"|\x1b[()][0-9A-Za-z]|\x1b[^\[\]P_^()]"
    r"|(?P<control>[\x00-\x1a\x1c-\x1f])"
    r"|(?P<text>[^\x00-\x1f]+)"
)
_TAIL = re.compile(r"\x1b[^\x1b]*\Z")


def server_settings() -> dict[str, str]:
    """The server's environment: every fill is shown, and speed is not tested here."""
    settings = {"MIDSPAN_DEADLINE": "60", "MIDSPAN_MIN_CONFIDENCE": "0"}
    if model := os.environ.get("MIDSPAN_E2E_MODEL"):
        settings["MIDSPAN_MODEL"] = model
    return settings


class Screen:
    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        self._cells = [[" "] * columns for _ in range(rows)]
        self._row = self._column = 0
        self._rest = ""
        self.asked = 0  # how often the program asked what terminal this is

    def feed(self, output: str) -> None:
        output, at = self._rest + output, 0
        while match := _TOKEN.match(output, at):
            at = match.end()
            if match["final"]:
                self._sequence(match["final"], match["arguments"])
            elif match["control"]:
                self._control(match["control"])
            elif match["text"]:
                for character in match["text"]:
                    self._put(character)
        self._rest = output[at:]
        if self._rest and not _TAIL.match(self._rest):
            raise ValueError(f"cannot read {self._rest[:40]!r}")

    def lines(self) -> list[str]:
        return ["".join(row).rstrip() for row in self._cells]

    def _put(self, character: str) -> None:
        if unicodedata.combining(character) or self._column >= self.columns:
            return
        self._cells[self._row][self._column] = character
        self._column += 1
        if unicodedata.east_asian_width(character) in "WF" and self._column < self.columns:
            self._cells[self._row][self._column] = ""
            self._column += 1

    def _control(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\b":
            self._column = max(0, self._column - 1)
        elif character == "\t":
            self._column = min(self.columns - 1, (self._column // 8 + 1) * 8)
        elif character == "\n":
            if self._row == self.rows - 1:
                self._cells = [*self._cells[1:], [" "] * self.columns]
            self._row = min(self.rows - 1, self._row + 1)

    def _sequence(self, final: str, arguments: str) -> None:
        if arguments[:1] in ("?", "<", "=", ">"):
            return
        numbers = [int(number) if number.isdigit() else 0 for number in arguments.split(";")]
        first = numbers[0]
        match final:
            case "H" | "f":
                self._row, self._column = max(1, first) - 1, max(1, numbers[1] if len(numbers) > 1 else 1) - 1
            case "A" | "B":
                self._row += max(1, first) * (-1 if final == "A" else 1)
            case "C" | "D":
                self._column += max(1, first) * (-1 if final == "D" else 1)
            case "G":
                self._column = max(1, first) - 1
            case "d":
                self._row = max(1, first) - 1
            case "K":
                start, end = {0: (self._column, self.columns), 1: (0, self._column + 1)}.get(first, (0, self.columns))
                self._cells[self._row][start:end] = [" "] * (end - start)
            case "J":
                if first != 1:
                    self._cells[self._row + 1 :] = [[" "] * self.columns for _ in range(self.rows - self._row - 1)]
                    self._sequence("K", "0")
                if first in (1, 2):
                    self._cells[: self._row] = [[" "] * self.columns for _ in range(self._row)]
                    self._sequence("K", "1")
            case "c":
                self.asked += 1
        self._row, self._column = min(max(0, self._row), self.rows - 1), min(max(0, self._column), self.columns)


class Terminal:
    """One program, started with `argv` and the environment `extra` over ours, in a terminal of its own."""

    def __init__(self, argv: Sequence[str | Path], extra: Mapping[str, str], cwd: Path, size: tuple[int, int]) -> None:
        rows, columns = size
        self._screen, self._lock = Screen(rows, columns), threading.Lock()
        environment = {**os.environ, "TERM": "xterm", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", **extra}
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(cwd)
                os.execve(argv[0], [str(argument) for argument in argv], environment)
            finally:
                os._exit(127)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._ended = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        self._watchdog = threading.Timer(LIFETIME, self.kill)
        self._watchdog.daemon = True
        self._watchdog.start()

    def _read(self) -> None:
        """A program whose output nobody takes stops."""
        decoder, answered = "", 0
        raw = b""
        while True:
            try:
                select.select([self._fd], [], [])
                piece = os.read(self._fd, 1 << 16)
            except OSError:  # it closed its side
                piece = b""
            if not piece:
                break
            raw += piece
            try:
                decoder, raw = raw.decode(), b""
            except UnicodeDecodeError as error:
                decoder, raw = raw[: error.start].decode(), raw[error.start :]
            with self._lock:
                self._screen.feed(decoder)
            if self._screen.asked > answered:
                answered = self._screen.asked
                self.keys("\x1b[?6c")  # a VT102; without an answer programs wait for seconds
        os.waitpid(self.pid, 0)
        self._watchdog.cancel()
        self._ended.set()

    def keys(self, keys: str) -> None:
        """As bytes of the terminal: Enter is \\r, Escape \\x1b, Tab \\t."""
        data = keys.encode()
        while data:
            data = data[os.write(self._fd, data) :]

    def screen(self) -> list[str]:
        with self._lock:
            return self._screen.lines()

    @property
    def running(self) -> bool:
        return not self._ended.is_set()

    def kill(self) -> None:
        if self.running:
            os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """End it, by force if it has not ended yet."""
        self.kill()
        self._ended.wait(10)
        os.close(self._fd)


def wait(condition: Callable[[], T], patience: float = PATIENCE) -> T:
    """The condition's value once it is true, or else at the end of the patience (seconds)."""
    end = time.monotonic() + patience
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return value
