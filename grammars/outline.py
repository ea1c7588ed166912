"""What a document defines, and what it imports: the part of it that other code needs to know.

By a query per language (`tags`); a language without one, and a text without a tree, has an empty outline. Works on
broken code, on what of it the parser made out. Lazy: nothing is computed until an outline is asked for, and once per
version. Knows nothing of files, models or budgets. Positions are code points.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice, takewhile
from typing import Literal

from tree_sitter import Node, Query, QueryCursor, QueryError

from .languages import Language
from .syntax import Syntax
from .tags import TAGS

Kind = Literal["function", "type", "value"]

MOST = 4_000
"""Definitions taken from one text; what is made by a program may have any number."""

SMALL = 600
"""Code points: types and values no longer than this are their own signature, fields and all."""

LONGEST_HEADER = 400
LONGEST_DOCUMENTATION = 120

_WRAPPERS = frozenset(("decorated_definition", "export_statement", "template_declaration", "type_declaration"))
_KINDS: tuple[Kind, ...] = ("type", "function", "value")
_WORD = re.compile(r"[^\W\d]\w*")
_LAST_WORD = re.compile(r"\w+[!?]?(?=\W*\Z)")
_QUOTED = re.compile(r"[A-Za-z]{0,2}(?:\"\"\"|'''|\"|')")
_LATER_ON_LINE = re.compile(r"[{}();]")


@dataclass(frozen=True)
class Definition:
    """text[start:end] defines `name`; text[start:body] is its header, body == end where there is none. depth: how many
    definitions it stands in; local: whether one of these is a function."""

    name: str
    kind: Kind
    start: int
    body: int
    end: int
    depth: int = 0
    local: bool = False


@dataclass(frozen=True)
class Outline:
    """imports: ranges [start, end). definitions: by where they start, outer ones first."""

    imports: tuple[tuple[int, int], ...] = ()
    definitions: tuple[Definition, ...] = ()

    def named(self, name: str) -> Iterator[Definition]:
        """What of that name other code can refer to."""
        return (one for one in self.definitions if one.name == name and not one.local)


NOTHING = Outline()


def outline(syntax: Syntax) -> Outline:
    """The document's; the same object for the same version."""
    known = syntax.__dict__.get("_outline")
    if known is None:
        known = syntax.__dict__["_outline"] = _outline(syntax)
    return known


def signature(syntax: Syntax, definition: Definition) -> str:
    """What of a definition says how to use it: its header as it is indented, and the first line of what is said about
    it; small types and values whole, without their inner functions' bodies where they have any."""
    text, start = syntax.text, _line_start(syntax.text, definition.start)
    if _LATER_ON_LINE.search(text, start, definition.start):
        start = definition.start
    whole = definition.kind != "function" and definition.end - start <= SMALL
    if whole and (definition.kind == "value" or not _has_functions(syntax, definition)):
        return text[start : definition.end].rstrip()
    header = text[start : definition.body].rstrip()
    if definition.body == definition.end and len(header) > LONGEST_HEADER:
        header = header.partition("\n")[0]
    return header[:LONGEST_HEADER].rstrip(" \t\r\n{") + _documentation(syntax, definition)


def words_near(text: str, offset: int, n_lines: int) -> list[str]:
    """Names in the lines around an offset, nearest line first, each once; not those of the offset's own line, which is
    being typed."""
    above = text[:offset].split("\n")[-n_lines - 1 : -1][::-1] if offset else []
    below = text[offset:].split("\n", n_lines + 1)[1 : n_lines + 1]
    found: dict[str, None] = {}
    for i in range(max(len(above), len(below))):
        for lines in (above, below):
            if i < len(lines):
                found.update(dict.fromkeys(_WORD.findall(lines[i])))
    return list(found)


@cache
def _query(language: Language) -> Query | None:
    """None where the language has no tags, no grammar, or one whose nodes are called otherwise."""
    grammar, tags = language.grammar(), TAGS.get(language.id)
    if grammar is None or tags is None:
        return None
    try:
        return Query(grammar, tags)
    except QueryError:
        return None


