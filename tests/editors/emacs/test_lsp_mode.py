"""What someone sees who writes Python in Emacs with lsp-mode 10: real keys are typed, ghost text comes by itself.

The bundled model fills; which code it writes is not asserted, only that the buffer becomes what the screen promised.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import psutil
import pytest

from ..sample import ASTRAL, BRACKETS, HEADS, INDENTATION, LETTERS, PLAIN, ROW, lines_with, lines_with_empty_body
from .conftest import lisp_of
from .window import Emacs, Place

pytestmark = pytest.mark.e2e

# What a package manager would have done; an Emacs that waits for a model on a busy machine, and asks nothing about
# folders; how often inline completion has ended.
BEFORE = """
(unless (load "lsp-mode-autoloads" t) (message "no lsp-mode"))
(setq lsp-response-timeout 60 lsp-enable-snippet nil lsp-auto-guess-root t lsp-restart 'ignore)
(setq lsp-session-file (expand-file-name "session" server-socket-dir))
(defun project-root-override (folder) (cons 'transient folder))
(setq project-find-functions '(project-root-override))
"""
AFTER = """
;; Else another server that happens to be on the path comes along, ruff's say, and its panics stop the keys.
(setq lsp-enabled-clients '(midspan))
(defvar asked 0)
(advice-add 'lsp-inline-completion-display :after (lambda (&rest _) (setq asked (1+ asked))))
"""
_files = count(1)


@pytest.fixture(scope="module")
def emacs(start_emacs: Callable[[str], Emacs]) -> Emacs:
    emacs = start_emacs(BEFORE + f'(when (locate-library "lsp-inline-completion") {lisp_of("lsp-mode")} {AFTER})')
    if not emacs.eval('(if (locate-library "lsp-inline-completion") t nil)'):
        pytest.skip("this Emacs has no lsp-mode 10: see .ci/fetch-emacs")
    return emacs


@dataclass
class Shown:
    """Ghost text: in which file, the buffer without it, and the buffer's text as the user sees it."""

    name: str
    before: Place
    promised: str

    @property
    def ghost(self) -> str:
        return self.promised[self.before.point : len(self.promised) - len(self.before.text) + self.before.point]


def opened(emacs: Emacs, text: str, point: int) -> str:
    name = f"sample{next(_files)}.py"
    emacs.open(name, text, point)
    emacs.wait(lambda: emacs.eval("(bound-and-true-p lsp-inline-completion-mode)"), "inline completion to be on")
    return name


def answered(emacs: Emacs, keys: Callable[[], object]) -> str | None:
    """The ghost text that follows these keys, if there is any."""
    asked = emacs.eval("asked")
    keys()
    emacs.wait(lambda: emacs.eval("asked") > asked, "an answer")
    return emacs.ghost()


def typed(emacs: Emacs, *beginnings: str, after: str = "", ending: str = "\n", letters: bool = False) -> Shown:
    """Type these beginnings of a line in turn, each in a new file, until one gets ghost text.

    letters: that begins with two of them.
    """
    tried: list[str] = []
    for beginning in beginnings:
        lines = lines_with(after)
        start = len("\n".join(lines[:ROW])) + 1 + len(INDENTATION)
        name = opened(emacs, ending.join(lines), start)
        text = "\n".join(lines)
        before = Place(text[:start] + beginning + text[start:], start + len(beginning))
        ghost = answered(emacs, lambda beginning=beginning: emacs.terminal.keys(beginning))
        shown = Shown(name, before, ghost or "")
        if ghost and (not letters or shown.ghost[:2].isalpha()):
            return shown
        tried.append(f"{beginning}║{after}: {ghost}")
        emacs.terminal.keys("\x07")
    pytest.fail("no ghost text anywhere:\n" + "\n".join(tried))


def accept(emacs: Emacs) -> None:
    emacs.terminal.keys("\t")
    emacs.wait(lambda: emacs.ghost() is None, "the ghost text to be taken")


@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize(
    ("beginnings", "after"),
    [(PLAIN, ""), (ASTRAL, ""), (BRACKETS, ")")],
    ids=["end of line", "astral", "between brackets"],
)
def test_accepting_makes_the_buffer_what_the_screen_promised(
    emacs: Emacs, beginnings: tuple[str, ...], after: str, ending: str
) -> None:
    shown = typed(emacs, *beginnings, after=after, ending=ending)
    assert emacs.place().text == shown.before.text, "nothing has changed yet"
    assert shown.before.holds(shown.promised)
    assert not after or not shown.ghost.endswith(after), "the bracket stands there already"
    accept(emacs)
    assert emacs.place().text == shown.promised
    assert emacs.saved(shown.name) == shown.promised.replace("\n", ending)


def test_one_undo_takes_back_what_was_accepted(emacs: Emacs) -> None:
    shown = typed(emacs, *PLAIN)
    accept(emacs)
    emacs.terminal.keys("\x1f")  # C-_
    emacs.wait(lambda: emacs.place().text != shown.promised, "the undo")
    assert emacs.place().text == shown.before.text


def test_typing_what_the_ghost_text_says_shows_the_rest_of_it(emacs: Emacs) -> None:
    shown = typed(emacs, *LETTERS, letters=True)
    for character in shown.ghost[:2]:
        assert answered(emacs, lambda character=character: emacs.terminal.keys(character)) == shown.promised
    accept(emacs)
    assert emacs.place().text == shown.promised


def test_dismissed_ghost_text_leaves_what_was_typed(emacs: Emacs) -> None:
    shown = typed(emacs, *PLAIN)
    # Emacs takes a C-g that comes while it is busy for itself, and lsp-mode shows its ghost text anew when idle.
    delay = emacs.eval("lsp-inline-completion-idle-delay")
    emacs.eval("(setq lsp-inline-completion-idle-delay 3600)")
    until = time.monotonic() + 60
    while emacs.ghost() is not None and time.monotonic() < until:
        emacs.terminal.keys("\x07")  # C-g
        settle = time.monotonic() + 2
        while emacs.ghost() is not None and time.monotonic() < settle:
            time.sleep(0.05)
    gone, place = emacs.ghost() is None, emacs.place()
    emacs.eval(f"(setq lsp-inline-completion-idle-delay {delay})")
    assert gone
    assert place == shown.before


def test_asked_for_in_an_empty_body_it_shows_alternatives_of_several_lines(emacs: Emacs) -> None:
    counts: list[int] = []
    for head in HEADS:
        text = "\n".join(lines_with_empty_body(head))
        opened(emacs, text, len(text) - 1)
        before = emacs.place()
        ghost = answered(emacs, lambda: emacs.terminal.keys("\x1bxlsp-inline-completion-display\r"))
        if ghost is None:
            continue
        counts.append(emacs.eval("(length lsp-inline-completion--items)"))
        assert before.holds(ghost)
        if counts[-1] > 1:
            emacs.terminal.keys("\x0e")  # C-n
            emacs.wait(lambda ghost=ghost: emacs.ghost() not in (None, ghost), "the next alternative")
            ghost = emacs.ghost()
            accept(emacs)
            assert emacs.place().text == ghost
            return
        emacs.terminal.keys("\x07")
    pytest.fail(f"there is never an alternative: {counts}")


def test_the_server_ends_with_the_editor(emacs: Emacs) -> None:
    """Last of all, since it ends the Emacs of this module."""
    opened(emacs, "\n".join(lines_with("")), 0)
    servers = emacs.servers()
    assert servers
    emacs.terminal.keys("\x1bxkill-emacs\r")
    assert not psutil.wait_procs(servers, timeout=15)[1]
