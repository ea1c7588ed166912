"""What someone sees who writes Python in Emacs with eglot, which has no ghost text: completion at point takes the fill.

The bundled model fills; which code it writes is not asserted, only that it stands at point and nothing else changed.
"""

import re
from collections.abc import Callable
from itertools import count

import psutil
import pytest

from ..sample import ASTRAL, BRACKETS, HEADS, INDENTATION, PLAIN, ROW, accepted, lines_with, lines_with_empty_body
from .conftest import lisp_of
from .window import Emacs

pytestmark = pytest.mark.e2e

# An Emacs that waits for a model on a busy machine; how often completion at point has ended, and the last answer.
PATIENT = """
(require 'jsonrpc)
(setq jsonrpc-default-request-timeout 60)
(defvar asked 0)
(defvar answer nil)
(advice-add 'eglot--request :filter-return (lambda (value) (setq answer value)))
(advice-add 'completion-at-point :after (lambda (&rest _) (setq asked (1+ asked))))
"""
_files = count(1)


@pytest.fixture(scope="module")
def emacs(start_emacs: Callable[[str], Emacs]) -> Emacs:
    return start_emacs(lisp_of("eglot") + PATIENT)


def opened(emacs: Emacs, text: str, point: int) -> str:
    name = f"sample{next(_files)}.py"
    emacs.open(name, text, point)
    emacs.wait(lambda: emacs.eval("(if (eglot-managed-p) t nil)"), "the server to know the file")
    return name


def completed(emacs: Emacs) -> str | None:
    """Ask at point; the preview of what was taken, or None if there was nothing to take."""
    asked = emacs.eval("asked")
    emacs.terminal.keys("\x1b\t")  # M-TAB
    emacs.wait(lambda: emacs.eval("asked") > asked, "completion at point to end")
    previews = emacs.eval(
        "(vconcat (mapcar (lambda (one) (plist-get (plist-get one :documentation) :value)) (plist-get answer :items)))"
    )
    assert len(previews) < 2
    return re.sub(r"\A```python\n(.*)\n```\Z", r"\1", previews[0], flags=re.DOTALL) if previews else None


@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize(
    ("beginnings", "after"),
    [(PLAIN, ""), (ASTRAL, ""), (BRACKETS, ")")],
    ids=["end of line", "astral", "between brackets"],
)
def test_completion_at_point_takes_the_fill_and_changes_nothing_else(
    emacs: Emacs, beginnings: tuple[str, ...], after: str, ending: str
) -> None:
    for beginning in beginnings:
        lines = lines_with(after)
        name = opened(emacs, ending.join(lines), len("\n".join(lines[:ROW])) + 1 + len(INDENTATION))
        emacs.type(beginning)
        preview = completed(emacs)
        if preview is None:
            continue
        assert preview.startswith(beginning)
        promised = "\n".join(accepted(lines_with(beginning + after), ROW, preview))
        place = emacs.place()
        assert place.text == promised
        assert promised[place.point :] == after + "".join("\n" + line for line in lines[ROW + 1 :]), (
            "point is misplaced"
        )
        assert emacs.saved(name) == promised.replace("\n", ending)
        return
    pytest.fail("nothing was ever taken")


def test_several_lines_are_taken_at_once(emacs: Emacs) -> None:
    for head in HEADS:
        lines = lines_with_empty_body(head)
        text = "\n".join(lines)
        opened(emacs, text, len(text) - 1)
        preview = completed(emacs)
        if preview and "\n" in preview:
            assert emacs.place().text == "\n".join(accepted(lines, len(lines) - 2, preview))
            return
    pytest.fail("no fill of several lines")


def test_the_server_ends_when_the_editor_is_killed(emacs: Emacs) -> None:
    """Last of all, since it ends the Emacs of this module."""
    opened(emacs, "\n".join(lines_with("")), 0)
    servers = emacs.servers()
    assert servers
    emacs.terminal.kill()
    assert not psutil.wait_procs(servers, timeout=15)[1]
