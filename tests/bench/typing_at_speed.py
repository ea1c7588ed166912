"""Somebody types at speed: dropped replies, stale text, wasted work, and CPU seconds per accepted character.

A typist looks at a line for half a second and writes it anew, one key each 50 or 150 ms, and every key is a change
followed by an automatic request, as VS Code sends them. Keys never wait for answers. Whoever sees ghost text that
begins as the line to be written goes on accepts it word by word, as far as it is right. Checked on the way: every
request gets exactly one reply; a reply that shows text is about the document's newest version, and accepting it
changes nothing but the rest of the cursor's line; and how long the editor waits, which writes its messages into a pipe
that somebody has to read.
"""

from __future__ import annotations

import json
import queue
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

import psutil
from midspan.lsp.documents import Change, Document
from midspan.lsp.wire.client import AUTOMATIC, Client, DisconnectedError
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results" / "typing.json"
ROOT = Path(__file__).parents[2]
PACES = (0.05, 0.15)  # seconds per key
LOOK = 0.5  # seconds somebody looks at a line before writing it
CODE = re.compile(r"\s+[a-z_.]+[^\"#]*[=(][^\"#]{8,60}$")  # lines that are neither prose nor long
WORD = re.compile(r"\s*(?:\w+|[^\w\s]+)")
WAITED = 0.01  # seconds a write may block before it counts as one the editor had to wait for
IN_THE_PIPE = 0.05  # seconds an answer may cross with the key that makes it stale
CALLED_OFF = frozenset({"superseded", "the text changed", "cancelled", "stale", "deadline"})


@dataclass
class Tally:
    keys: int = 0
    late_keys: int = 0  # sent more than 10 ms late: the bench, not the server, fell behind
    requests: int = 0
    replies: int = 0
    stale: int = 0  # shown text that is not about the present document
    wrong: int = 0  # shown text whose acceptance would touch something else
    accepted: int = 0  # characters
    outcomes: Counter[str] = field(default_factory=Counter)
    origins: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    worked: float = 0.0  # seconds of the engine thread for answers
    wasted: float = 0.0  # and for requests that were called off
    shown_seconds: list[float] = field(default_factory=list)


class Listener(Client):
    """A client that can wait for a moment rather than for a message, and knows how long its writes took."""

    longest_write, waits = 0.0, 0

    def send_bytes(self, data: bytes) -> None:
        begun = time.monotonic()
        super().send_bytes(data)
        seconds = time.monotonic() - begun
        self.longest_write = max(self.longest_write, seconds)
        self.waits += seconds > WAITED

    def listen(self, until: float) -> dict[Any, float]:
        """Take messages until then; when each reply came."""
        came = {}
        while (left := until - time.monotonic()) > 0:
            try:
                message = self._inbox.get(timeout=left)
            except queue.Empty:
                break
            if message is None:
                raise DisconnectedError("the server ended")
            if "method" not in message:
                came[message["id"]] = time.monotonic()
            self._take(message)
        return came


class Typist:
    """One document being written, and the requests under way."""

    def __init__(self, client: Listener, uri: str, text: str, pace: float) -> None:
        self.client, self.uri, self.pace = client, uri, pace
        self.document = Document(uri, "python", 1, text, "utf-32")
        client.open(uri, "python", text)
        self.tally = Tally()
        self.edited = 0.0  # when the document changed last
        self.asked: dict[int, tuple[int, str, int]] = {}  # version, text, offset
        self.ghost: tuple[int, dict[str, Any]] | None = None  # version and item

    def write(self, number: int, line: str, until: float) -> None:
        """Empty a line and type it anew."""
        indent = len(line) - len(line.lstrip())
        self._edit(number, indent, len(line), "")
        self._ask(number, indent)
        self._listen(time.monotonic() + LOOK)
        column, due = indent, time.monotonic()
        while column < len(line) and time.monotonic() < until:
            due += self.pace
            self._listen(due)
            taken = self._take(number, column, line)
            if not taken:
                self._edit(number, column, column, line[column])
                self.tally.keys += 1
                taken = 1
            column += taken
            self._ask(number, column)
            if time.monotonic() - due > 0.01:
                self.tally.late_keys += 1
                due = time.monotonic()
        self._listen(time.monotonic() + 2 * self.pace)

    def _ask(self, line: int, column: int) -> None:
        request = self.client.begin_completion(self.uri, line, column, AUTOMATIC)
        self.asked[request] = (self.document.version, self.document.text, self.document.offset((line, column)))
        self.tally.requests += 1

    def finish(self) -> None:
        deadline = time.monotonic() + 10
        while self.asked and time.monotonic() < deadline:
            self._listen(time.monotonic() + 0.1)

    def _take(self, number: int, column: int, line: str) -> int:
        """Accept the ghost text if it begins as the line goes on; how many characters that gave."""
        if self.ghost is None or self.ghost[0] != self.document.version:
            return 0
        item, self.ghost = self.ghost[1], None
        if item["range"]["start"]["character"] != column:
            return 0
        taken = 0
        for word in WORD.finditer(item["insertText"]):
            if not line.startswith(word[0], column + taken):
                break
            taken += len(word[0])
        if taken < 3:
            return 0
        self._edit(number, column, column, line[column : column + taken])
        self.tally.accepted += taken
        return taken

    def _edit(self, line: int, start: int, end: int, text: str) -> None:
        version = self.document.version + 1
        self.document.apply(version, [Change(text, (line, start), (line, end))])
        place = {"start": {"line": line, "character": start}, "end": {"line": line, "character": end}}
        self.client.change(self.uri, version, {"range": place, "text": text})
        self.edited = time.monotonic()

    def _listen(self, until: float) -> None:
        """Take what the server says, until then."""
        for request, came in self.client.listen(until).items():
            self._judge(request, self.client.replies.pop(request), came)
        kept = []
        for message in self.client.notifications:
            if message["method"] == "midspan/trace":
                self._account(message["params"])
            else:
                kept.append(message)
        self.client.notifications[:] = kept

    def _account(self, trace: dict[str, Any]) -> None:
        self.tally.outcomes[trace["outcome"]] += 1
        self.tally.seconds.append(trace["seconds"])
        if not trace["origin"]:
            self.tally.wasted += trace["timings"].get("wasted", 0.0)
            self.tally.worked += sum(trace["timings"].get(stage, 0.0) for stage in ("span", "engine", "check"))
        if trace["outcome"] == "shown":
            self.tally.origins[trace["origin"] or "computed"] += 1
            self.tally.shown_seconds.append(trace["seconds"])

    def _judge(self, request: int, reply: dict[str, Any], came: float) -> None:
        version, text, offset = self.asked.pop(request)
        self.tally.replies += 1
        items = (reply.get("result") or {}).get("items", [])
        if not items:
            return
        if version != self.document.version and came - self.edited > IN_THE_PIPE:
            self.tally.stale += 1
        before = Document(self.uri, "python", version, text, "utf-32")
        start, end = (
            before.offset((place["line"], place["character"]))
            for place in (items[0]["range"]["start"], items[0]["range"]["end"])
        )
        line_end = text.find("\n", offset)
        if start != offset or end != (line_end if line_end >= 0 else len(text)):
            self.tally.wrong += 1
        if version == self.document.version:
            self.ghost = (version, items[0])


