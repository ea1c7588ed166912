"""One document version: its text, its language and its tree; an immutable value.

Knows nothing of spans, editors or models. Broken code parses to a tree with ERROR and MISSING nodes and never raises.
There is no tree (`tree is None`) for a language without a grammar, for a text above `MAX_BYTES`, and for one whose
parse took longer than its allowance; everything built on Syntax must then do without.

Positions handed in and out are code points of `text`; the tree counts UTF-8 bytes; `byte` and `point` convert.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from tree_sitter import Node, Parser, Tree

from .languages import Language, language_for
from .offsets import Offsets, encode

MAX_BYTES = 1_000_000
"""A larger text is not parsed: a first parse costs about 0.13 µs a byte, and far more in text that is not code."""

PARSE_SECONDS = 0.5
REPARSE_SECONDS = 0.1
"""CPU seconds of this thread after which a parse is given up, so that neither load nor odd text can stop typing."""

MAX_VISITS = 20_000
"""Nodes looked at when collecting flaws; a file that is one wide ERROR must not cost more than milliseconds."""

MAX_CLIMB = 64
"""Ancestors looked at: a parent costs tree-sitter a walk from the root, and broken code can nest very deep."""

_CHUNK = 16_384


class Flaw(NamedTuple):
    """An ERROR or MISSING node: byte range, and what is missing ("" for an ERROR)."""

    start: int
    end: int
    missing: str


@dataclass(frozen=True)
class Syntax:
    text: str
    language: Language
    tree: Tree | None = field(default=None, compare=False, repr=False)
    offsets: Offsets | None = field(default=None, compare=False, repr=False)  # there exactly when the tree is
    given_up_at: int = field(default=0, compare=False, repr=False)  # length of the text whose parse took too long

    @classmethod
    def parse(cls, text: str, language_id: str) -> Syntax:
        """Any text, any languageId; never raises."""
        return _parsed(text, language_for(language_id))

    def edited(self, start: int, old_end: int, new: str) -> Syntax:
        """The version in which text[start:old_end] is replaced by `new`; reparses only what the edit touches.

        ValueError if the range does not lie inside the text: the caller's document is then not this one.
        """
        if not 0 <= start <= old_end <= len(self.text):
            raise ValueError(f"edit [{start}, {old_end}) lies outside a text of {len(self.text)} code points")
        text = self.text[:start] + new + self.text[old_end:]
        if self.tree is None or self.offsets is None:
            # What took too long once is not tried again until a good part of it is gone.
            if self.given_up_at and len(text) > self.given_up_at * 3 // 4:
                return Syntax(text, self.language, given_up_at=self.given_up_at)
            return _parsed(text, self.language)
        first, last = self.offsets.byte(start), self.offsets.byte(old_end)
        replacement = encode(new)
        old = self.offsets.data
        data = old[:first] + replacement + old[last:]
        if len(data) > MAX_BYTES:
            return Syntax(text, self.language)
        offsets = self.offsets.edited(text, data, start, old_end, new)
        tree = self.tree.copy()
        new_last = first + len(replacement)
        tree.edit(first, last, new_last, _place(old, first), _place(old, last), _place(data, new_last))
        return _with_tree(text, self.language, offsets, tree)

    @property
    def data(self) -> bytes:
        """The bytes the tree was parsed from; empty without a tree."""
        return self.offsets.data if self.offsets else b""

    def byte(self, point: int) -> int:
        """Byte offset in the tree of a code point offset (clamped); 0 without a tree."""
        return self.offsets.byte(point) if self.offsets else 0

    def point(self, byte: int) -> int:
        """Code point offset of a byte offset in the tree (clamped, rounded down); 0 without a tree."""
        return self.offsets.point(byte) if self.offsets else 0

    def node_over(self, start: int, end: int) -> Node | None:
        """The smallest node that covers bytes [start, end); None without a tree."""
        return self.tree.root_node.descendant_for_byte_range(start, end) if self.tree else None

    @cached_property
    def flaws(self) -> tuple[Flaw, ...]:
        """ERROR and MISSING nodes in document order, nested ones too; looks only under nodes that have errors."""
        if self.tree is None or not self.tree.root_node.has_error:
            return ()
        found: list[Flaw] = []
        visits = 0
        stack = [self.tree.root_node]
        while stack and visits < MAX_VISITS:
            node = stack.pop()
            visits += 1
            if node.is_missing:
                found.append(Flaw(node.start_byte, node.end_byte, node.type))
            elif node.has_error:
                if node.is_error:
                    found.append(Flaw(node.start_byte, node.end_byte, ""))
                stack.extend(reversed(node.children))
        return tuple(found)


def ancestors(node: Node | None, most: int = MAX_CLIMB) -> Iterator[Node]:
    """The node itself and its ancestors, innermost first, at most `most` of them."""
    while node is not None and most > 0:
        yield node
        node, most = node.parent, most - 1


def _parsed(text: str, language: Language) -> Syntax:
    if len(text) > MAX_BYTES or language.grammar() is None:
        return Syntax(text, language)
    data = encode(text)
    if len(data) > MAX_BYTES:
        return Syntax(text, language)
    return _with_tree(text, language, Offsets.of(text, data), None)


def _with_tree(text: str, language: Language, offsets: Offsets, old: Tree | None) -> Syntax:
    tree = _run(language, offsets.data, old)
    if tree is None:
        return Syntax(text, language, given_up_at=max(1, len(text)))
    return Syntax(text, language, tree, offsets)


def _run(language: Language, data: bytes, old: Tree | None) -> Tree | None:
    """One parse within its allowance; None when it was given up. `old` is already edited to fit `data`."""
    deadline = time.thread_time() + (PARSE_SECONDS if old is None else REPARSE_SECONDS)

    def read(byte: int, _: object) -> bytes:
        return data[byte : byte + _CHUNK]

    def late(_byte: int, _has_error: bool) -> bool:
        return time.thread_time() > deadline

    # A parser keeps the state of a parse that was stopped, so each parse has its own (it costs a microsecond).
    parser = Parser(language.grammar())
    try:
        if old is None:
            return parser.parse(read, progress_callback=late)
        return parser.parse(read, old_tree=old, progress_callback=late)
    except ValueError:
        return None


def _place(data: bytes, byte: int) -> tuple[int, int]:
    """(row, column in bytes) as tree-sitter counts them: rows end at a line feed only."""
    return data.count(b"\n", 0, byte), byte - data.rfind(b"\n", 0, byte) - 1
