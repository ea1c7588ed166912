"""The kernels in Triton's interpreter, in a process that asked for it before they were imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_kernels_equal_their_plain_torch_forms() -> None:
    pytest.importorskip("triton")
    command = [sys.executable, "-m", "pytest", str(HERE / "interpreted"), "-p", "no:cacheprovider", "--tb=short"]
    env = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
