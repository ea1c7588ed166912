"""The `midspan` command."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

CODE = """\
def clamp(value, low, high):
    if value < low:
        return low
    if value > high:
        return
    return value
"""


def midspan(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "midspan.lsp", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_version() -> None:
    assert midspan("--version").stdout == f"midspan {metadata.version('midspan')}\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "nothing to do"),
        (("fill", "a.py"), "is not FILE:LINE"),
        (("fill", "a.py:0"), "is not FILE:LINE"),
        (("fill", "a.py:1:0"), "is not FILE:LINE"),
        (("fill", "a.py:1", "--model", "no-such-directory"), "is not a directory"),
        (("fill", "no-such-file.py:1"), "cannot read no-such-file.py"),
        (("fill", "DIRECTORY:1"), "cannot read"),
        (("fill", "DIRECTORY/code.py:8"), "has 7 lines, not 8"),
        (("fill", "DIRECTORY/latin.py:1"), "cannot read"),
    ],
)
def test_a_wrong_command_line_is_one_clear_sentence(tmp_path: Path, arguments: tuple[str, ...], complaint: str) -> None:
    (tmp_path / "code.py").write_text(CODE)
    (tmp_path / "latin.py").write_bytes(b"x = '\xe9'\n")
    result = midspan(*(argument.replace("DIRECTORY", str(tmp_path)) for argument in arguments))
    assert result.returncode == 2
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr


def test_fill_prints_the_gap_in_its_place_or_says_why_not(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(CODE)
    result = midspan("fill", f"{tmp_path / 'code.py'}:5")
    if result.returncode == 0:
        assert "    if value > high:\n        return⟦" in result.stdout
        assert "⟧\n    return value\n" in result.stdout
        assert "midspan-mini: " in result.stdout
    else:
        assert result.returncode == 1
        assert result.stderr.startswith("midspan: nothing was filled: ")


def test_a_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    result = midspan("demo", "--model", str(tmp_path))
    assert result.returncode == 1
    assert "config.json" in result.stderr
