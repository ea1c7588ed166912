"""Lines of a text, where a line ends at `\\n`, `\\r\\n` and `\\r` and nowhere else. Pure; offsets are code points."""

import re

_END = re.compile(r"[\r\n]")


def line_start(text: str, offset: int) -> int:
    return max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1


def line_end(text: str, offset: int) -> int:
    """End, without its ending, of the line `offset` is in."""
    match = _END.search(text, offset)
    return match.start() if match else len(text)


def line_ending(text: str) -> str:
    """The ending of the first line: what a new line in this document gets."""
    newline = text.find("\n")
    if newline > 0 and text[newline - 1] == "\r":
        return "\r\n"
    return "\r" if newline < 0 and "\r" in text else "\n"


def plain(text: str) -> str:
    """With "\\n" for every line ending, the only one the engine knows."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def common_prefix(one: str, other: str, most: int | None = None) -> int:
    """Length of the common prefix, by bisection over C-speed comparisons."""
    low, high = 0, min(len(one), len(other)) if most is None else most
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
