"""`midspan fill` and `midspan demo`: one fill through a real server, started and spoken to as an editor does it."""

import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from ...grammars.names import language_id
from ..documents import Document
from ..wire.client import Client, DisconnectedError, ReplyError

# rich's own template loads fonts from the network; this one takes what the reader has.
PICTURE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">
<style>
.{unique_id}-matrix {{ font: 20px ui-monospace, Menlo, Consolas, monospace; white-space: pre; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix" xml:space="preserve">{matrix}</g>
</g>
</svg>
"""

LINES_BEFORE, LINES_AFTER = 10, 6
LOADING = 60.0  # seconds
DEADLINE = 10.0  # seconds; nobody is typing here
MARK = "║"

SAMPLE = f'''\
import json
from pathlib import Path


class Settings:
    """Options kept in a JSON file."""

    def __init__(self, path):
        self.path = Path(path)
        self.values = {{}}

    def load(self):
        with open(self.path) as file:
            self.values = json.load(file)

    def save(self):
        with open({MARK}, "w") as file:
            json.dump(self.values, file)
'''


def fill_file(path: Path, line: int, column: int | None, options: dict[str, Any], picture: Path | None = None) -> int:
    """Fill at a place of a file, lines and columns counted from 1, and print it. The exit code."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return _fail(f"cannot read {path}: {error}", 2)
    document = Document(path.absolute().as_uri(), language_id(path.name, text), 1, text, "utf-32")
    last = document.position(len(text))[0] + 1
    if line > last:
        return _fail(f"{path} has {last} lines, not {line}", 2)
    # The store takes a place past the line's end for the line's end.
    offset = document.offset((line - 1, sys.maxsize if column is None else column - 1))
    return _fill(document, offset, options, picture)


def demo(options: dict[str, Any], picture: Path | None = None) -> int:
    """Fill the gap of the sample and print it. The exit code."""
    document = Document("untitled:settings.py", "python", 1, SAMPLE.replace(MARK, ""), "utf-32")
    return _fill(document, SAMPLE.index(MARK), options, picture)


def _fill(document: Document, offset: int, options: dict[str, Any], picture: Path | None) -> int:
    started = time.monotonic()
    try:
        with Client() as server:
            server.initialize({"deadline": DEADLINE, "trace": True, "status": True, **options})
            server.open(document.uri, document.language_id, document.text)
            while (status := server.notification("midspan/status", LOADING))["kind"] == "loading":
                pass
            if status["kind"] == "error":
                return _fail(status["message"], 1)
            loaded = time.monotonic() - started
            reply = server.result(server.begin_completion(document.uri, *document.position(offset)))
            trace = server.notification("midspan/trace")
            server.shut_down()
    except (DisconnectedError, ReplyError, BrokenPipeError) as error:
        return _fail(str(error), 1)
    items = reply["items"] if reply else []
    if not items:
        return _fail(f"nothing was filled: {trace['outcome']}", 1)
    _print(document, items[0], trace, loaded, picture)
    return 0


def _print(
    document: Document, item: dict[str, Any], trace: dict[str, Any], loaded: float, picture: Path | None
) -> None:
    begin, stop = item["range"]["start"], item["range"]["end"]
    start = document.offset((begin["line"], begin["character"]))
    end = document.offset((stop["line"], stop["character"]))
    new, kept = item["insertText"][: trace["filled"]], item["insertText"][trace["filled"] :]
    before = "".join(document.text[:start].splitlines(keepends=True)[-LINES_BEFORE:])
    after = "".join(document.text[end:].splitlines(keepends=True)[: LINES_AFTER + 1])
    recorder = Console(record=True, width=92, force_terminal=True, highlight=False) if picture else None
    console = recorder or Console(highlight=False, soft_wrap=True)
    # Without colours the fill must still be told from its surroundings.
    left, right = ("", "") if console.is_terminal else ("⟦", "⟧")
    console.print(Text(before) + Text(left + new + right, style="bold black on green") + Text((kept + after).rstrip()))
    console.print(
        f"\n{trace['model']}: {_count(trace['tokens'], 'token')} by {trace['source']}, "
        f"{_count(trace['steps'], 'denoise step')}, {1000 * trace['seconds']:.0f} ms "
        f"(started and loaded in {loaded:.1f} s)",
        style="dim",
    )
    if recorder and picture:
        recorder.save_svg(str(picture), title="midspan", code_format=PICTURE)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _fail(message: str, code: int) -> int:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"midspan: {message}", markup=False)
    return code
