"""The story of `story.py` in Neovim, with the plugin."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from .story import STEPS, Story, recording_server

if TYPE_CHECKING:
    from .conftest import Ghost, Neovim

pytestmark = pytest.mark.e2e

T = TypeVar("T")


# The menu of code actions, which a user's own picker shows.
PICKER = """
vim.ui.select = function(items, options, choose)
  local format = options.format_item or tostring
  _G.menu = { titles = vim.tbl_map(format, items), choose = function(n) choose(items[n], n) end }
end
"""


class InNeovim:
    """A user of Neovim, as the story needs one."""

    def __init__(self, neovim: "Neovim", recordings: Path) -> None:
        self.neovim, self.recordings = neovim, recordings
        self.file = Path()

    def open(self, text: str, row: int) -> None:
        self.file = self.neovim.open(text)
        self.neovim.rpc.current.window.cursor = (row + 1, 0)
        self.neovim.keys("A")
        self.neovim.settle()

    def ready(self) -> None:
        self.neovim.ready()

    def suggestion(self, beginnings: tuple[str, ...], wanted: Callable[[str], Any]) -> str:
        def will_do(ghost: "Ghost") -> Any:
            return wanted(ghost.text)

        return self.neovim.suggestion(*beginnings, wanted=will_do).text

    def type(self, text: str) -> None:
        self.neovim.keys(text.replace("<", "<lt>"))
        self.neovim.settle()

    def ghost(self) -> str:
        ghost = self.neovim.ghost()
        return ghost.text if ghost else ""

    def screen(self) -> str:
        ghost, lines = self.neovim.ghost(), self.neovim.lines
        return "\n".join([*(ghost.applied(lines) if ghost else lines), ""])

    def holds(self, text: str) -> None:
        self.neovim.rpc.command("silent write")
        assert self.file.read_bytes().decode() == text

    def accept(self) -> None:
        self.neovim.keys("<Tab>")
        self.neovim.settle()

    def accept_word(self) -> None:
        self.neovim.keys("<M-Right>")
        self.neovim.settle()

    def undo(self) -> None:
        self.neovim.keys("<Esc>u")
        self.neovim.settle()

    def select(self, first: int, last: int) -> None:
        self.neovim.keys(f"<Esc>{first + 1}GV{last + 1}G")
        self.neovim.settle()

    def choose(self, action: str) -> None:
        self.neovim.lua("_G.menu = nil; vim.cmd('messages clear')")
        self.neovim.keys("gra")
        titles = self.wait(lambda: self.neovim.lua("return _G.menu and _G.menu.titles"), "the menu")
        assert action in titles
        self.neovim.lua("_G.menu.choose(...)", titles.index(action) + 1)

    def cancel(self) -> None:
        pending = """for _, client in ipairs(vim.lsp.get_clients()) do
          for _, request in pairs(client.requests) do
            if request.type == 'pending' and request.method == 'codeAction/resolve' then return true end
          end
        end"""
        self.wait(lambda: self.neovim.lua(pending), "the server to be asked")
        self.neovim.rpc.command("Midspan cancel")

    def said(self) -> str:
        return self.neovim.messages()

    def servers(self) -> list[int]:
        return self.neovim.servers()

    def wait(self, condition: Callable[[], T], what: str, patience: float = 60.0, fail: bool = True) -> T:
        return self.neovim.wait(condition, what, patience, fail)


@pytest.fixture(scope="module")
def story(
    start_neovim: Callable[[str], "Neovim"],
    set_up: Callable[[Path], str],
    server: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Story:
    recordings = tmp_path_factory.mktemp("recordings")
    return Story(InNeovim(start_neovim(PICKER + set_up(recording_server(server, recordings))), recordings))


@pytest.mark.parametrize("step", STEPS)
def test_someone(story: Story, step: str) -> None:
    story.play(step)
