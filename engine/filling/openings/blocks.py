"""A missing header of a block: the lines below stand further in, and what stands before and behind the block says what
may open it."""

from __future__ import annotations

import re

from .line import MissingLine, Opening, margin, nearest

BLOCK = "block"

_WORD = re.compile(r"(?:async\s+)?([a-z]+)\b")
_BY_COLON = re.compile(r":[ \t]*$", re.MULTILINE)
_BY_BRACE = re.compile(r"\{[ \t]*$", re.MULTILINE)
_NEXT = {"if": ("else:", "elif"), "elif": ("else:", "elif"), "try": ("except",), "except": ("except", "else:")}


def blocks(line: MissingLine, limit: int = 2) -> list[Opening]:
    """`try:`, `else:`, `if` and the like inside of a function, in languages whose blocks begin with a colon."""
    if line.inner <= line.margin or line.header is None or line.up.endswith((",", "(", "[", "{")):
        return []
    if len(_BY_COLON.findall(line.whole)) <= len(_BY_BRACE.findall(line.whole)):
        return []
    before, after = _before(line), _after(line)
    found: list[str] = []
    if after in ("except", "finally"):
        found += ["except"] if before in ("try", "except") else ["try:"]
    elif after == "else" and before in ("try", "except"):
        found.append("except")
    elif after in ("elif", "else"):
        found.append("elif" if before in ("if", "elif") else "if")
    else:
        found += _NEXT.get(before, ())
    found += [] if before in ("try", "except") else ["if"]
    return [_opening(line.blank, text) for text in dict.fromkeys(found[:limit])]


def _opening(blank: str, text: str) -> Opening:
    return Opening(BLOCK, "", blank + text) if text.endswith(":") else Opening(BLOCK, blank + text)


def _before(line: MissingLine) -> str:
    """What opened the block that ends right above the gap; empty if none does."""
    last = nearest(reversed(line.above))
    if margin(last) <= line.margin:
        return ""
    opener = next((one for one in reversed(line.above) if one.strip() and margin(one) <= line.margin), "")
    return _word(opener) if margin(opener) == line.margin else ""


def _after(line: MissingLine) -> str:
    """What the first line begins with that stands as far in as the gap, if the block below ends with it."""
    following = next((one for one in line.below if one.strip() and margin(one) <= line.margin), "")
    return _word(following) if margin(following) == line.margin else ""


def _word(text: str) -> str:
    match = _WORD.match(text.lstrip())
    return match[1] if match else ""
