"""Why there was no suggestion, in words; and what the log tells the editor."""

import ast
import logging
import subprocess
import sys
from pathlib import Path

import midspan.lsp.why as why_module
import pytest
from midspan.lsp.complete import Outcome
from midspan.lsp.filters.postprocess import FILTERS
from midspan.lsp.why import KEPT, WORDS, History, words
from midspan.lsp.wire.logs import TOLD, ClientLog

FOLDER = Path(why_module.__file__).parent
CALLS = {"Outcome": 0, "call_off": 0, "cancel": 1, "cancel_idle": 0}
"""Who takes a reason, and in which place."""
NEVER_SEEN = {"not accepted", "a request came"}
"""Why work nobody waits for is given up."""


def reasons() -> set[str]:
    found = set()
    sources = ("complete.py", "session.py", "server.py", "worker.py", "cache/prefetch.py")
    for file in (FOLDER / name for name in sources):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                place = CALLS.get(name)
                if place is not None and len(node.args) > place and isinstance(node.args[place], ast.Constant):
                    found.add(node.args[place].value)
    return {reason for reason in found if isinstance(reason, str)}


def test_every_reason_has_words() -> None:
    known = reasons()
    assert {"off", "excluded", "superseded", "the text changed"} <= known
    assert known - NEVER_SEEN <= WORDS.keys()


@pytest.mark.parametrize("name", [step.__name__ for step in FILTERS])
def test_every_filter_has_words(name: str) -> None:
    assert words(name).endswith(".") and "_" not in words(name)


def test_the_history_is_bounded_and_tells_the_youngest_first() -> None:
    history = History()
    for version in range(2 * KEPT):
        history.add("file:///a" if version % 2 else "file:///b", version, (0, 0), False, Outcome("off"), 0.1)
    assert [event["version"] for event in history.last(2)] == [2 * KEPT - 1, 2 * KEPT - 2]
    assert {event["uri"] for event in history.last(KEPT, "file:///a")} == {"file:///a"}
    assert len(history.last(10 * KEPT)) == KEPT


def midspan_why(place: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "midspan.lsp", "why", place]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_says_why(tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    file.write_text("# a comment\nx = 1\n")
    result = midspan_why(f"{file}:1:5")
    assert result.returncode == 1
    assert "no span here. Nothing can sensibly be filled in here" in result.stdout
    assert midspan_why(f"{file}:9").returncode == 2
    secret = tmp_path / ".env"
    secret.write_text("KEY=\n")
    assert "excluded. The file looks like a secret" in midspan_why(f"{secret}:1").stdout


def test_the_log_quotes_nothing() -> None:
    told: list[tuple[str, str]] = []
    handler = ClientLog(lambda kind, message: told.append((kind, message)))
    log = logging.getLogger("midspan.lsp.test_why")
    log.addHandler(handler)
    try:
        try:
            raise ValueError("the user's text")
        except ValueError:
            log.exception("a request failed")
        log.warning("told already", extra=TOLD)
        log.warning("once")
        log.info("too little")
        handler.verbose(True)
        log.info("enough")
    finally:
        log.removeHandler(handler)
    assert told == [("error", "a request failed (ValueError)"), ("warning", "once"), ("info", "enough")]
