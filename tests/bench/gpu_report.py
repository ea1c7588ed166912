"""What `gpu.py` has measured so far: on disk after every arm, taken up again by the next call.

An arm may fail, hang, or break the device for all that come behind it. It is then said what happened, and the rest is
measured. Knows nothing of what is measured.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

ATTEMPTS = 2  # per arm, over all calls
GRACE = 45  # seconds that an arm may ignore its alarm, hung in the device, before the process is ended


class OutOfTimeError(Exception):
    """An arm took longer than it may."""


class Report:
    """Arms by name. What is known of one is never measured again, but for `redo`."""

    def __init__(self, path: Path, seconds: float, copies: tuple[Path, ...] = (), redo: tuple[str, ...] = ()) -> None:
        """path: where it is kept from call to call; copies: where else it is written."""
        self.began, self.seconds, self._paths = time.monotonic(), seconds, (path, *copies)
        self.found: dict[str, Any] = {}
        self.failed: dict[str, str] = {}
        self._attempts: dict[str, int] = {}
        if path.exists():
            known = json.loads(path.read_text())
            self.found, self.failed, self._attempts = (known[name] for name in ("found", "failed", "attempts"))
        for name in [each for each in (*self.found, *self.failed) if any(part in each for part in redo)]:
            self.found.pop(name, None)
            self.failed.pop(name, None)
            self._attempts.pop(name, None)

    @property
    def left(self) -> float:
        return self.seconds - (time.monotonic() - self.began)

    def missing(self, name: str) -> bool:
        return name not in self.found and self._attempts.get(name, 0) < ATTEMPTS

    def arm(self, name: str, call: Callable[[], Any], limit: int) -> None:
        """Measures, where that is missing and there is time for it. limit: seconds; an arm that would begin with less
        than a third of that left is kept for the next call."""
        if not self.missing(name):
            return
        if self.left < max(5, limit / 3):
            self.failed.setdefault(name, "no time was left")
            return
        limit = min(limit, int(self.left))
        print(f"[{time.monotonic() - self.began:5.0f} s] {name} (at most {limit} s)", flush=True)
        self._attempts[name] = self._attempts.get(name, 0) + 1
        self.failed[name] = "the process ended within"
        self.save()  # before: a device that hangs takes the process with it
        began = time.monotonic()
        try:
            with alarm(limit):
                value = call()
                wait()
        except Exception as error:
            traceback.print_exc()
            words = str(error).splitlines()
            self.failed[name] = f"{type(error).__name__}: {words[0][:300] if words else ''}"
        else:
            del self.failed[name]
            self.found[name] = value
            print(json.dumps(value, indent=1), flush=True)
        print(f"  took {time.monotonic() - began:.1f} s", flush=True)
        self.save()
        if not alive():
            self.again("the device answers no more")

    def again(self, why: str) -> None:
        """Goes on in a new process, which alone can have a new context on the device. What is left is measured there,
        what failed now at its next attempt."""
        print(f"{why}: starting again", flush=True)
        arguments = [each for each in sys.argv if not each.startswith("--seconds=")]
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *arguments, f"--seconds={max(0, int(self.left))}"])

    def save(self) -> None:
        text = json.dumps({"found": self.found, "failed": self.failed, "attempts": self._attempts}, indent=1) + "\n"
        for path in self._paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_text(text)
            part.replace(path)


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def alive() -> bool:
    """Whether the device still does anything: after an illegal access none of a process' calls succeeds."""
    if not torch.cuda.is_available():
        return True
    try:
        torch.cuda.synchronize()
        return int(torch.ones(1, device="cuda").sum()) == 1
    except Exception:
        return False


@contextmanager
def alarm(seconds: int) -> Iterator[None]:
    """OutOfTimeError in Python after `seconds`; the end of the process where Python never gets to hear of it."""

    def ring(*_: object) -> None:
        raise OutOfTimeError(f"given up after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    faulthandler.dump_traceback_later(seconds + GRACE, exit=True)
    try:
        yield
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
