"""The GPU benchmark's book-keeping: arms fail alone, nothing measured is lost, a later call goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[1] / "bench"
sys.path.insert(0, str(BENCH))
gpu_report = import_module("gpu_report")
ATTEMPTS, Report = gpu_report.ATTEMPTS, gpu_report.Report


def fail() -> Any:
    raise ValueError("no such tile\nand more")


def test_arms_fail_alone_and_what_was_measured_stays(tmp_path: Path) -> None:
    state, copy = tmp_path / "kept" / "state.json", tmp_path / "out" / "state.json"
    report = Report(state, 60, (copy,))
    report.arm("one", lambda: {"ms": 1}, 5)
    report.arm("two", fail, 5)
    report.arm("three", lambda: {"ms": 3}, 5)
    assert report.found == {"one": {"ms": 1}, "three": {"ms": 3}} and report.failed == {
        "two": "ValueError: no such tile"
    }
    assert json.loads(state.read_text()) == json.loads(copy.read_text())

    later = Report(state, 60)
    later.arm("one", fail, 5)
    later.arm("two", lambda: {"ms": 2}, 5)
    assert later.found["one"] == {"ms": 1} and later.found["two"] == {"ms": 2} and not later.failed
    again = Report(state, 60, redo=("thr",))
    assert again.missing("three") and not again.missing("one")


def test_an_arm_that_always_fails_is_not_tried_for_ever(tmp_path: Path) -> None:
    calls = []
    for _ in range(ATTEMPTS + 2):
        Report(tmp_path / "state.json", 60).arm("one", lambda: calls.append(1) or fail(), 5)
    assert len(calls) == ATTEMPTS


def test_an_arm_is_given_up_when_its_time_is_over_and_left_for_later_when_there_is_none(tmp_path: Path) -> None:
    report = Report(tmp_path / "state.json", 60)
    report.arm("slow", lambda: time.sleep(30), 1)
    assert report.failed == {"slow": "OutOfTimeError: given up after 1 s"}
    late = Report(tmp_path / "other.json", 20)
    late.arm("long", fail, 100)
    assert late.failed == {"long": "no time was left"} and late.missing("long")


def test_a_process_that_ends_within_an_arm_has_said_so_before(tmp_path: Path) -> None:
    """A device that hangs takes the process with it; the next call sees which arm it was."""
    program = (
        f"import sys; sys.path.insert(0, {str(BENCH)!r}); import gpu_report as g, os, time; from pathlib import Path\n"
        f"g.GRACE = 0; r = g.Report(Path({str(tmp_path / 'state.json')!r}), 60)\n"
        "import signal; signal.alarm = lambda n: 0\n"  # Python never gets to hear of it
        "r.arm('one', lambda: 1, 5); r.arm('hangs', lambda: time.sleep(30), 1)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode != 0 and "Timeout" in done.stderr
    report = Report(tmp_path / "state.json", 60)
    assert report.found == {"one": 1} and "hangs" in report.failed and report.missing("hangs")


def test_a_device_that_answers_no_more_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[list[str]] = []
    monkeypatch.setattr(gpu_report, "alive", lambda: False)
    monkeypatch.setattr(os, "execv", lambda path, arguments: begun.append(arguments))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--seconds=500", "--tune=9"])
    Report(tmp_path / "state.json", 100).arm("breaks", fail, 5)
    assert begun[0][1:3] == ["gpu.py", "--tune=9"] and begun[0][3] in ("--seconds=99", "--seconds=100", "--seconds=98")


def test_without_a_gpu_the_floors_are_said_and_nothing_fails() -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(BENCH / "gpu.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["device"] is None
    # Of `reference` sizes: 25.25 billion weights in bfloat16, the embedding twice.
    whole = found["floors"]["experts bf16, rest bf16"]["GB"]
    assert 2 * (25.25 + 0.738) <= whole <= 2 * (25.25 + 0.738) + 0.4
