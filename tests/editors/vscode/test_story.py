"""The story of `story.py` in VS Code, with the packaged extension."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ..story import STEPS, Story
from .window import VSCode

pytestmark = pytest.mark.e2e

T = TypeVar("T")

CANCEL = ".notifications-toasts .notification-list-item-buttons-container .monaco-button"


class InVSCode:
    """A user of VS Code, as the story needs one."""

    def __init__(self, window: VSCode) -> None:
        self.window, self.recordings = window, window.recordings
        self.file = Path()

    def open(self, text: str, row: int) -> None:
        self.file = self.window.open(text, row + 1)
        self.window.press("End")

    def ready(self) -> None:
        self.window.ready()

    def suggestion(self, beginnings: tuple[str, ...], wanted: Callable[[str], Any]) -> str:
        return self.window.suggestion(beginnings, wanted)

    def type(self, text: str) -> None:
        self.window.type(text)

    def ghost(self) -> str:
        return self.window.ghost

    def screen(self) -> str:
        return "\n".join(self.window.screen)

    def holds(self, text: str) -> None:
        self.window.holds(self.file, text)

    def accept(self) -> None:
        self.window.press("Tab")

    def accept_word(self) -> None:
        self.window.press("ctrl+ArrowRight")

    def undo(self) -> None:
        self.window.press("ctrl+z", "Escape")

    def select(self, first: int, last: int) -> None:
        self.window.go(first + 1)
        self.window.press(*["shift+ArrowDown"] * (last - first), "shift+End")

    def choose(self, action: str) -> None:
        self.window.press("ctrl+alt+4")
        self.window.wait(lambda: not self.window.messages, "older messages to go")
        self.window.act(action)

    def cancel(self) -> None:
        window, there = self.window, f"!!document.querySelector({json.dumps(CANCEL)})"
        window.wait(lambda: window.page.look(there), "a way to cancel")

        def clicked() -> bool:  # it slides in, and a click may miss it
            window.page.click(CANCEL)
            return window.wait(lambda: not window.page.look(there), "it to go", patience=0.5, fail=False)

        window.wait(clicked, "the click to be taken")

    def said(self) -> str:
        return "\n".join(self.window.messages)

    def servers(self) -> list[int]:
        return self.window.servers()

    def wait(self, condition: Callable[[], T], what: str, patience: float = 60.0, fail: bool = True) -> T:
        return self.window.wait(condition, what, patience, fail)


@pytest.fixture(scope="module")
def story(window: VSCode) -> Story:
    return Story(InVSCode(window))


@pytest.mark.parametrize("step", STEPS)
def test_someone(story: Story, step: str) -> None:
    story.play(step)
