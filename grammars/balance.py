"""Brackets, quotes and comments read straight off a run of text: what works where there is no tree to trust.

Knows a language's comment and literal patterns and nothing else of it. One pass over at most a window of text, so its
cost does not grow with the document. A run is taken to begin in code; it may end inside a string or comment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from .languages import Language

WINDOW = 4096
"""Code points read on each side of a cursor."""

OPENERS = {"(": ")", "[": "]", "{": "}"}
CLOSERS = {closer: opener for opener, closer in OPENERS.items()}


@dataclass(frozen=True)
class Balance:
    """What one run holds; all positions are code point offsets into the text it was taken from."""

    open: tuple[int, ...]  # brackets still open at the end, outermost first
    strays: tuple[int, ...]  # closers that nothing opened, and quotes that are never closed
    pairs: dict[int, int]  # closer → its opener
    comments: tuple[tuple[int, int], ...]
    inside: str  # what the end of the run stands in: "" (code), "comment" or "string"
    inside_start: int  # where that begins


def balance(text: str, start: int, end: int, language: Language) -> Balance:
    """Read text[start:end], which begins in code."""
    opened: list[int] = []
    strays: list[int] = []
    pairs: dict[int, int] = {}
    comments: list[tuple[int, int]] = []
    inside, inside_start = "", end
    for match in _tokens(language).finditer(text, start, end):
        kind = match.lastgroup or ""
        first, last = match.span()
        if kind == "bracket":
            opener = CLOSERS.get(text[first])
            if opener is None:
                opened.append(first)
            elif opened and text[opened[-1]] == opener:
                pairs[first] = opened.pop()
            else:
                _mismatched(text, first, opener, opened, strays, pairs)
        elif kind in ("line", "block", "unclosed"):
            comments.append((first, last))
            if last == end and kind != "block":
                inside, inside_start = "comment", first
        elif kind.startswith("broken"):
            strays.append(first)
            if last == end:
                inside, inside_start = "string", first
    return Balance(tuple(opened), tuple(strays), pairs, tuple(comments), inside, inside_start)


def skip_blank(text: str, start: int, end: int, language: Language) -> int:
    """The offset of the first code in text[start:end], past blank space and comments; `end` if there is none."""
    match = _blank(language).match(text, start, end)
    return match.end() if match else start


def line_start(text: str, offset: int) -> int:
    """Where the line of `offset` begins. Lines end at a line feed, a carriage return, or both, as in LSP."""
    after_feed = text.rfind("\n", 0, offset) + 1
    return max(after_feed, text.rfind("\r", after_feed, offset) + 1)


def line_end(text: str, offset: int) -> int:
    """Where the line of `offset` ends, before its line break."""
    feed = text.find("\n", offset)
    feed = len(text) if feed < 0 else feed
    carriage = text.find("\r", offset, feed)
    return feed if carriage < 0 else carriage


def _mismatched(text: str, at: int, opener: str, opened: list[int], strays: list[int], pairs: dict[int, int]) -> None:
    """A closer whose opener is not the last one: what stands open in between was never closed."""
    for i in range(len(opened) - 1, -1, -1):
        if text[opened[i]] == opener:
            strays.extend(opened[i + 1 :])
            pairs[at] = opened[i]
            del opened[i:]
            return
    strays.append(at)


@lru_cache(maxsize=128)
def _tokens(language: Language) -> re.Pattern[str]:
    parts = []
    if language.block_comment:  # first: in Lua its opener begins as a line comment does
        opener, closer = map(re.escape, language.block_comment)
        parts.append(rf"(?P<block>{opener}[\s\S]*?{closer})|(?P<unclosed>{opener}[\s\S]*)")
    if language.line_comments:
        parts.append(f"(?P<line>{_line_comment(language)})")
    elif not language.known:
        parts.append(r"(?P<line>^[ \t]*(?://|--|;|#(?=[\s#!])|%(?=\s))[^\r\n]*)")
    for i, (whole, broken) in enumerate(language.literals):
        parts.append(f"(?P<whole{i}>{whole})|(?P<broken{i}>{broken})")
    parts.append(r"(?P<bracket>[()\[\]{}])")
    return re.compile("|".join(parts), re.MULTILINE)


@lru_cache(maxsize=128)
def _blank(language: Language) -> re.Pattern[str]:
    parts = [r"\s+"]
    if language.block_comment:
        opener, closer = map(re.escape, language.block_comment)
        parts.append(rf"{opener}[\s\S]*?{closer}")
    if language.line_comments:
        parts.append(_line_comment(language))
    return re.compile(f"(?:{'|'.join(parts)})*")


def _line_comment(language: Language) -> str:
    markers = "|".join(map(re.escape, language.line_comments))
    return rf"{language.comment_guard}(?:{markers})[^\r\n]*"
