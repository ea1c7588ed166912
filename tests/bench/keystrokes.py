"""How long the server takes: `python tests/bench/keystrokes.py [FILE …]`, and `--typing SECONDS` for a typist.

Speaks to a real `midspan --stdio` as an editor does. Three questions, in the order a user meets them: how long until
`initialize` is answered and the model ready; how long a warm request takes while a line is typed, each key a change
followed by a request; how long a cancelled one stays unanswered. Prints a table; the last line of output is one JSON
object, also written to `results/keystrokes.json`. These are figures of one machine; nothing asserts them.

With `--typing 60` (`typing_at_speed.py`) somebody types for 60 seconds at 50 and then at 150 ms per key.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import quantiles

import psutil
import typing_at_speed
from midspan.lsp.wire.client import Client
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results" / "keystrokes.json"
ROOT = Path(__file__).parents[2]
AUTOMATIC = 2


def percentiles(seconds: list[float]) -> dict[str, float]:
    cuts = quantiles(seconds, n=20)
    return {"p50_ms": round(1000 * cuts[9], 1), "p95_ms": round(1000 * cuts[18], 1), "n": len(seconds)}


def lines_to_type(text: str, n_lines: int) -> list[int]:
    """Numbers of lines worth typing, spread over the text."""
    lines = text.split("\n")
    long = [number for number, line in enumerate(lines) if 16 <= len(line.strip()) <= 80]
    return long[:: max(1, len(long) // n_lines)][:n_lines]


class Session:
    def __init__(self) -> None:
        started = time.perf_counter()
        self.client = Client([str(Path(sys.executable).with_name("midspan")), "--stdio"])
        self.client.initialize({"trace": True, "status": True, "diskCache": False})
        self.initialize = time.perf_counter() - started
        while self.client.notification("midspan/status", 60)["kind"] != "ready":
            pass
        self.ready = time.perf_counter() - started
        self.version = 1
        self.outcomes: Counter[str] = Counter()

    def type_line(self, uri: str, number: int, line: str, every: int) -> list[float]:
        """Empties the line, types it anew, and asks after every `every` keys; seconds of each answer."""
        indent = len(line) - len(line.lstrip())
        self._replace(uri, number, indent, len(line), "")
        seconds = []
        for column in range(indent, len(line)):
            self._replace(uri, number, column, column, line[column])
            if (column - indent) % every == 0:
                start = time.perf_counter()
                self.client.result(self.client.begin_completion(uri, number, column + 1, AUTOMATIC))
                seconds.append(time.perf_counter() - start)
                self.outcomes[self.client.notification("midspan/trace")["outcome"]] += 1
        return seconds

    def cancel(self, uri: str, number: int, column: int, after: float) -> float:
        """Seconds from a cancel to the reply."""
        request = self.client.begin_completion(uri, number, column, AUTOMATIC)
        time.sleep(after)
        start = time.perf_counter()
        self.client.notify("$/cancelRequest", {"id": request})
        self.client.reply(request)
        return time.perf_counter() - start

    def _replace(self, uri: str, line: int, start: int, end: int, text: str) -> None:
        self.version += 1
        place = {"start": {"line": line, "character": start}, "end": {"line": line, "character": end}}
        self.client.change(uri, self.version, {"range": place, "text": text})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", type=Path, nargs="*", help="Python files to type in")
    parser.add_argument("--lines", type=int, default=12, help="lines typed in each")
    parser.add_argument("--every", type=int, default=4, help="keys between two requests")
    parser.add_argument("--no-write", action="store_true")
    parser.add_argument("--typing", type=float, metavar="SECONDS", help="type at speed for so long instead")
    args = parser.parse_args()
    if args.typing:
        return typing_at_speed.main(args.typing, args.files, not args.no_write)
    files = args.files or [ROOT / "lsp" / "documents.py", ROOT / "engine" / "network.py"]
    session = Session()
    typed: list[float] = []
    cancelled: list[float] = []
    for file in files:
        text = file.read_text(encoding="utf-8")
        uri = file.resolve().as_uri()
        session.client.open(uri, "python", text, session.version)
        for number in lines_to_type(text, args.lines):
            line = text.split("\n")[number]
            typed += session.type_line(uri, number, line, args.every)[1:]  # the first moves to another place
            cancelled.append(session.cancel(uri, number, len(line), after=0.01 * (len(cancelled) % 10)))
    memory = psutil.Process(session.client.process.pid).memory_info().rss
    code = session.client.shut_down()
    shown = session.outcomes["shown"] / sum(session.outcomes.values())
    result = {
        "cores": os.cpu_count(),
        "initialize_ms": round(1000 * session.initialize),
        "ready_s": round(session.ready, 2),
        "typing": percentiles(typed),
        "cancel": percentiles(cancelled),
        "resident_mb": round(memory / 1e6),
        "shown": round(shown, 3),
        "exit_code": code,
    }
    table = Table("what", "figure")
    for name, value in result.items():
        table.add_row(name, str(value))
    console = Console()
    console.print(table)
    console.print(dict(session.outcomes.most_common()))
    if not args.no_write:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
