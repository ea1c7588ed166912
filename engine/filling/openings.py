"""How a missing line may begin: by declaring a name that the lines below it use and nothing above it declares.

Only who sees both sides of a gap can know that. Read off the text alone: what is a block is told by indentation, how
this file declares names by counting. Knows nothing of networks, tokens or any one language's syntax.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

OPENING = "opening"
"""Who proposed a text: a line that begins by declaring what is used below."""

OPENERS = (":", "{", "(", "[")
REACH = 20_000  # characters on either side of the gap that are read
LONGEST_LIST = 80  # characters of names that are declared together
LINES_BELOW = 40  # of the gap's block, in which names may be used

_WORD = re.compile(r"(?<![\w.$@])[A-Za-z_]\w*")
_STRINGS = re.compile(r"\"\"\"[\s\S]*?(?:\"\"\"|\Z)|'''[\s\S]*?(?:'''|\Z)|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'")
_COMMENTS = re.compile(r"/\*[\s\S]*?(?:\*/|\Z)|(?:#|//|--(?!\s*\w+\s*[;)])|^[ \t]*\*).*", re.MULTILINE)
_LISTED = re.compile(r"[ \t]+[\w$]+(?: as \w+)?,?")  # a line of an import or of parameters that goes over several
_LOOPED = re.compile(r"\bfor \(?((?:\w+, )*\w+)\)? in\b")
_CALLED = re.compile(r"\s*[(`!]")
_BINDS_AFTER = re.compile(r"[ \t]*(?::[^=\n()]{0,80})?(?:=(?![=>])|:=)|[ \t]*:\s")
_BINDS_BEFORE = re.compile(
    r"(?:\b(?:for|as|def|class|function|fn|func|fun|import|const|let|var|val|auto|local|my|lambda|global|nonlocal|catch)"
    r"\s+\(?(?:\w+,\s*)*)$"
)
_FUNCTION = re.compile(r"\b(?:def|function|func|fn|fun|sub|lambda)\b|=>|\)[^()]*\{\s*$")
_CONTROL = re.compile(r"\s*[})]*\s*(?:if|else|elif|for|while|switch|match|case|with|try|catch|except|do)\b")
_DECLARED = re.compile(r"^[ \t]*(?:(const|let|var|val|auto|local|my)\s+)?[A-Za-z_]\w*\s*(:?=)(?![=>])", re.MULTILINE)

_CHANGED = r"\s*(?:[-+*/%&|^]?=(?![=>])|\+\+|--)"
_DECLARATION = re.compile(_DECLARED.pattern + r".*\S", re.MULTILINE)
_LOOPS = re.compile(r"^[ \t]*(for \(?(?:const |let |var )?)[A-Za-z_]\w* (in|of) ", re.MULTILINE)

_OTHERS = """
    self cls this super null true false undefined nil new typeof instanceof void delete throw throws case switch default
    do function fn func fun let const var val auto mut match loop impl struct enum interface type use export extends
    implements public private protected static final abstract override package namespace arguments module exports
    require process console document window string number boolean int float double
"""
WORDS = frozenset((*keyword.kwlist, *dir(builtins), *_OTHERS.split()))
"""Words that a line of code does not declare, in none of the languages that have them."""

VALUES = (
    (re.compile(r"\.(?:append|extend|insert|push|unshift)\("), "[]"),
    (re.compile(r"\s*\+=\s*(?:[fr]?[\"'`]|str\()"), '""'),
    (re.compile(r"\s*\*="), "1"),
    (re.compile(r"\s*(?:[+-]=|\+\+|--)"), "0"),
)
"""How a name is used below, and what it must then be to begin with: in most languages written alike."""


@dataclass(frozen=True)
class Opening:
    """text: how the line begins. line: the whole of it, where the uses below say what it is; else empty."""

    text: str
    line: str = ""


def openings(prefix: str, suffix: str, limit: int = 2) -> list[Opening]:
    """Beginnings of the line that is missing between `prefix` and `suffix`, `name =` in the file's own manner, or
    `for name in` where the next line is further in, for the names that are used first below it. None where the line
    has text, or the file declares nothing that could be followed."""
    before, after = prefix[-REACH:], suffix[:REACH]
    head = before[before.rfind("\n") + 1 :]
    rest, _, below = after.partition("\n")
    if head.strip() or rest.strip() or _in_prose(before, suffix):
        return []
    above, lines = before.split("\n")[:-1], below.split("\n")
    margin, inner = _margins(above, head, lines)
    whole = before + "\n" + after
    manner = _loop(whole) if inner > margin else _manner(whole)
    if manner is None or inner < margin:
        return []
    code = _code("\n".join(_block(lines, inner)))
    outer, scope = _scope(above, margin)
    seen = WORDS | set(_WORD.findall(_code(scope))) | _known(outer) | _declared(_outermost(below))
    names = [name for name in dict.fromkeys(_used(code)) if name not in seen]
    blank = "" if head else _blank(above, lines, margin)
    found = []
    for name in names[:limit]:
        opening = blank + manner.format(name)
        if opening.lstrip().startswith("const ") and re.search(rf"(?<![\w.]){name}{_CHANGED}", code):
            opening = opening.replace("const ", "let ", 1)
        value = "" if inner > margin else _value(name, code)
        found.append(Opening(opening, f"{opening} {value}{_ending(whole)}" if value else ""))
    return found


def _in_prose(before: str, below: str) -> bool:
    """Whether the gap is in a docstring or a block comment, as far as their marks say."""
    if before.count('"""') % 2 or before.count("'''") % 2:
        return True
    if below.count('"""') % 2 or below.count("'''") % 2:
        return True
    end, start = below.find("*/"), below.find("/*")
    return end >= 0 and not 0 <= start < end


