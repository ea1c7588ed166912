"""A missing import: of a name that the file uses and nowhere declares.

Where it comes from, other files say, which import it as well, or the imports beside the line do.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

from . import names
from .line import MissingLine, Opening

IMPORT = "import"
KEPT_LIBRARIES = 4

_STATEMENT = re.compile(
    r"^[ \t]*((?:from[ \t]+[\w.]+[ \t]+)?import[ \t]+[^\n(]+|(?:const|let|var)[ \t][^\n=]+=[ \t]*require\([^\n]+)$",
    re.MULTILINE,
)
_NAME = re.compile(r"[A-Za-z_]\w*")
_OPENED = re.compile(r"^[ \t]*from[ \t]+[\w.]+[ \t]+import[ \t]*\([^)]*\)", re.MULTILINE)
_USED = re.compile(names.WORD.pattern + r"(?!\s*=(?!=))")  # no name of an argument
_FROM = re.compile(r"from\s+([\w.]+)\s+import\s+(\w+)(\s+as\s+\w+)?$")


def imports(line: MissingLine, library: tuple[str, ...] = (), limit: int = 3) -> list[Opening]:
    """Whole lines, likeliest first; none where no import stands beside the gap, and only such as stand in order between
    those that do, if there are any."""
    up, down = (text if _STATEMENT.match(text) else "" for text in (line.up, line.down))
    if not (up or down) or line.up.endswith(("(", ",")):
        return []
    statements = [match[1] for match in _STATEMENT.finditer(line.whole)]
    rest = _OPENED.sub("", _STATEMENT.sub("", line.code))
    known = names.WORDS | names.bound(rest) | names.imported(line.code)
    known |= {name for one in statements for name in brought(one)}
    free = dict.fromkeys(name for name in _USED.findall(rest) if name not in known)
    found: list[str] = []
    elsewhere = _statements(library)
    for name in free:
        found += elsewhere.get(name, ())
    called = {match[1] for match in re.finditer(r"(?<![\w.])([A-Za-z_]\w*)\.", rest)}
    found += [f"import {name}" for name in free if name in called and name.islower() and "import " in up + down]
    for beside in (up, down):
        match = _FROM.match(beside)
        if match:
            again = " as {0}" if match[3] and match[3].split()[-1] == match[2] else ""
            found += [f"from {match[1]} import {name}{again.format(name)}" for name in free]
    found += elsewhere.get("", ())
    new = [one for one in dict.fromkeys(found) if one not in statements]
    ordered = [one for one in new if _between(one, up, down)]
    return [Opening(IMPORT, "", line.blank + one) for one in (ordered or new)[:limit]]


def brought(statement: str) -> list[str]:
    """Names that an import of one line declares."""
    if "require(" in statement:
        listed = statement.partition("=")[0].split(None, 1)[-1]
    else:
        listed = statement.partition("#")[0].partition("import")[2]
        listed = re.split(r"\bfrom\b", listed)[0] if "'" in statement or '"' in statement else listed
    found = []
    for item in re.split(r"[,{}]", listed):
        words = _NAME.findall(item)
        if words:
            found.append(words[-1] if "as" in words or ":" in item else words[0])
    return found


def _between(one: str, up: str, down: str) -> bool:
    """Whether it stands in alphabetical order between its neighbours, as far as they begin with the same word."""
    word = one.split(None, 1)[0]
    low = not up.startswith(word + " ") or up.lower() <= one.lower()
    return low and (not down.startswith(word + " ") or one.lower() <= down.lower())


@lru_cache(maxsize=KEPT_LIBRARIES)
def _statements(library: tuple[str, ...]) -> dict[str, Sequence[str]]:
    """By a name, the imports that bring it, the most frequent first; under "" those that most texts have."""
    counts: Counter[str] = Counter()
    for text in library:
        # Once each, in the text's order: a set's order, and with it the answer, would be another in every process.
        counts.update(dict.fromkeys(match[1].strip() for match in _STATEMENT.finditer(text)).keys())
    found: dict[str, list[str]] = {}
    for statement, count in counts.most_common():
        for name in brought(statement):
            found.setdefault(name, []).append(statement)
        if 2 * count > len(library) > 1:
            found.setdefault("", []).append(statement)
    return {name: _shortest(statements) for name, statements in found.items()}


def _shortest(statements: Iterable[str]) -> list[str]:
    """Those that bring least first: a line that brings other names too is rarely the same elsewhere."""
    return sorted(statements, key=lambda one: one.count(","))
