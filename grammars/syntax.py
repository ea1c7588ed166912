"""One document version: its text, its language and its tree; an immutable value.

Knows nothing of spans, editors or models. Broken code parses to a tree with ERROR and MISSING nodes and never raises.
There is no tree (`tree is None`) for a language without a grammar, for a text above `MAX_BYTES`, and for one whose
parse took longer than its allowance; everything built on Syntax must then do without.

The parse happens when `tree` is first looked at, from the nearest tree before it: an edit costs no more than copying
the text, and a burst of them costs one reparse. Whichever thread looks first pays. Who cannot wait looks at `standing`,
and tells the text to `catch_up` afterwards.

Positions handed in and out are code points of `text`; the tree counts UTF-8 bytes; `byte` and `point` convert.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from tree_sitter import Node, Parser, Tree

from .languages import Language, language_for
from .offsets import Offsets, encode
from .told import tell

MAX_BYTES = 1_000_000
"""A larger text is not parsed: a first parse costs about 0.13 µs a byte, and far more in text that is not code."""

PARSE_SECONDS = 0.5
REPARSE_SECONDS = 0.05
"""CPU seconds of this thread after which a parse is given up: text that is not code, or a bracket left open far above,
can cost a hundred times a keystroke's reparse. The text then goes without a tree for `PAUSE` edits, and twice as long
after every further failure."""

STANDING_SECONDS = 0.0003
LATER_SECONDS = 0.005
"""CPU seconds that a request waits for the tree of a large edited text before it makes do with the one before, and that
the tree is given when the request has its answer."""

PAUSE = 16

SETTLING = 15
SETTLING_SECONDS = 0.03
"""Passes over the fresh tree of a large text, and the CPU seconds they may take: a fresh parse again, once for a text
that is edited, not for one that is only read. See `_settle`."""

SMALL = 32_768
"""Bytes below which a text is parsed again before anybody would notice."""

MAX_VISITS = 5_000
"""Nodes looked at when collecting flaws; a file that is one wide ERROR must not cost more than milliseconds."""

MAX_CLIMB = 64
"""Ancestors looked at: a parent costs tree-sitter a walk from the root, and broken code can nest very deep."""

_CHUNK = 16_384


def _never() -> bool:
    return False


class Flaw(NamedTuple):
    """An ERROR or MISSING node: byte range, and what is missing ("" for an ERROR)."""

    start: int
    end: int
    missing: str


@dataclass(frozen=True)
class Syntax:
    """Build one with `parse`, and the next with `edited`; equal when text and language are."""

    text: str
    language: Language
    offsets: Offsets | None = field(default=None, compare=False, repr=False)  # None: never parsed
    earlier: Tree | None = field(default=None, compare=False, repr=False)  # of a version before, edited to fit
    paused: int = field(default=0, compare=False, repr=False)  # edits until a parse is tried again
    pause: int = field(default=PAUSE, compare=False, repr=False)  # how long the next failure pauses
    late: bool = field(default=False, compare=False, repr=False)  # the tree takes long, or the one before did

    @classmethod
    def parse(cls, text: str, language_id: str) -> Syntax:
        """Any text, any languageId; never raises."""
        return cls.of(text, language_for(language_id))

    @classmethod
    def of(cls, text: str, language: Language) -> Syntax:
        """Any text; never raises."""
        if len(text) > MAX_BYTES or language.grammar() is None:
            return cls(text, language)
        data = encode(text)
        return cls(text, language, Offsets.of(text, data) if len(data) <= MAX_BYTES else None)

    def edited(self, start: int, old_end: int, new: str) -> Syntax:
        """The version in which text[start:old_end] is replaced by `new`.

        ValueError if the range does not lie inside the text: the caller's document is then not this one.
        """
        if not 0 <= start <= old_end <= len(self.text):
            raise ValueError(f"edit [{start}, {old_end}) lies outside a text of {len(self.text)} code points")
        text = self.text[:start] + new + self.text[old_end:]
        if self.offsets is None:
            return Syntax.of(text, self.language)
        first, last = self.offsets.byte(start), self.offsets.byte(old_end)
        replacement = encode(new)
        old = self.offsets.data
        data = old[:first] + replacement + old[last:]
        if len(data) > MAX_BYTES:
            return Syntax(text, self.language)
        offsets = self.offsets.edited(text, data, start, old_end, new)
        if self._gave_up:
            return Syntax(text, self.language, offsets, None, self.pause, self.pause * 2)
        if self.paused:
            return Syntax(text, self.language, offsets, None, self.paused - 1, self.pause)
        nearest = self._settled if self._looked_at else self.earlier
        if nearest is None or len(replacement) > len(data) // 2:
            return Syntax(text, self.language, offsets, None, 0, self.pause)
        earlier = nearest.copy()
        tell(earlier, old, data, first, last, first + len(replacement), indented=self.language.indented)
        return Syntax(text, self.language, offsets, earlier, late=self.late and not self._looked_at)

    @cached_property
    def tree(self) -> Tree | None:
        """The parse of this text; the first look pays for it."""
        if self.offsets is None or self.paused:
            return None
        return _run(self.language, self.offsets.data, self.earlier)

    @cached_property
    def _settled(self) -> Tree | None:
        """The tree as the next version's parse starts from it; a tree that came from another one is settled already."""
        if self.tree is None or self.earlier is not None or len(self.data) < SMALL:
            return self.tree
        return _settle(self.language, self.data, self.tree)

    @cached_property
    def standing(self) -> Syntax:
        """This text with its tree, where that is there or soon made; else with that of a version before, told of the
        edits since: outside of them its nodes stand where they stood, and what was broken there then."""
        if self.earlier is None or len(self.data) < SMALL or not self.language.divisible:
            return self
        if (self._looked_at or not self.late) and self.tree_within(STANDING_SECONDS) is not None:
            return self
        before = replace(self)
        before.__dict__["tree"] = self.earlier
        return before

    def catch_up(self, wanted: Callable[[], bool] = _never) -> None:
        """Makes the tree that `standing` did without, for the next version to start from, unless the thread is wanted
        before. One that takes long is not made, and the next version does not wait for its own."""
        if self.tree_within(LATER_SECONDS, wanted) is None and not wanted():
            self.__dict__["late"] = True

    @property
    def is_current(self) -> bool:
        """Whether the tree is this text's: that of a version before stands in for it in `standing`."""
        return self.tree is not self.earlier or self.tree is None

    def tree_within(self, seconds: float, stopped: Callable[[], bool] = _never) -> Tree | None:
        """The tree if it is there or takes no more than `seconds` of CPU; a failure is not remembered. stopped: polled
        meanwhile, whether to give up before."""
        if self._looked_at or self.offsets is None or self.paused:
            return self.tree
        tree = _run(self.language, self.offsets.data, self.earlier, seconds, stopped)
        if tree is not None:
            self.__dict__["tree"] = tree
        return tree

    @property
    def _looked_at(self) -> bool:
        return "tree" in self.__dict__

    @property
    def _gave_up(self) -> bool:
        return self.offsets is not None and not self.paused and self._looked_at and self.tree is None

    @property
    def data(self) -> bytes:
        """The bytes the tree is parsed from; empty in a text that is never parsed."""
        return self.offsets.data if self.offsets else b""

    def byte(self, point: int) -> int:
        """Byte offset in the tree of a code point offset (clamped); 0 in a text that is never parsed."""
        return self.offsets.byte(point) if self.offsets else 0

    def point(self, byte: int) -> int:
        """Code point offset of a byte offset in the tree (clamped, rounded down); 0 in a text that is never parsed."""
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