def _margins(above: list[str], head: str, below: list[str]) -> tuple[int, int]:
    """Indentation of the gap's line, as far as it can be told, and of the next line of code."""
    inner = _margin(next((line for line in below if line.strip()), ""))
    if head:
        return len(head), inner
    last = next((line for line in reversed(above) if line.strip()), "")
    return (inner if last.rstrip().endswith(OPENERS) else min(_margin(last), inner)), inner


def _blank(above: list[str], below: list[str], margin: int) -> str:
    """The indentation of the gap's line, as a line beside it has it."""
    for line in (*below, *reversed(above)):
        if line.strip() and _margin(line) >= margin:
            return line[:margin]
    return ""


def _margin(line: str) -> int:
    return len(line) - len(line.lstrip())


def _code(text: str) -> str:
    return _COMMENTS.sub("", _STRINGS.sub('""', text))


def _block(lines: list[str], margin: int) -> Iterator[str]:
    """The lines below as far as the gap's block goes."""
    for line in lines[:LINES_BELOW]:
        if line.strip() and _margin(line) < margin:
            break
        yield line


def _scope(lines: list[str], margin: int) -> tuple[str, str]:
    """What stands above as (outside of, inside of) the function around the gap, its header inside."""
    narrowest = margin
    for i in range(len(lines) - 1, -1, -1):
        line = lines[i]
        if line.strip() and _margin(line) < narrowest:
            narrowest = _margin(line)
            if _FUNCTION.search(line) and not _CONTROL.match(line):
                return "\n".join(lines[:i]), "\n".join(lines[i:])
    return "", "\n".join(lines)


def _known(outer: str) -> set[str]:
    """What the text outside of the function makes known: all words of its outermost lines and of lists, and words
    that it uses without ever declaring them."""
    code = _code(outer)
    lists = "\n".join(line for line in code.split("\n") if _LISTED.fullmatch(line))
    return {*_WORD.findall(_outermost(code)), *_WORD.findall(lists), *(set(_used(code)) - _declared(code))}


def _outermost(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not line[:1].isspace())


def _declared(code: str) -> set[str]:
    return {match[0] for match in _WORD.finditer(code) if _binds(code, match)}


def _used(code: str) -> Iterator[str]:
    """Names in the order in which they are used, those left out that are declared first, or by a loop in their line."""
    declared: set[str] = set()
    looped, line_end = set[str](), -1
    for match in _WORD.finditer(code):
        if match.start() > line_end:
            line_end = code.find("\n", match.end())
            line_end = len(code) if line_end < 0 else line_end
            looped = {name for found in _LOOPED.findall(code, match.start(), line_end) for name in found.split(", ")}
        if _binds(code, match):
            again = re.search(rf"(?<![\w.]){match[0]}\b", code[match.end() : line_end])
            if again and match[0] not in declared:
                yield match[0]  # from its old value a new one
            declared.add(match[0])
        elif match[0] not in declared | looped and not match[0][0].isupper() and not _CALLED.match(code, match.end()):
            yield match[0]


def _binds(code: str, match: re.Match[str]) -> bool:
    if _BINDS_AFTER.match(code, match.end()):
        return True
    near = max(code.rfind("\n", 0, match.start()) + 1, match.start() - LONGEST_LIST)
    return _BINDS_BEFORE.search(code, near, match.start()) is not None


def _value(name: str, code: str) -> str:
    """What the first use of the name that says so asks of its value; empty where none does."""
    for use in re.finditer(rf"(?<![\w.]){re.escape(name)}\b", code):
        for pattern, value in VALUES:
            if pattern.match(code, use.end()):
                return value
    return ""


def _ending(text: str) -> str:
    """What ends the file's declarations."""
    ends = Counter(match[0][-1] for match in _DECLARATION.finditer(text))
    return ";" if 2 * ends[";"] > ends.total() else ""


def _loop(text: str) -> str | None:
    """How the file goes through the items of something, with a place for one's name."""
    found = _LOOPS.search(text)
    if found is not None:
        return f"{found[1]}{{}} {found[2]}"
    return "for {} in" if "\ndef " in "\n" + text else None


def _manner(text: str) -> str | None:
    """How the file declares a name, with a place for it."""
    counts = Counter(match.groups() for match in _DECLARED.finditer(text))
    if not counts:
        return None
    worded = [found for found in counts if found[0]]
    if worded and 3 * sum(counts[found] for found in worded) >= counts.total():
        word, sign = max(worded, key=counts.__getitem__)
        return f"{word} {{}} {sign}"
    _, sign = max((found for found in counts if not found[0]), key=counts.__getitem__)
    return f"{{}} {sign}"
