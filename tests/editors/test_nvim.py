"""What someone sees who writes Python in Neovim with Midspan: every test types real keys into a real Neovim.

The bundled model fills; which code it writes is not asserted, only that the buffer becomes what the screen promised.
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .sample import ROW, SAMPLE

if TYPE_CHECKING:
    from conftest import Ghost, Neovim

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]

TYPED = (
    "        result.app",
    "        path = os.path.jo",
    "        if name.",
    "        result.append(",
    "        value = json.",
    "        with open(os.path.join(folder, name)",
    "        result = [na",
    "        for value in ",
)
BRACKETS = (
    "        result.append(",
    "        path = os.path.join(",
    "        print(",
    "        with open(",
    "        load(",
)


def first_line(ghost: "Ghost") -> str:
    return ghost.text.split("\n")[0]


@pytest.fixture
def neovim(editor: "Neovim", request: pytest.FixtureRequest) -> "Neovim":
    """The sample, with the cursor in its empty line."""
    editor.open(SAMPLE, getattr(request, "param", "sample.py"))
    editor.ready()
    editor.rpc.current.window.cursor = (ROW + 1, 0)
    editor.accepted()
    return editor


# Where no grammar holds a fill back: for tests that need more ghost text than the brackets of a call, or need it often.
as_plain_text = pytest.mark.parametrize("neovim", ["sample.txt"], indirect=True, ids=["txt"])


def test_accepting_puts_exactly_the_ghost_text_into_the_buffer(neovim: "Neovim") -> None:
    ghost = neovim.suggestion(*TYPED)
    promised = ghost.applied(neovim.lines)
    neovim.keys("<Tab>")
    neovim.settle()
    assert neovim.lines == promised
    row, column = neovim.cursor
    new = promised[: len(promised) - len(neovim.lines) + row]
    assert column == len(new[-1].encode()), "the cursor stands behind what was accepted"


def test_one_undo_takes_back_the_accepted_text_and_nothing_else(neovim: "Neovim") -> None:
    neovim.suggestion(*TYPED)
    before = neovim.lines
    neovim.keys("<Tab>")
    neovim.settle()
    after = neovim.lines
    neovim.keys("<Esc>u")
    assert neovim.lines == before
    neovim.keys("<C-r>")
    assert neovim.lines == after


@as_plain_text
def test_typing_what_the_ghost_text_says_keeps_it(neovim: "Neovim") -> None:
    ghost = neovim.suggestion(*TYPED, wanted=lambda ghost: len(first_line(ghost)) > 1)
    promised = ghost.applied(neovim.lines)
    typed = ghost.text[0]
    neovim.keys(typed.replace("<", "<lt>"))
    # Well within the 200 ms that Neovim waits before it asks again: the case of neovim#36529.
    shown = neovim.ghost()
    neovim.keys("<Tab>")
    neovim.settle()
    assert neovim.lines == promised
    assert shown is None or shown.text == ghost.text[len(typed) :]


def test_typing_something_else_takes_the_ghost_text_away(neovim: "Neovim") -> None:
    ghost = neovim.suggestion(*TYPED)
    other = "Q" if ghost.text[0] != "Q" else "Z"
    line = neovim.line
    neovim.keys(other + "<Tab>")
    neovim.settle()
    assert neovim.line == line + other + "\t", "there is nothing to accept, so the key is a tab again"
    assert neovim.accepted() is None


def test_moving_the_cursor_away_takes_the_ghost_text_away(neovim: "Neovim") -> None:
    neovim.suggestion(*TYPED)
    lines = neovim.lines
    neovim.keys("<Up>")
    neovim.settle()
    ghost = neovim.ghost()
    assert ghost is None or ghost.row != ROW
    assert neovim.lines == lines


def test_ghost_text_between_brackets_is_accepted_without_doubling_them(neovim: "Neovim") -> None:
    ghost = neovim.suggestion(*BRACKETS, after=")")
    promised = ghost.applied(neovim.lines)
    neovim.keys("<Tab>")
    neovim.settle()
    taken = neovim.accepted()
    assert taken is not None
    assert neovim.lines == promised
    assert taken["line"][: taken["column"]] + taken["text"] == "\n".join(
        promised[ROW : ROW + 1 + taken["text"].count("\n")]
    )


def words(ghost: "Ghost") -> list[str]:
    """What one acceptance of a word takes, one after the other."""
    return re.findall(r"\s*(?:\w+|[^\w\s]+)", ghost.text, flags=re.ASCII)


@as_plain_text
def test_accepting_word_by_word_ends_in_the_same_text(neovim: "Neovim") -> None:
    ghost = neovim.suggestion(*TYPED, wanted=lambda ghost: len(words(ghost)) > 1)
    promised, before = ghost.applied(neovim.lines), neovim.line
    first, *others = words(ghost)
    neovim.keys("<M-Right>")
    neovim.settle()
    assert neovim.line == before + first
    neovim.keys("<M-Right>" * len(others))
    neovim.settle()
    assert neovim.lines == promised


@as_plain_text
def test_accepting_word_by_word_keeps_what_stands_right_of_the_cursor_until_the_last(neovim: "Neovim") -> None:
    ghost = neovim.suggestion(*BRACKETS, after=")", wanted=lambda ghost: len(words(ghost)) > 1)
    promised, before = ghost.applied(neovim.lines), neovim.line
    first, *others = words(ghost)
    neovim.keys("<M-Right>")
    neovim.settle()
    assert neovim.line == before[:-1] + first + ")"
    neovim.keys("<M-Right>" * len(others))
    neovim.settle()
    assert neovim.lines == promised


def test_dismissed_ghost_text_is_gone_and_cannot_be_accepted(neovim: "Neovim") -> None:
    neovim.suggestion(*TYPED)
    lines = neovim.lines
    neovim.keys("<C-]>")
    neovim.settle()
    assert neovim.ghost() is None
    assert neovim.lua("return require('midspan').accept()") is False
    assert neovim.lines == lines


@as_plain_text
@pytest.mark.parametrize("pause", [0.05, 0.25])
def test_accepting_while_typing_at_speed_never_corrupts_the_line(neovim: "Neovim", pause: float) -> None:
    """Typed through at speed and accepted at once: the line is what was suggested, or what was typed; nothing between.

    Neovim asks 200 ms after a key, so at 50 ms no answer comes in between and at 250 ms answers come at any moment.
    """
    taken = 0
    for text in TYPED:
        neovim.accepted()
        ghost = neovim.suggestion(*TYPED, first=text, wanted=lambda ghost: len(first_line(ghost)) > 1)
        before, line = neovim.line, first_line(ghost)
        typed = line[: min(6, len(line) // 2)]
        neovim.keys(typed, pause)
        neovim.keys("<Tab>")
        neovim.settle()
        item, lines = neovim.accepted(), neovim.lines
        if item is None:
            assert neovim.line == before + typed + "\t"
            continue
        taken += 1
        assert item["line"] == before + typed
        new = (item["line"][: item["column"]] + item["text"]).split("\n")
        assert lines[ROW : ROW + len(new)] == new
        sample = SAMPLE.splitlines()
        assert lines[:ROW] == sample[:ROW]
        assert lines[ROW + len(new) :] == sample[ROW + 1 :]
        neovim.keys("<Esc>u")
        neovim.settle()
        assert neovim.line == before + typed
    assert taken, "something was accepted, or this test has seen nothing"


def test_text_outside_the_basic_plane_and_accents_stay_whole(neovim: "Neovim") -> None:
    ghost = neovim.suggestion(
        '        größe = ["🦊é", na',
        '        größe = {"🦊é": na',
        '        result.append("🦊é" + na',
        '        if name == "🦊é" or na',
        '        result.append("🦊é',
        "        größe = os.path.jo",
        "        # 🦊 größe of the na",
    )
    promised = ghost.applied(neovim.lines)
    neovim.keys("<Tab>")
    neovim.settle()
    assert neovim.lines == promised


def test_accepting_in_a_file_with_crlf_leaves_no_carriage_return(neovim: "Neovim") -> None:
    path = neovim.open(SAMPLE.replace("\n", "\r\n"))
    neovim.rpc.current.window.cursor = (ROW + 1, 0)
    ghost = neovim.suggestion(*TYPED)
    promised = ghost.applied(neovim.lines)
    neovim.keys("<Tab>")
    neovim.settle()
    assert neovim.lines == promised
    neovim.keys("<Esc>")
    neovim.rpc.command("silent write")
    assert path.read_bytes() == "".join(f"{line}\r\n" for line in promised).encode()


@as_plain_text
def test_off_asks_nothing_of_the_server_and_on_brings_suggestions_back(neovim: "Neovim") -> None:
    neovim.suggestion(*TYPED)
    neovim.rpc.command("Midspan toggle")
    asked = neovim.lua("return _G.asked")
    assert neovim.ghost() is None
    neovim.keys("<Esc>0C" + TYPED[0])
    assert neovim.wait(neovim.ghost, "nothing", patience=1.0, fail=False) is None
    assert neovim.lua("return _G.asked") == asked
    neovim.wait(lambda: "; off" in neovim.status(), "the model to be unloaded")
    neovim.rpc.command("Midspan toggle")
    neovim.ready()
    neovim.suggestion(*TYPED)


@as_plain_text
def test_a_restart_brings_suggestions_back(neovim: "Neovim") -> None:
    neovim.suggestion(*TYPED)
    neovim.keys("<Esc>")
    (before,) = neovim.servers()
    neovim.rpc.command("Midspan restart")
    neovim.wait(lambda: neovim.servers() not in ([], [before]), "another server")
    neovim.ready()
    neovim.suggestion(*TYPED)


def test_a_server_that_always_dies_is_left_alone_with_one_clear_message(
    start_neovim: Callable[[str], "Neovim"], set_up: Callable[[Path], str], tmp_path: Path
) -> None:
    starts = tmp_path / "starts"
    broken = tmp_path / "broken"
    broken.write_text(f"#!/bin/sh\necho start >> {starts}\nexit 3\n")
    broken.chmod(0o755)
    neovim = start_neovim(set_up(broken))
    neovim.open(SAMPLE)
    neovim.keys("O# typed on meanwhile")
    said = neovim.wait(lambda: re.findall("midspan: the server ended.*", neovim.messages()), "a message")
    assert len(said) == 1
    assert said[0].startswith("midspan: the server ended 5 times in a row (code 3); see :checkhealth midspan")
    assert starts.read_text().count("start") == 5
    assert neovim.lines == ["# typed on meanwhile", *SAMPLE.splitlines()]
    neovim.rpc.command("Midspan restart")
    neovim.wait(lambda: starts.read_text().count("start") > 5, "a start because the user wants one")


def test_two_projects_share_one_server(neovim: "Neovim", tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / ".git").mkdir(parents=True)
        (tmp_path / name / "file.py").write_text(SAMPLE)
        neovim.rpc.command(f"edit {tmp_path / name / 'file.py'}")
        neovim.wait(lambda: "not attached" not in neovim.status(), "the server to be told")
    assert len(neovim.servers()) == 1
    folders = neovim.lua("return vim.lsp.get_clients({ name = 'midspan' })[1].workspace_folders")
    assert {str(tmp_path / "one"), str(tmp_path / "two")} <= {folder["name"] for folder in folders}


def test_the_health_check_of_a_working_installation_is_clean(neovim: "Neovim") -> None:
    neovim.keys("<Esc>")
    neovim.rpc.command("checkhealth midspan")
    report = "\n".join(neovim.lines)
    assert "midspan" in report
    assert "; ready" in report
    assert not re.search("ERROR|WARNING", report), report


def test_a_missing_server_is_said_once_and_explained_by_the_health_check(
    start_neovim: Callable[[str], "Neovim"],
) -> None:
    neovim = start_neovim(
        f"vim.opt.runtimepath:prepend({json.dumps(str(ROOT / 'editors' / 'nvim'))})\n"
        "require('midspan').setup({ cmd = { 'no-such-midspan' }, keys = { acept = '<C-y>' }, colour = 1 })\n"
    )
    neovim.open(SAMPLE)
    said = neovim.rpc.command_output("messages")
    assert said.count("no-such-midspan is not executable") == 1
    assert "colour is no option" in said
    assert "keys.acept is no action" in said
    neovim.keys("Gox = 1")
    assert neovim.line == "x = 1"
    neovim.keys("<Esc>")
    neovim.rpc.command("checkhealth midspan")
    assert "ERROR no-such-midspan is not executable" in "\n".join(neovim.lines)


@pytest.mark.parametrize("which", ["neovim-plugin", "neovim-bare"])
def test_the_lines_in_the_readme_work_as_they_stand(
    start_neovim: Callable[[str], "Neovim"],
    server: Path,
    recorder: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    which: str,
) -> None:
    readme = (ROOT / "editors" / "README.md").read_text()
    block = re.search(rf"<!-- {which} -->\n```lua\n(.*?)```", readme, flags=re.DOTALL)
    assert block is not None
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "midspan").symlink_to(ROOT)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{server.parent}{os.pathsep}{os.environ['PATH']}")
    neovim = start_neovim(block[1] + recorder)
    neovim.open(SAMPLE)
    neovim.wait(lambda: neovim.lua("return (vim.lsp.get_clients()[1] or {}).initialized"), "the server to start")
    neovim.rpc.current.window.cursor = (ROW + 1, 0)
    neovim.keys("C" + TYPED[0])
    neovim.wait(lambda: neovim.lua("return _G.asked") > 0, "the server to be asked")