def type_for(seconds: float, pace: float, files: list[Path]) -> dict[str, Any]:
    with Listener([str(Path(sys.executable).with_name("midspan")), "--stdio"]) as client:
        client.initialize({"trace": True, "status": True, "diskCache": False})
        while client.notification("midspan/status", 120)["kind"] != "ready":
            pass
        process = psutil.Process(client.process.pid)
        used = sum(process.cpu_times()[:2])
        until = time.monotonic() + seconds
        tally, turn = Tally(), 0
        while time.monotonic() < until:
            file = files[turn % len(files)]
            text = file.read_text(encoding="utf-8")
            typist = Typist(client, f"file:///bench/{turn}/{file.name}", text, pace)
            typist.tally = tally
            for number, line in list(enumerate(text.split("\n")))[20 + 7 * (turn // len(files)) :: 9]:
                if CODE.match(line) and time.monotonic() < until:
                    typist.write(number, line, until)
            typist.finish()
            client.notify("textDocument/didClose", {"textDocument": {"uri": typist.uri}})
            turn += 1
        cpu = sum(process.cpu_times()[:2]) - used
        code = client.shut_down()
    called_off = sum(count for outcome, count in tally.outcomes.items() if outcome in CALLED_OFF)
    cuts = quantiles(tally.seconds, n=20) if len(tally.seconds) > 1 else [0.0] * 19
    shown = quantiles(tally.shown_seconds, n=20) if len(tally.shown_seconds) > 1 else [0.0] * 19
    return {
        "ms_per_key": round(1000 * pace),
        "seconds": seconds,
        "keys": tally.keys,
        "late_keys": tally.late_keys,
        "requests": tally.requests,
        "dropped_replies": tally.requests - tally.replies,
        "stale": tally.stale,
        "wrong_range": tally.wrong,
        "editor_waits": client.waits,
        "longest_write_ms": round(1000 * client.longest_write, 1),
        "cancelled_work_share": round(tally.wasted / max(1e-9, tally.wasted + tally.worked), 3),
        "called_off_requests_share": round(called_off / max(1, tally.requests), 3),
        "shown_share": round(tally.outcomes["shown"] / max(1, tally.requests), 3),
        "shown_from": dict(tally.origins.most_common()),
        "answer_p50_ms": round(1000 * cuts[9], 1),
        "answer_p95_ms": round(1000 * cuts[18], 1),
        "shown_p50_ms": round(1000 * shown[9], 1),
        "accepted_characters": tally.accepted,
        "cpu_s": round(cpu, 1),
        "cpu_s_per_accepted_character": round(cpu / tally.accepted, 3) if tally.accepted else None,
        "cpu_share_of_one_core": round(cpu / seconds, 2),
        "outcomes": dict(tally.outcomes.most_common()),
        "exit_code": code,
    }


def summary(result: dict[str, Any]) -> str:
    """One sentence for people."""
    cost = result["cpu_s_per_accepted_character"]
    paid = f"{cost} CPU seconds per accepted character" if cost else f"{result['cpu_s']} CPU seconds, nothing accepted"
    return (
        f"{result['ms_per_key']} ms per key: {result['dropped_replies']} replies dropped, {result['stale']} stale, "
        f"{result['editor_waits']} waits of the editor (longest write {result['longest_write_ms']} ms), "
        f"{result['cancelled_work_share']:.0%} of the work cancelled, {paid}"
    )


def main(seconds: float, files: list[Path], write: bool) -> int:
    chosen = files or [ROOT / path for path in ("lsp/documents.py", "lsp/wire/transport.py", "engine/network.py")]
    results = [type_for(seconds, pace, chosen) for pace in PACES]
    table = Table("what", *(f"{result['ms_per_key']} ms per key" for result in results))
    for name in results[0]:
        table.add_row(name, *(str(result[name]) for result in results))
    console = Console()
    console.print(table)
    for result in results:
        console.print(summary(result), soft_wrap=True, highlight=False)
    if write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results))
    return int(any(result[fault] for result in results for fault in ("dropped_replies", "stale", "wrong_range")))
