"""What someone sees who writes Python in Helix, which has no ghost text: the fill is an entry of the completion menu.

The bundled model fills; which code it writes is not asserted, only that the buffer becomes what the entry promised.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import psutil
import pytest

from ..sample import (
    ASTRAL,
    BRACKETS,
    HEADS,
    INDENTATION,
    LETTERS,
    PLAIN,
    ROW,
    accepted,
    lines_with,
    lines_with_empty_body,
)
from ..terminal import wait
from .window import Helix, Item

pytestmark = pytest.mark.e2e

_files = count(1)


@dataclass
class Typed:
    """A beginning for which the menu has an entry: the file, its lines as they are, the cursor's row, what is left of
    it."""

    name: str
    lines: list[str]
    row: int
    line: str
    item: Item


def any_item(_: Item) -> bool:
    return True


def typed(
    helix: Helix,
    *beginnings: str,
    after: str = "",
    ending: str = "\n",
    wanted: Callable[[Item], bool] = any_item,
) -> Typed:
    """Type these beginnings of a line in turn, each in a new file, until one gets an entry that is wanted.

    after: what stands right of the cursor. ending: of every line.
    """
    tried: list[str] = []
    for beginning in beginnings:
        name, line = f"sample{next(_files)}.py", INDENTATION + beginning
        helix.open(name, ending.join(lines_with(after)), ROW, len(INDENTATION))
        helix.ready()
        helix.type(beginning)
        lines = lines_with(beginning + after)
        item = helix.item(name, line)
        if item and wanted(item):
            return Typed(name, lines, ROW, line, item)
        tried.append(f"{beginning}║{after}: {item}")
    pytest.fail("no entry anywhere:\n" + "\n".join(tried))


def block(helix: Helix, ending: str) -> Typed:
    """An empty body, for which the menu was asked and has an entry of several lines."""
    tried: list[str] = []
    for head in HEADS:
        lines = lines_with_empty_body(head)
        name, row = f"sample{next(_files)}.py", len(lines) - 2
        helix.open(name, ending.join(lines), row, 4)
        helix.ready()
        helix.invoke()
        item = helix.item(name, lines[row])
        if item and "\n" in item.preview:
            return Typed(name, lines, row, lines[row], item)
        tried.append(f"{head}: {item}")
    pytest.fail("no entry of several lines:\n" + "\n".join(tried))


def shown(helix: Helix, item: Item) -> None:
    assert wait(lambda: helix.shows(item), 10), f"{item.label!r} is not on the screen\n" + "\n".join(helix.screen())


def accept(helix: Helix) -> None:
    helix.type("\t\r")  # select, then take


@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize(
    ("beginnings", "after"),
    [(PLAIN, ""), (ASTRAL, ""), (BRACKETS, ")")],
    ids=["end of line", "astral", "between brackets"],
)
def test_accepting_makes_the_buffer_what_the_entry_promised(
    helix: Helix, beginnings: tuple[str, ...], after: str, ending: str
) -> None:
    one = typed(helix, *beginnings, after=after, ending=ending)
    shown(helix, one.item)
    assert one.item.preview.startswith(one.line.strip())
    promised = accepted(one.lines, one.row, one.item.preview)
    accept(helix)
    row = one.row + len(promised) - len(one.lines)
    place = f"{row + 1}:{len(promised[row]) - len(after) + 1}"
    assert wait(lambda: place in helix.status(), 10), f"the cursor is not behind the fill, at {place}: {helix.status()}"
    assert helix.saved(one.name) == ending.join(promised)


@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_an_entry_of_several_lines_keeps_its_indentation_and_line_endings(helix: Helix, ending: str) -> None:
    one = block(helix, ending)
    shown(helix, one.item)
    assert one.item.label.endswith(" …")
    accept(helix)
    assert helix.saved(one.name) == ending.join(accepted(one.lines, one.row, one.item.preview))


def goes_on(item: Item) -> bool:
    """Whether the entry's next character can be typed without closing the menu."""
    return item.label[3:4].isalpha()