def _outline(syntax: Syntax) -> Outline:
    query = _query(syntax.language)
    if query is None or syntax.tree is None:
        return NOTHING
    imports: set[tuple[int, int]] = set()
    found: dict[tuple[int, int], tuple[Kind, Node, str]] = {}
    for _, captures in QueryCursor(query).matches(syntax.tree.root_node):
        for node in captures.get("import", ()):
            imports.add((node.start_byte, node.end_byte))
        kind: Kind | None = next((kind for kind in _KINDS if kind in captures), None)
        if kind is None or "name" not in captures or len(found) >= MOST:
            continue
        node = captures[kind][0]
        place = (node.start_byte, node.end_byte)
        if place not in found or _KINDS.index(kind) < _KINDS.index(found[place][0]):
            named = captures["name"][0]
            name = syntax.data[named.start_byte : named.end_byte].decode("utf-8", "replace")
            found[place] = (kind, node, name)
    return Outline(
        tuple((syntax.point(start), syntax.point(end)) for start, end in sorted(_outermost(imports))),
        tuple(_definitions(syntax, [one for place, one in found.items() if not _within(place, imports)])),
    )


def _definitions(syntax: Syntax, found: list[tuple[Kind, Node, str]]) -> Iterator[Definition]:
    around: list[tuple[int, Kind]] = []  # ends and kinds of the definitions that the present one stands in
    for kind, node, name in sorted(found, key=lambda one: (one[1].start_byte, -one[1].end_byte, _KINDS.index(one[0]))):
        word = _LAST_WORD.search(name)
        if word is None:
            continue
        while around and around[-1][0] <= node.start_byte:
            around.pop()
        local = any(outer == "function" for _, outer in around)
        body, end = _body(syntax.language, node), syntax.point(node.end_byte)
        yield Definition(
            name=word[0],
            kind=kind,
            start=syntax.point(node.start_byte),
            body=end if body is None else syntax.point(body.start_byte),
            end=end,
            depth=len(around),
            local=local,
        )
        around.append((node.end_byte, kind))


def _body(language: Language, node: Node) -> Node | None:
    """The node of a definition's inside; None where it has none."""
    for inner in (node, *map(node.child_by_field_name, ("value", "right", "type"))):
        if inner is None:
            continue
        body = inner.child_by_field_name("body")
        if body is not None:
            return body
        for child in reversed(inner.named_children):
            if child.type in language.blocks:
                return child
    return None


def _documentation(syntax: Syntax, definition: Definition) -> str:
    """The first line of a docstring, on a line of its own as it stands; "" where the inside begins otherwise."""
    text = syntax.text
    line = text[definition.body : min(definition.end, definition.body + 2 * LONGEST_DOCUMENTATION)].lstrip()
    line = line.partition("\n")[0].rstrip()
    opening = _QUOTED.match(line)
    if definition.body == definition.end or opening is None or len(line) > LONGEST_DOCUMENTATION:
        return ""
    quotes = opening[0].lstrip("rRuUbBfF")
    start = _line_start(text, definition.body)
    margin = text[start : definition.body]
    if margin.strip():
        return ""
    return f"\n{margin}{line}" + ("" if line.endswith(quotes) and len(line) > len(opening[0]) else quotes)


def _has_functions(syntax: Syntax, definition: Definition) -> bool:
    definitions = outline(syntax).definitions
    first = bisect_right(definitions, definition.start, key=lambda one: one.start)
    inside = takewhile(lambda one: one.start < definition.end, islice(definitions, first, None))
    return any(one.kind == "function" and one.body < one.end for one in inside)


def _line_start(text: str, offset: int) -> int:
    return max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1


def _within(place: tuple[int, int], ranges: set[tuple[int, int]]) -> bool:
    return any(start <= place[0] and place[1] <= end for start, end in ranges)


def _outermost(ranges: set[tuple[int, int]]) -> list[tuple[int, int]]:
    return [one for one in ranges if not _within(one, ranges - {one})]
