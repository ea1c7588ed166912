"""Rewriting in a real Neovim: a command over lines, the lightbulb's menu, what an edit meanwhile does, one undo.

The bundled model writes; which code it writes is not asserted, only where, and that the buffer is never left broken.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Neovim

pytestmark = pytest.mark.e2e

SAMPLE = """import os


def names(folder):
    result = []
    for name in os.listdir(folder):
        result.append(name)
    return result


def first(folder):
    pass


print(max(1, 2)
"""
LISTING = SAMPLE.split("\n").index("        result.append(name)") + 1
PASS = SAMPLE.split("\n").index("    pass") + 1
BROKEN = SAMPLE.split("\n").index("print(max(1, 2)") + 1
FINISHED = "return _G.finished"
# Takes the first action of a kind without a menu, as a mapping of a user's would.
APPLY = """local kind = ...
_G.notified = {}
vim.notify = function(message) table.insert(_G.notified, message) end
vim.lsp.buf.code_action({ apply = true, context = { only = { kind }, diagnostics = {} } })"""


@pytest.fixture
def neovim(editor: "Neovim") -> Iterator["Neovim"]:
    editor.open(SAMPLE, "sample.py")
    editor.ready()
    editor.lua("_G.finished, _G.notify = nil, _G.notify or vim.notify; vim.notify = _G.notify")
    yield editor
    editor.lua("vim.notify = _G.notify")


def rewrite(neovim: "Neovim", options: str) -> str:
    """Run `rewrite` of the plugin to its end; what went wrong, or ""."""
    neovim.lua(f"""require('midspan').rewrite(vim.tbl_extend('force', {options}, {{
        on_done = function(problem) _G.finished = problem or '' end }}))""")
    neovim.wait(lambda: neovim.lua(FINISHED) is not None, "the rewrite to be over")
    return neovim.lua(FINISHED)


def test_lines_are_written_anew_and_one_undo_brings_them_back(neovim: "Neovim") -> None:
    before = neovim.lines
    problem = rewrite(neovim, f"{{ lines = {{ {LISTING}, {LISTING} }} }}")
    after = neovim.lines
    assert (after == before) == (problem == "no better text was found"), problem
    assert after[: LISTING - 1] == before[: LISTING - 1]
    assert after[-len(before) + LISTING :] == before[LISTING:]
    if after != before:
        neovim.keys("<Esc>u")
        neovim.wait(lambda: neovim.lines == before, "the undo")


def test_the_code_actions_repair_what_is_broken(neovim: "Neovim") -> None:
    neovim.rpc.current.window.cursor = (BROKEN, 0)
    neovim.lua(APPLY, "quickfix")
    neovim.wait(lambda: neovim.lines[BROKEN - 1] == "print(max(1, 2))", "the bracket")
    assert neovim.lines[: BROKEN - 1] == SAMPLE.split("\n")[: BROKEN - 1]


def test_the_code_actions_fill_an_empty_body(neovim: "Neovim") -> None:
    neovim.rpc.current.window.cursor = (PASS, 4)
    before = neovim.lines
    neovim.lua(APPLY, "refactor.rewrite.midspan.body")
    neovim.wait(
        lambda: neovim.lines != before or neovim.lua("return #_G.notified > 0"), "the body, or why there is none"
    )
    if neovim.lines != before:
        assert neovim.lines[: PASS - 1] == before[: PASS - 1]
        assert neovim.lines[PASS - 1].startswith("    ")
        assert neovim.lines[PASS - 1] != "    pass"
    else:
        assert "no better text was found" in neovim.lua("return _G.notified")[0]


def test_the_command_takes_a_range_and_an_instruction_the_model_has_to_follow(neovim: "Neovim") -> None:
    before = neovim.lines
    neovim.lua("_G.said = nil; vim.notify = function(message) _G.said = message end")
    neovim.rpc.command(f"{LISTING}Midspan rewrite use a set")
    said = neovim.wait(lambda: neovim.lua("return _G.said"), "the answer")
    assert said == "midspan: midspan-mini follows no instructions"
    assert neovim.lines == before


def test_a_rewrite_is_called_off_by_command_and_by_typing(neovim: "Neovim") -> None:
    # Many lines take the model long enough to be called off.
    neovim.open("\n".join(f"value_{i} = compute(value_{i - 1}, {i})" for i in range(1, 26)), "long.py")
    neovim.ready()
    text = neovim.lines
    begin = """require('midspan').rewrite({ lines = { 1, 25 }, on_done = function(problem)
        _G.finished = problem or 'nothing' end })"""
    neovim.lua(f"{begin}; assert(require('midspan').cancel_rewrite())")
    neovim.wait(lambda: neovim.lua(FINISHED) == "nothing", "the rewrite to end silently")
    assert not neovim.lua("return require('midspan').cancel_rewrite()"), "there is nothing left to call off"
    neovim.lua(f"""_G.finished = nil
        vim.api.nvim_create_autocmd('LspProgress', {{ pattern = 'begin', once = true, callback = function(event)
            local client = vim.lsp.get_client_by_id(event.data.client_id)
            client:notify('window/workDoneProgress/cancel', {{ token = event.data.params.token }}) end }})
        {begin}""")
    neovim.wait(lambda: neovim.lua(FINISHED) == "nothing", "the rewrite to end when its bar is cancelled")
    assert neovim.lines == text
    neovim.lua(f"_G.finished = nil; {begin}")
    neovim.keys("Gox = 1<Esc>")
    neovim.settle()
    problem = neovim.wait(lambda: neovim.lua(FINISHED), "the rewrite to end")
    assert problem == "the text has changed since; nothing was rewritten"
    assert neovim.lines == [*text, "x = 1"]
