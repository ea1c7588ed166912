"""What people complain about in other programs of this kind, asked of a real server; see `editors/COMPLAINTS.md`.

Only what no other test asks stands here. Which code the model writes is not asserted: only that whatever it writes,
likely or not, brings none of these.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from midspan.lsp.wire.client import AUTOMATIC, INVOKED, Client

from .conftest import Launcher
from .test_server import accepted, fills, opened

ROOT = Path(__file__).parents[2]
COMPLAINTS = ROOT / "editors" / "COMPLAINTS.md"
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")

CODE = """\
import json
import os


def load(path):
    with open(path) as handle:
        return json.load(handle)


def save(path, value):
    with open(path, "w") as handle:
        json.dump(value, handle)


def names(folder):
    result = []
    for name in os.listdir(folder):
        result.append(os.path.join(folder, name))
    return result
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One that shows whatever parses, however unlikely it is."""
    launcher = Launcher(tmp_path_factory.mktemp("complaints") / "stderr")
    client = launcher()
    options = {"threads": 1, "deadline": 20, "minConfidence": 0, "alternatives": 8, "prefetch": False}
    client.initialize({**options, "diskCache": False, "trace": True, "status": True})
    client.notification("midspan/status", kind="ready", timeout=120)
    yield client
    assert client.shut_down() == 0
    launcher.close()


def offered(server: Client, uri: str, line: int, column: int) -> list[dict[str, Any]]:
    """Every alternative there is."""
    result = server.result(server.begin_completion(uri, line, column, INVOKED))
    return result["items"] if result else []


def emptied() -> Iterator[tuple[str, int, int, str]]:
    """CODE with what stands between a pair of brackets, or after a `=` or `return`, taken out: the text, the place, and
    what stands right of it."""
    lines = CODE.split("\n")
    for number, line in enumerate(lines):
        for gap in re.finditer(r"(?<=\w\()[^()]+(?=\))|(?<== ).+|(?<=return ).+", line):
            left, right = line[: gap.start()], line[gap.end() :]
            yield "\n".join([*lines[:number], left + right, *lines[number + 1 :]]), number, gap.start(), right


def test_what_stands_right_of_the_cursor_is_neither_said_again_nor_unbalanced(server: Client) -> None:
    shown = 0
    for text, line, column, right in emptied():
        for item in offered(server, opened(server, text), line, column):
            shown += 1
            fill = item["insertText"].removesuffix(right)
            assert fill + right == item["insertText"], "the rest of the line is the end of what replaces it"
            assert not right or not fill.endswith(right), "and stands there once"
            ast.parse(accepted(text, item))  # CPython, which the server does not ask: no bracket too many or too few
            below = text.split("\n")[line + 1].strip()
            assert not below or fill.split("\n")[-1].strip() != below
    assert shown > 15, "or this test has seen nothing"


@pytest.mark.parametrize("unit", ["\t", "  "])
def test_new_lines_are_indented_as_the_file_is(server: Client, unit: str) -> None:
    text = CODE.replace("    ", unit)
    lines = text.split("\n")
    shown = 0
    for number, line in [place for place in enumerate(lines) if place[1].endswith(":")][1::2]:
        margin = line[: len(line) - len(line.lstrip())] + unit
        emptied = "\n".join([*lines[: number + 1], margin, *lines[number + 2 :]])
        uri = opened(server, emptied, name=f"indented{number}.py")
        for item in offered(server, uri, number + 1, len(margin)):
            shown += 1
            new = accepted(emptied, item).split("\n")
            written = new[number + 1 : number + 2 + item["insertText"].count("\n")]
            assert written[0].startswith(margin) and not written[0].removeprefix(margin).startswith((" ", "\t"))
            for one in filter(str.strip, written):
                deep = one[: len(one) - len(one.lstrip())]
                assert deep == unit * (len(deep) // len(unit)), f"{one!r} is not indented in units of {unit!r}"
                assert len(deep) >= len(margin), "a block is not left"
    assert shown, "or this test has seen nothing"


@pytest.mark.parametrize("prose", ["    # the path of the ", '    """Write a value to the ', '    print("the path of '])
def test_comments_and_strings_cost_nothing_and_get_nothing(server: Client, prose: str) -> None:
    text = CODE.replace("    result = []\n", f"{prose}\n    result = []\n")
    uri = opened(server, text)
    line = text[: text.index(prose)].count("\n")
    assert fills(server, uri, [(line, len(prose))], AUTOMATIC) == [None]
    trace: dict[str, Any] = server.notification("midspan/trace", uri=uri)
    assert (trace["outcome"], trace["steps"]) == ("no span here", 0)


def complaints() -> dict[int, str]:
    """The rows of the table, by their numbers."""
    rows = [line.split("|")[1:] for line in COMPLAINTS.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return {int(cells[0]): "|".join(cells) for cells in rows if cells[0].strip().isdigit()}


def test_every_complaint_has_its_source_and_its_proof() -> None:
    found = complaints()
    assert list(found) == list(range(1, 16))
    for row in found.values():
        assert "https://github.com/" in row
        assert TEST.search(row), row


@pytest.mark.parametrize("number", range(1, 16))
def test_every_proof_is_a_test_that_exists(number: int) -> None:
    for file, name in TEST.findall(complaints()[number]):
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in functions, f"{file} has no {name}"
