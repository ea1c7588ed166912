"""Which names code declares and which it uses, read off its text.

By words and marks that most languages share: good enough to propose, never to judge. Knows nothing of gaps.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterator

MARKS = ('"""', "'''")
"""Of texts over several lines."""

LONGEST_LIST = 80  # characters of names that are declared together

WORD = re.compile(r"(?<![\w.$@])[A-Za-z_]\w*+(?![\"'])")
"""A name that stands by itself: no attribute, no decorator, no string's prefix."""

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
_BOUND = (
    re.compile(
        r"\b(?:for|as|class|def|function|global|nonlocal|const|let|var|type|interface|enum|catch)"
        r"\s*[\s({\[]([\w$, \t]+)"
    ),
    re.compile(r"^[ \t]*([\w, \t]++)(?::[^=\n]++)?=(?![=>])", re.MULTILINE),
    re.compile(r"^[ \t]*(\w++):[ \t]*\S", re.MULTILINE),
    re.compile(r"\blambda\b([^:\n]*):"),
    re.compile(r"(\w++|\([^()\n]*\))[ \t]*(?:=>|:=)"),
)
_HEADER = re.compile(r"\b(?:def|function|func|fn|fun)\b[^(\n]*\(")
_IMPORTED = re.compile(r"^[ \t]*(?:from[ \t]+\S+[ \t]+)?import[ \t]*(?:\(([^)]*)\)|([^\n(]+))", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z_]\w*")
_ITEM = re.compile(r"(?:^|,)\s*[*&.]*([A-Za-z_]\w*)", re.MULTILINE)
_BRACKET = re.compile(r"[()\[\]{}]")

_OTHERS = """
    self cls this super null true false undefined nil new typeof instanceof void delete throw throws case switch default
    do function fn func fun let const var val auto mut match loop impl struct enum interface type use export extends
    implements public private protected static final abstract override package namespace arguments module exports
    require process console document window string number boolean int float double
"""
WORDS = frozenset((*keyword.kwlist, *dir(builtins), *_OTHERS.split()))
"""Words that a line of code does not declare, in none of the languages that have them."""


def code(text: str) -> str:
    """`text` without comments, its strings empty; as many lines where no string goes over several."""
    return _COMMENTS.sub("", _STRINGS.sub('""', text))


def outermost(text: str) -> str:
    """The lines that are not indented."""
    return "\n".join(line for line in text.split("\n") if not line[:1].isspace())


def declared(code: str) -> set[str]:
    """Names that the code declares, its parameters and its imports over several lines left out."""
    return {match[0] for match in WORD.finditer(code) if _binds(code, match)}


def bound(code: str) -> set[str]:
    """Names that the code binds in any way but by importing them, parameters among them; rather too many than too
    few."""
    parts = [match[1] for pattern in _BOUND for match in pattern.finditer(code)]
    parts += [code[match.end() : closing(code, match.end())] for match in _HEADER.finditer(code)]
    return {name for part in parts for name in WORD.findall(part)}


def imported(code: str) -> set[str]:
    """Names that Python's imports bring, those over several lines too."""
    return {name for match in _IMPORTED.finditer(code) for name in _NAME.findall(match[1] or match[2])}


def items(listed: str) -> list[str]:
    """The name that each item of a list of parameters begins with."""
    return _ITEM.findall(listed)


def closing(code: str, start: int = 0) -> int:
    """Where the bracket is closed that is open at `start`; -1 if nowhere."""
    depth = 1
    for match in _BRACKET.finditer(code, start):
        depth += 1 if match[0] in "([{" else -1
        if not depth:
            return match.start()
    return -1


def known(outer: str) -> set[str]:
    """What the text outside of a function makes known in it: all words of its outermost lines and of lists, and words
    that it uses without ever declaring them."""
    text = code(outer)
    lists = "\n".join(line for line in text.split("\n") if _LISTED.fullmatch(line))
    return {*WORD.findall(outermost(text)), *WORD.findall(lists), *(set(used(text)) - declared(text))}


def used(code: str) -> Iterator[str]:
    """Names in the order in which they are used, those left out that are declared first, or by a loop in their line."""
    before: set[str] = set()
    looped, line_end = set[str](), -1
    for match in WORD.finditer(code):
        if match.start() > line_end:
            line_end = code.find("\n", match.end())
            line_end = len(code) if line_end < 0 else line_end
            looped = {name for found in _LOOPED.findall(code, match.start(), line_end) for name in found.split(", ")}
        if _binds(code, match):
            again = re.search(rf"(?<![\w.]){match[0]}\b", code[match.end() : line_end])
            if again and match[0] not in before:
                yield match[0]  # from its old value a new one
            before.add(match[0])
        elif match[0] not in before | looped and not match[0][0].isupper() and not _CALLED.match(code, match.end()):
            yield match[0]


def _binds(code: str, match: re.Match[str]) -> bool:
    if _BINDS_AFTER.match(code, match.end()):
        return True
    near = max(code.rfind("\n", 0, match.start()) + 1, match.start() - LONGEST_LIST)
    return _BINDS_BEFORE.search(code, near, match.start()) is not None