def _run(
    language: Language,
    data: bytes,
    old: Tree | None,
    seconds: float | None = None,
    stopped: Callable[[], bool] = _never,
) -> Tree | None:
    """One parse within its allowance; None when it was given up. `old` is already edited to fit `data`."""
    if not language.survives(data):
        return None
    if seconds is None:
        seconds = PARSE_SECONDS if old is None else REPARSE_SECONDS
    deadline = time.thread_time() + seconds

    def read(byte: int, _: object) -> bytes:
        return data[byte : byte + _CHUNK]

    def late(_byte: int, _has_error: bool) -> bool:
        return time.thread_time() > deadline or stopped()

    # A parser keeps the state of a parse that was stopped, so each parse has its own (it costs a microsecond).
    parser = Parser(language.grammar())
    try:
        if old is None:
            return parser.parse(read, progress_callback=late)
        return parser.parse(read, old_tree=old, progress_callback=late)
    except ValueError:
        return None


def _settle(language: Language, data: bytes, tree: Tree) -> Tree:
    """`tree` as parses that start from it leave it: the same nodes, cheaper to reuse.

    A token remembers the state in which it was read. Where a fresh parse came to it from inside of the statement
    before it, a parse that reuses that statement as a whole comes in another state, cannot take the token, and passes
    over half of all statements. What it then reads fits the next time, one more statement of a run with every pass
    from a tree to itself (tree-sitter 0.26, `ts_parser__can_reuse_first_leaf`).
    """
    deadline = time.thread_time() + SETTLING_SECONDS
    for _ in range(SETTLING):
        left = deadline - time.thread_time()
        again = _run(language, data, tree, left) if left > 0 else None
        if again is None:
            break
        tree = again
    return tree
