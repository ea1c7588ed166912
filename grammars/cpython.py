"""What CPython refuses and tree-sitter lets pass: indentation, targets of assignments, order of arguments, keywords as
names, `return` outside of a function.

tree-sitter reads Python as a highlighter needs it; the user runs it. The interpreter at hand judges a window's text
(`compile`; nothing is run). Its version need not be the user's, and the text around an edit is often unfinished, so a
refusal counts only where that text is accepted with something else in place of the edit. Knows nothing of trees.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import lru_cache

STAND_INS = ("x", "", "x()", "x in x", "x import x")
"""What is tried in place of an edit to see whether the text around it is sound, within a line."""

ENDS = ("x", "", "{}", "x{}", "x(){}", "){}")
"""The same at the end of a line, {} being the colon of a header, and a body where none stands below."""

BREAKS = ("\r\n", "\n")

MAX_LENGTH = 8_192
"""Code points above which a text is not judged: a compile costs about 0.15 µs each."""

_HEADER = re.compile(r"(.*:)[ \t]*(?:#.*)?\Z")


@dataclass(frozen=True)
class Refusal:
    """Code points [start, end) of the text that CPython points at, and its words."""

    start: int
    end: int
    message: str


def refusal(text: str) -> Refusal | None:
    """What CPython says against `text`; None if it compiles, or cannot be judged."""
    if len(text) > MAX_LENGTH or "\0" in text:
        return None
    # The compiler counts lines at \n, \r\n and \r, and so do we; it drops a byte order mark.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, "<window>", "exec", dont_inherit=True, optimize=0)
    except SyntaxError as error:
        if error.msg is None or "nonlocal" in error.msg:
            return None  # the binding may stand outside of the window
        return _placed(text, error)
    except (ValueError, RecursionError, MemoryError, OverflowError):
        return None
    return None


def refused(before: str, start: int, end: int, fill: str, *, waits: bool) -> Refusal | None:
    """What CPython has against `fill` in place of before[start:end], and had not against everything else there.

    waits: a fill of one line that ends in a header may do so without the body.
    """
    head, tail = before[:start], before[end:]
    found = refusal(head + fill + tail)
    if found is None:
        return None
    line_start = head.rfind("\n") + 1
    header = _HEADER.match(head[line_start:] + fill) if waits and not tail.partition("\n")[0].strip() else None
    if header is not None and refusal(head[:line_start] + header[1] + " pass" + tail) is None:
        return None
    # A line break that the edit leaves where it was belongs to what is around it.
    kept = next((each for each in BREAKS if fill.endswith(each) and before[start:end].endswith(each)), "")
    return found if _sound(head, kept + tail) else None


@lru_cache(maxsize=8)
def _sound(head: str, tail: str) -> bool:
    rest, _, below = tail.partition("\n")
    if rest.strip():
        return any(refusal(head + stand_in + tail) is None for stand_in in STAND_INS)
    body = next((line for line in below.split("\n") if line.strip()), "")
    line = head.rpartition("\n")[2]
    deeper = len(body) - len(body.lstrip()) > len(line) - len(line.lstrip())
    return any(refusal(head + stand_in.format(":" if deeper else ": pass") + tail) is None for stand_in in ENDS)


def _placed(text: str, error: SyntaxError) -> Refusal:
    lines = re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text)
    row = min(max((error.lineno or 1) - 1, 0), len(lines))
    begin = sum(map(len, lines[:row]))
    start = min(len(text), begin + max((error.offset or 1) - 1, 0))
    end = start
    if error.end_lineno and error.end_offset and error.end_lineno >= (error.lineno or 1):
        end_row = min(error.end_lineno - 1, len(lines))
        end = sum(map(len, lines[:end_row])) + max(error.end_offset - 1, 0)
    return Refusal(start, max(start, min(len(text), end)), error.msg or "")