def test_the_entry_stays_right_while_its_text_is_typed(helix: Helix) -> None:
    one = typed(helix, *LETTERS, wanted=goes_on)
    promised = accepted(one.lines, one.row, one.item.preview)
    shown(helix, one.item)
    line = one.line
    for character in one.item.label[3:5]:
        line += character
        helix.type(character)
        item = helix.item(one.name, line)  # an incomplete list: it is asked for again at each key
        assert item is not None and item.label == one.item.label
        shown(helix, item)
        one.lines[one.row] = line
        assert accepted(one.lines, one.row, item.preview) == promised
    accept(helix)
    assert helix.saved(one.name) == "\n".join(promised)


def test_accepting_right_after_a_key_is_as_good_as_waiting(helix: Helix) -> None:
    one = typed(helix, *LETTERS, wanted=goes_on)
    promised = accepted(one.lines, one.row, one.item.preview)
    shown(helix, one.item)
    helix.type(one.item.label[3])
    accept(helix)
    assert helix.saved(one.name) == "\n".join(promised)


def test_typing_something_else_leaves_what_was_typed(helix: Helix) -> None:
    one = typed(helix, *PLAIN)
    shown(helix, one.item)
    helix.type("QZ")
    assert wait(lambda: not helix.shows(one.item), 10), "\n".join(helix.screen())
    one.lines[one.row] = one.line + "QZ"
    assert helix.saved(one.name) == "\n".join(one.lines)


def test_typing_at_speed_is_never_disturbed_and_every_request_is_answered(helix: Helix) -> None:
    name = f"sample{next(_files)}.py"
    helix.open(name, "\n".join(lines_with("")), ROW, len(INDENTATION))
    written = "path = os.path.join(folder, name, str(len(result)))"
    before = len(helix.asked())
    for character in written:
        helix.type(character)
        time.sleep(0.05)
    assert helix.saved(name) == "\n".join(lines_with(written))
    assert len(helix.asked()) > before
    assert wait(lambda: {one["id"] for one in helix.asked()} == helix.answers().keys(), 20), "a request has no answer"


def test_rewriting_a_selection_changes_nothing_else_and_one_undo_takes_it_back(helix: Helix) -> None:
    name, lines = f"sample{next(_files)}.py", lines_with("")
    first, last = lines.index("def save(path, value):"), lines.index("def names(folder):")
    helix.open(name, "\n".join(lines), first + 2, 4)
    helix.ready()
    helix.normal()
    helix.type("x")  # the line
    helix.type(" a")  # what can be done with it
    assert wait(lambda: any("Midspan: rewrite" in line for line in helix.screen()), 10), "\n".join(helix.screen())
    helix.type("\r")
    assert wait(lambda: helix.resolved() is not None), "the action was not resolved"
    assert helix.resolved(), "the model has nothing else to say"
    assert wait(lambda: "[+]" in helix.status(), 10), "the buffer was not changed"
    new = helix.saved(name).split("\n")
    assert new != lines and new[: first + 1] == lines[: first + 1]
    assert new[last - len(lines) :] == lines[last:]
    helix.type("u")
    assert wait(lambda: helix.saved(name) == "\n".join(lines), 10), "one undo is not enough"


def test_every_menu_had_one_entry_and_could_be_asked_for_again(helix: Helix) -> None:
    """Of all menus of this module."""
    menus = [answer["result"] for answer in helix.answers().values() if answer.get("result")]
    assert menus and all(menu["isIncomplete"] for menu in menus)
    assert {len(menu["items"]) for menu in menus} <= {0, 1}
    for menu in menus:
        for item in menu["items"]:
            start, end = item["textEdit"]["range"]["start"], item["textEdit"]["range"]["end"]
            assert start["line"] == end["line"], "an edit is of one line"
            assert not item["label"].startswith(" ") and "\n" not in item["label"]


def test_the_server_ends_with_the_editor(helix: Helix) -> None:
    """Last of all, since it ends the Helix of this module."""
    helix.open("last.py", "\n".join(lines_with("")), ROW, 0)
    servers = wait(helix.servers)
    assert servers
    helix.command("quit-all!")
    assert not psutil.wait_procs(servers, timeout=15)[1]


def test_the_server_ends_when_the_editor_is_killed(start_helix: Callable[[], Helix]) -> None:
    helix = start_helix()
    helix.open("a.py", "\n".join(lines_with("")), ROW, 0)
    servers = wait(helix.servers)
    assert servers
    helix.terminal.kill()
    assert not psutil.wait_procs(servers, timeout=15)[1]
