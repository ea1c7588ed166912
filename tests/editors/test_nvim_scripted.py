"""The Neovim plugin against answers no model can be relied on to give: late, several, of many lines, none at all.

A real Neovim; the server is a few lines of Lua inside it that answer what a test tells them to.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from conftest import Neovim

pytestmark = pytest.mark.e2e

PLUGIN = Path(__file__).parents[2] / "editors" / "nvim"

# _G.fill: new text for the whole cursor line, or none; _G.others: more of them for explicit requests.
SERVER = """
_G.delay, _G.fill, _G.others = 0, nil, {}
local function items(params)
  local row = params.position.line
  local line = vim.api.nvim_buf_get_lines(0, row, row + 1, false)[1]
  local fills = { _G.fill }
  if params.context.triggerKind == 1 then vim.list_extend(fills, _G.others) end
  return vim.tbl_map(function(text)
    return { insertText = text, range = {
      start = { line = row, character = 0 },
      ['end'] = { line = row, character = vim.str_utfindex(line, 'utf-16') } } }
  end, fills)
end
vim.lsp.config('midspan', { cmd = function()
  local last, closing = 0, false
  return {
    request = function(method, params, callback, replied)
      last = last + 1
      local id, result = last, vim.NIL
      if method == 'initialize' then
        result = { capabilities = { inlineCompletionProvider = true, positionEncoding = 'utf-16' } }
      elseif method == 'textDocument/inlineCompletion' then
        result = { items = items(params) }
      end
      vim.defer_fn(function()
        if replied then replied(id) end
        callback(nil, result)
      end, method == 'initialize' and 0 or _G.delay)
      return true, id
    end,
    notify = function() return true end,
    is_closing = function() return closing end,
    terminate = function() closing = true end,
  }
end })
"""


@pytest.fixture(scope="module")
def scripted(start_neovim: Callable[[str], "Neovim"], recorder: str, plain_typing: str) -> "Neovim":
    return start_neovim(
        f"vim.opt.runtimepath:prepend({json.dumps(str(PLUGIN))})\n{recorder}{plain_typing}{SERVER}"
        "vim.keymap.set('i', '<M-]>', function() _G.passed = (_G.passed or 0) + 1 end)\n"
        "require('midspan').setup()\n"
    )


@pytest.fixture
def neovim(scripted: "Neovim") -> "Neovim":
    """An empty file of three lines, the cursor in the second."""
    scripted.open("# before\n\n# after\n")
    scripted.lua("_G.delay, _G.fill, _G.others, _G.passed = 0, nil, {}, 0")
    scripted.wait(lambda: scripted.lua("return (vim.lsp.get_clients()[1] or {}).initialized"), "the server")
    scripted.rpc.current.window.cursor = (2, 0)
    scripted.accepted()
    return scripted


def type_for(neovim: "Neovim", fill: str, typed: str, after: str = "") -> None:
    """Type with the server set to answer `fill`; return when it is shown."""
    neovim.keys("i" + after + "<Left>" * len(after))
    neovim.settle()
    neovim.lua("_G.fill = ...", fill)
    neovim.keys(typed)
    neovim.wait(neovim.ghost, "ghost text")


def ghost_text(neovim: "Neovim") -> str:
    ghost = neovim.ghost()
    return ghost.text if ghost else ""


MANY = "def add(a, b):\n    # 🦊 sum\n    return a + b"


def test_a_fill_of_many_lines_is_shown_and_accepted_whole(neovim: "Neovim") -> None:
    type_for(neovim, MANY, "def a", after=")")
    neovim.keys("<Tab>")
    neovim.settle()
    assert neovim.lines == ["# before", *MANY.split("\n"), "# after"]
    assert neovim.cursor == (4, len("    return a + b"))


def test_a_fill_of_many_lines_is_accepted_line_by_line(neovim: "Neovim") -> None:
    type_for(neovim, MANY, "def a", after=")")
    seen = []
    for _ in range(3):
        neovim.keys("<M-C-Right>")
        neovim.settle()
        seen.append(neovim.lines[1:-1])
    assert seen == [
        ["def add(a, b):)"],
        ["def add(a, b):", "    # 🦊 sum)"],
        ["def add(a, b):", "    # 🦊 sum", "    return a + b"],
    ]


def test_a_fill_of_many_lines_is_accepted_word_by_word(neovim: "Neovim") -> None:
    type_for(neovim, MANY, "def a")
    seen = []
    while neovim.ghost():
        neovim.keys("<M-Right>")
        neovim.settle()
        seen.append("\n".join(neovim.lines[1:-1]))
    assert seen[:3] == ["def add", "def add(", "def add(a"]
    assert all(MANY.startswith(text) for text in seen)
    assert seen[-1] == MANY
    neovim.keys("<Esc>u")
    assert "\n".join(neovim.lines[1:-1]) == seen[-2]


@pytest.mark.parametrize(
    ("fill", "typed", "after", "line"),
    [("return 1", "ret", "urn", "return"), ("caffè x", "caff", "é", "caffèé"), ("a🦊 c", "a", "🦉", "a🦊🦉")],
)
def test_a_word_that_stands_right_of_the_cursor_already_is_not_typed_again(
    neovim: "Neovim", fill: str, typed: str, after: str, line: str
) -> None:
    type_for(neovim, fill, typed, after)
    neovim.keys("<M-Right>")
    neovim.settle()
    assert neovim.line == line
    neovim.keys("<Tab>")
    neovim.settle()
    assert neovim.line == fill


def test_the_next_key_asks_for_alternatives_and_tab_takes_the_one_shown(neovim: "Neovim") -> None:
    neovim.lua("_G.others = { 'first = 2', 'first = 3' }")
    type_for(neovim, "first = 1", "fi")
    shown = []
    for number in (2, 3):
        neovim.keys("<M-]>")
        neovim.wait(lambda n=number: f"({n}/3)" in ghost_text(neovim), "the alternative")
        shown.append(ghost_text(neovim))
    assert [text.split(" (")[0] for text in shown] == ["rst = 2", "rst = 3"]
    neovim.keys("<Tab>")
    neovim.settle()
    assert neovim.line == "first = 3"


def test_without_ghost_text_a_key_does_what_the_user_had_mapped_it_to(neovim: "Neovim") -> None:
    neovim.keys("ix<M-]><M-]>")
    neovim.settle()
    assert neovim.lua("return _G.passed") == 2


def test_an_answer_to_text_that_has_changed_since_is_not_shown(neovim: "Neovim") -> None:
    neovim.lua("_G.delay = 400")
    neovim.lua("_G.fill = 'value = 1'")
    asked = neovim.lua("return _G.asked")
    neovim.keys("ival")
    neovim.wait(lambda: neovim.lua("return _G.asked") > asked, "the request")
    neovim.lua("_G.fill = nil")
    neovim.keys("<BS>x")
    for _ in range(3):
        assert neovim.wait(neovim.ghost, "nothing", patience=0.3, fail=False) is None
    assert neovim.line == "vax"


def test_an_answer_that_comes_late_is_shown_when_the_text_moved_towards_it(neovim: "Neovim") -> None:
    neovim.lua("_G.delay = 400")
    neovim.lua("_G.fill = 'value = 1'")
    asked = neovim.lua("return _G.asked")
    neovim.keys("ival")
    neovim.wait(lambda: neovim.lua("return _G.asked") > asked, "the request")
    neovim.keys("ue")
    neovim.wait(neovim.ghost, "ghost text")
    assert ghost_text(neovim) == " = 1"
    neovim.keys("<Tab>")
    neovim.settle()
    assert neovim.line == "value = 1"


def test_when_the_server_has_nothing_more_to_say_the_ghost_text_goes(neovim: "Neovim") -> None:
    type_for(neovim, "value = 1", "va")
    neovim.lua("_G.fill = nil")
    neovim.keys("l")
    neovim.wait(lambda: neovim.ghost() is None, "the ghost text to go")
    assert neovim.line == "val"


def test_keys_typed_ahead_come_after_what_was_accepted(neovim: "Neovim") -> None:
    type_for(neovim, "value = 1", "va")
    neovim.keys("<Tab>0 + 2<Esc>")
    neovim.settle()
    assert neovim.line == "value = 10 + 2"


def test_an_entry_selected_in_the_menu_keeps_the_key(neovim: "Neovim") -> None:
    neovim.lua("vim.o.completeopt = 'menu,menuone'")
    type_for(neovim, "# before and more", "# be")
    neovim.keys("<C-n>")
    neovim.settle()
    assert neovim.rpc.funcs.pumvisible()
    assert neovim.line == "# before"
    assert neovim.ghost() is not None
    neovim.keys("<Tab>")
    neovim.settle()
    assert neovim.line == "# before\t"
    assert neovim.accepted() is None


CHARACTERS = st.text(st.sampled_from("ab(é🦊 "), max_size=6)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    before=CHARACTERS,
    after=CHARACTERS,
    text=CHARACTERS,
    now=CHARACTERS,
    data=st.data(),
    encoding=st.sampled_from((8, 16, 32)),
)
def test_a_suggestion_fits_where_the_line_moved_towards_it_and_nowhere_else(
    scripted: "Neovim", before: str, after: str, text: str, now: str, data: Any, encoding: int
) -> None:
    """Oracle: what the line would have become at the moment of the request, on Python strings."""
    start = data.draw(st.integers(0, len(before)))
    stop = data.draw(st.integers(0, len(after)))
    if data.draw(st.booleans()):
        now = before[:start] + text[: data.draw(st.integers(0, len(text)))]

    def column(part: str) -> int:
        return len(part.encode(f"utf-{encoding}-le" if encoding > 8 else "utf-8")) * 8 // encoding

    answer = {
        "client": {"offset_encoding": f"utf-{encoding}"},
        "snapshot": {"row": 7, "before": before, "after": after},
    }
    item = {
        "insertText": text,
        "range": {
            "start": {"line": 7, "character": column(before[:start])},
            "end": {"line": 7, "character": column(before + after[:stop])},
        },
    }
    present = {"row": 7, "before": now, "after": after}
    fit = scripted.lua("return require('midspan.suggestion').fit(...)", answer, item, present)
    towards = now.startswith(before[:start]) and text.startswith(now[start:])
    assert (fit is not None) == towards
    if fit is not None:
        line = (now + after).encode()
        new = line[: fit["start"]] + fit["text"].encode() + line[fit["stop"] :]
        assert new.decode() == before[:start] + text + after[stop:]
    moved = {**present, "row": 8}
    assert scripted.lua("return require('midspan.suggestion').fit(...)", answer, item, moved) is None
