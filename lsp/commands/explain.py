"""`midspan why`: what a real server says about a place in a file, and why it shows nothing there."""

import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from ...grammars.names import language_id
from ..documents import Document
from ..settings.sources import project_root
from ..why import words
from ..wire.client import AUTOMATIC, INVOKED, Client, DisconnectedError, ReplyError
from .fill import LOADING

DEADLINE = 10.0  # seconds; nobody is typing here


def why_file(path: Path, line: int, column: int | None, options: dict[str, Any]) -> int:
    """Print what becomes of a request there, lines and columns counted from 1. Exit code: 0 shown, 1 not, 2 no file."""
    complaints = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        complaints.print(f"midspan: cannot read {path}: {error}", markup=False)
        return 2
    language = language_id(path.name, text)
    document = Document(path.absolute().as_uri(), language, 1, text, "utf-32")
    last = document.position(len(text))[0] + 1
    if line > last:
        complaints.print(f"midspan: {path} has {last} lines, not {line}", markup=False)
        return 2
    position = document.position(document.offset((line - 1, sys.maxsize if column is None else column - 1)))
    try:
        typing, asking = _ask(document, position, options, project_root(path.absolute(), []))
    except (DisconnectedError, ReplyError, BrokenPipeError) as error:
        complaints.print(f"midspan: {error}", markup=False)
        return 1
    _print(typing, asking, f"{path}:{position[0] + 1}:{position[1] + 1}")
    return 0 if typing["outcome"] == "shown" else 1


def _ask(document: Document, position: tuple[int, int], options: dict[str, Any], root: Path | None) -> tuple[Any, Any]:
    """The accounts of a request while typing and of one that was asked for."""
    with Client() as server:
        own = {"deadline": DEADLINE, "diskCache": False, "trace": True, "status": True}
        server.initialize({**own, **options}, rootUri=root.as_uri() if root else None)
        while server.notification("midspan/status", LOADING)["kind"] == "loading":
            pass
        server.open(document.uri, document.language_id, document.text)
        accounts = []
        for kind in (AUTOMATIC, INVOKED):
            reply = server.result(server.begin_completion(document.uri, *position, kind), LOADING)
            account = server.notification("midspan/trace")
            accounts.append({**account, "texts": [item["insertText"] for item in reply["items"]] if reply else []})
        server.shut_down()
    return accounts[0], accounts[1]


def _print(typing: dict[str, Any], asking: dict[str, Any], place: str) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{place}: {typing['outcome']}. {words(typing['outcome'])}", markup=False)
    if typing["model"]:
        console.print(
            f"span: {typing['span'] or 'none'}; model: {typing['model']}; likely right: {typing['confidence']:.0%}; "
            f"{1000 * typing['seconds']:.0f} ms",
            markup=False,
        )
    for one in asking["context"]:
        console.print(f"context: {one['file']}, {one['purpose']}, {one['characters']} characters", markup=False)
    for number, text in enumerate(asking["texts"], 1):
        console.print(f"asked for, {number}: {text}", markup=False)
