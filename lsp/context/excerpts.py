"""What of other code is worth showing: signatures, definitions of names, places edited last; each under a title.

Pure: texts and their syntax in, excerpts of whole lines out. Knows nothing of files, documents or models.
"""

import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...grammars import Syntax
    from ...grammars.languages import Language
    from ...grammars.outline import Definition

MOST_MEMBERS = 16  # of a type, that are shown with it
LINES = 8  # on either side of a place edited last
SIMILAR = 0.5  # share of a chunk's pairs of words that may be near the cursor already
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Excerpt:
    """title: the file's name; purpose: why it is shown; text: whole lines."""

    title: str
    purpose: str
    text: str


def headed(excerpt: Excerpt, language: "Language") -> str:
    """Under a comment that names the file, in the language's style; without one where it has no comments."""
    title = "".join(char if char.isprintable() else "?" for char in excerpt.title)
    if language.line_comment:
        title = f"{language.line_comment} {title}\n"
    elif language.block_comment and language.block_comment[1] not in title:
        title = " ".join((language.block_comment[0], title, language.block_comment[1])) + "\n"
    else:
        title = ""
    return f"{title}{excerpt.text.rstrip()}\n\n"


def far_parts(syntax: "Syntax", start: int, end: int) -> str:
    """Imports and signatures of the document outside text[start:end]."""
    from ...grammars.outline import outline, signature  # noqa: PLC0415

    found = outline(syntax)
    imports = [syntax.text[a:b].strip() for a, b in found.imports if b <= start or a >= end]
    far = (one for one in found.definitions if not one.local and (one.start < start or one.start >= end))
    return "\n".join([*imports, *(signature(syntax, one) for one in far)])


def definitions(syntax: "Syntax", names: Container[str]) -> str:
    """Signatures of what the document defines of these names, types with their members; of fields only with them."""
    from ...grammars.outline import outline, signature  # noqa: PLC0415

    found: dict[Definition, None] = {}
    every = outline(syntax).definitions
    for number, one in enumerate(every):
        if one.name in names and not one.local and not (one.kind == "value" and one.depth):
            found[one] = None
            if one.kind == "type":
                found.update(dict.fromkeys(_members(one, every[number + 1 :])))
    return "\n".join(dict.fromkeys(signature(syntax, one) for one in found))


def _members(outer: "Definition", behind: Iterable["Definition"]) -> Iterator["Definition"]:
    shown = 0
    for one in behind:
        if one.start >= outer.end or shown == MOST_MEMBERS:
            return
        if one.depth == outer.depth + 1 and not one.local:
            shown += 1
            yield one


def edited(text: str, line: int, near: str) -> str:
    """The lines around a place edited last; "" where they are too much like those near the cursor."""
    lines = text.split("\n")
    chunk = "\n".join(lines[max(0, line - LINES) : line + LINES + 1]).strip("\n")
    pairs, there = _pairs(chunk), _pairs(near)
    return "" if not pairs or len(pairs & there) > SIMILAR * len(pairs) else chunk


def _pairs(text: str) -> set[tuple[str, str]]:
    words = _WORD.findall(text)
    return set(pairwise(words))
