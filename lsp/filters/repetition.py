"""Filters against saying twice what stands there: left of the cursor, right of it, below, above, or in the text itself.

Each is a `Filter`. Pure; knows nothing of languages.
"""

import re

from .surroundings import Surroundings, filled_lines, leading, width

_PAIRS = {")": "(", "]": "[", "}": "{"}
_QUOTES = "\"'`"
_WORD = re.compile(r"[\w$]{2,}\Z")
_NAME = re.compile(r"[\w$]+")
_LETTER = re.compile(r"[^\W\d_]")
_CLOSERS = re.compile(r"\s*([)\]}]+)")
BELOW = 8  # lines below that a text's end is compared with
STUTTER = 3  # times in a row that one line is a loop of the model


def retyped_prefix(text: str, around: Surroundings) -> str | None:
    """Begin after what is typed already: all of the cursor's line, or the word that it ends in."""
    head = around.before.strip()
    begun = text.lstrip(" \t")
    if len(head) >= 2 and _NAME.search(head) and begun.startswith(head) and begun != head:
        rest = begun[len(head) :]
        return rest.lstrip(" \t") if around.before[-1:].isspace() else rest
    typed, name = _WORD.search(around.before), _NAME.match(text)
    if typed and name and name[0].startswith(typed[0]) and name[0] != typed[0]:
        return text[len(typed[0]) :]
    return text


def repeated_rest(text: str, around: Surroundings) -> str | None:
    """Drop an ending that the rest of the line already says: `a, b)` before `):` becomes `a, b`.

    A closing bracket or quote is dropped only where the text has no opening one for it: `f(a)` before `)` stays. Where
    the text goes on behind all of the rest, it has left its place: `a) {` and more before `) {` becomes `a`.
    """
    rest = around.rest
    for length in range(min(len(text), len(rest)), 0, -1):
        tail = rest[:length]
        if tail.strip() and text.endswith(tail) and _superfluous(text, tail):
            return text[:-length]
    whole = rest.strip()
    if len(whole) >= 2 and any(char in whole for char in (*_PAIRS, *_QUOTES)):
        at = text.find(whole)
        if at >= 0 and _superfluous(text[: at + len(whole)], whole):
            return text[:at]
    return text


def repeated_lines(text: str, around: Surroundings) -> str | None:
    """Stop before the first line below, and drop last lines that stand below; a text that begins so is no suggestion.

    A line deeper or less deep than the one below is another: `return x` in a branch stays above `return x`.
    """
    below = filled_lines(around.following)[:BELOW]
    lines = (around.before + text).split("\n")
    whole = [*lines[:-1], lines[-1] + around.rest]

    def same(i: int, other: str) -> bool:
        equal = whole[i].strip() == other.strip() and bool(_LETTER.search(other))
        return equal and (i == 0 or width(leading(whole[i])) == width(leading(other)))

    for i in range(len(whole) if below else 0):
        if same(i, below[0]):
            return "\n".join(lines[:i])[len(around.before) :] if i else None
    for length in range(min(len(lines), len(below)), 0, -1):
        tail = [line.strip() for line in lines[-length:]]
        if tail == [line.strip() for line in below[:length]] and any(char.isalnum() for char in "".join(tail)):
            if length < len(lines) and width(leading(lines[-length])) != width(leading(below[0])):
                continue
            kept = lines[:-length]
            return "\n".join(kept)[len(around.before) :] if kept else None
    return text


def repeated_closers(text: str, around: Surroundings) -> str | None:
    """Drop last brackets that close what the text did not open where the next line closes it."""
    closers = _CLOSERS.match(around.following)
    if around.rest.strip() or not closers or not _NAME.search(text):
        return text
    said = text.rstrip(" \t\n;,")
    line = around.before + said
    surplus = {closer: line.count(closer) - line.count(opener) for closer, opener in _PAIRS.items()}
    for length in range(len(closers[1]), 0, -1):
        run = closers[1][:length]
        if said.endswith(run) and all(surplus[closer] >= run.count(closer) for closer in run):
            return said[:-length].rstrip(" \t\n")
    return text


def repeated_neighbours(text: str, around: Surroundings) -> str | None:
    """On a blank line, lines that are just those above once more are no suggestion."""
    lines = [line.strip() for line in filled_lines(text)]
    above = [line.strip() for line in filled_lines(around.above)]
    if lines and around.on_blank_line and lines == above[-len(lines) :] and _LETTER.search("".join(lines)):
        return None
    return text


def stutter(text: str, around: Surroundings) -> str | None:
    """Stop where one line is said over and over."""
    lines = text.split("\n")
    for i in range(len(lines) - STUTTER + 1):
        if _LETTER.search(lines[i]) and len({line.strip() for line in lines[i : i + STUTTER]}) == 1:
            return "\n".join(lines[: i + 1])
    return text


def _superfluous(text: str, tail: str) -> bool:
    """Whether `text` is better balanced without its ending `tail`."""
    for closing, opening in _PAIRS.items():
        if closing in tail and text.count(closing) <= text.count(opening):
            return False
    return not any(quote in tail and text.count(quote) % 2 == 0 for quote in _QUOTES)
