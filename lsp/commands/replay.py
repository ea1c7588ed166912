"""`midspan replay FILE`: a recorded session run again without its editor, and its answers compared.

The messages go to a real server in their order; each request is waited for before the next message is sent. Requests
that were called off, superseded or cut short by time are left out: how they end depends on the clock. So are those
about excluded files, of which a recording has no text. The server takes its settings from the recording, but has all
the time it wants and no cache on disk.
"""

import os
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from ..wire.client import Client, DisconnectedError, ReplyError
from .recording import RecordingError, read

COMPARED = ("textDocument/inlineCompletion", "textDocument/completion")
TIMED = frozenset(
    {
        "cancelled",
        "deadline",
        "failed",
        "no time",
        "stale",
        "superseded",
        "the document was closed",
        "the model is still loading",
        "the text changed",
    }
)
ENVIRONMENT = {"MIDSPAN_DISK_CACHE": "false", "MIDSPAN_DEBOUNCE": "0", "MIDSPAN_DEADLINE": "60"}
LOADING = 600.0  # seconds
Key = tuple[str, int, tuple[int, int]]  # a document's URI and version, a position
SHOWN = 5  # differences printed


@dataclass
class Comparison:
    same: int = 0
    left_out: int = 0
    differences: list[str] = field(default_factory=list)


def replay(file: Path) -> int:
    """Print how the answers compare. Exit code: 0 all the same, 1 not all, 2 nothing to replay."""
    console, complaints = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False)
    try:
        header, records = read(file)
        comparison = _run(list(records))
    except (RecordingError, OSError, DisconnectedError, ReplyError) as error:
        complaints.print(f"midspan: {error}", markup=False)
        return 2
    for difference in comparison.differences[:SHOWN]:
        console.print(difference, markup=False)
    console.print(
        f"recorded by midspan {header.get('midspan')}: {comparison.same} answers the same, "
        f"{len(comparison.differences)} different, {comparison.left_out} requests not compared"
    )
    return 1 if comparison.differences else 0


def _run(records: list[tuple[float, str, Any]]) -> Comparison:
    replies = {what["id"]: what for _, kind, what in records if kind == "out" and _is_reply(what)}
    outcomes = _outcomes(records)
    comparison = Comparison()
    versions: dict[str, int] = {}
    with Client(configuration=_configuration(records), env=ENVIRONMENT, stderr=sys.stderr.fileno()) as server:
        for message in _messages(records):
            method, params = message["method"], message.get("params") or {}
            if "id" not in message:
                if method not in ("exit", "$/cancelRequest"):
                    _follow(versions, params)
                    server.notify(method, params)
            elif method == "initialize":
                server.request(method, {**params, "processId": os.getpid()})
            elif method in COMPARED:
                asked = params["textDocument"]["uri"], params["position"]
                version = versions.get(asked[0], 0)
                recorded = replies.get(message["id"])
                key = (asked[0], version, (asked[1]["line"], asked[1]["character"]))
                became = outcomes[key].popleft() if outcomes.get(key) else "failed"
                if recorded is None or "error" in recorded or became in TIMED:
                    comparison.left_out += 1
                    continue
                now = server.request(method, params, LOADING)
                if now == recorded["result"]:
                    comparison.same += 1
                else:
                    place = f"{asked[0]}:{asked[1]['line'] + 1}:{asked[1]['character'] + 1} version {version}"
                    comparison.differences.append(f"{place}\n  then {recorded['result']}\n  now  {now}")
            elif method != "shutdown":
                comparison.left_out += 1
        server.shut_down()
    return comparison


def _messages(records: list[tuple[float, str, Any]]) -> Iterator[dict[str, Any]]:
    """The editor's requests and notifications that can be sent again."""
    for _, kind, what in records:
        if kind == "in" and isinstance(what, dict) and isinstance(what.get("method"), str):
            params = what.get("params")
            if not (isinstance(params, dict) and params.get("excluded")):
                yield what


def _is_reply(message: Any) -> bool:
    return isinstance(message, dict) and "method" not in message and isinstance(message.get("id"), (int, str))


def _outcomes(records: list[tuple[float, str, Any]]) -> dict[Key, deque[str]]:
    """What became of the requests of each place, in order; what was cut short by its deadline counts as that."""
    outcomes: dict[Key, deque[str]] = {}
    for _, kind, what in records:
        if kind == "stage":
            line, character = what["position"]
            outcome = "deadline" if what.get("stop") == "deadline" else what["outcome"]
            outcomes.setdefault((what["uri"], what["version"], (line, character)), deque()).append(outcome)
    return outcomes


def _follow(versions: dict[str, int], params: Any) -> None:
    document = params.get("textDocument") if isinstance(params, dict) else None
    if isinstance(document, dict) and isinstance(document.get("version"), int):
        versions[document["uri"]] = document["version"]


def _configuration(records: list[tuple[float, str, Any]]) -> Any:
    """What the editor said last when it was asked for its settings."""
    asked = {
        what["id"]
        for _, kind, what in records
        if kind == "out" and isinstance(what, dict) and what.get("method") == "workspace/configuration"
    }
    answers = [
        what["result"]
        for _, kind, what in records
        if kind == "in" and _is_reply(what) and what["id"] in asked and isinstance(what.get("result"), list)
    ]
    return answers[-1][0] if answers and answers[-1] else None
