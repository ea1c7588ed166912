"""The word at a gap's right edge, which a text for the gap may run into: `con` in front of `cat`, `len` in front of
`int`.

Pieces of words follow each other in a network's eyes, and no language's syntax knows a name from a chance one; whether
anything else uses the word says which it is. Knows nothing of networks, tokens or who asks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..prompts.healing import in_word

NOTHING, USED, NEW = "", "used", "new"
"""What becomes of the word right of a gap: it stays what it is, it is one that stands elsewhere, it is one that does
not."""

REACH = 20_000  # characters on either side of the gap in which a word may stand
LONGEST_WORD = 100
_BEGINS, _ENDS = re.compile(r"\w*"), re.compile(r"\w*\Z")


@dataclass(frozen=True)
class Words:
    """begun, rest: of a word, right in front of the gap and right behind it. texts: where a whole one may stand."""

    begun: str
    rest: str
    texts: tuple[str, ...]

    @classmethod
    def around(cls, prefix: str, suffix: str, library: Sequence[str]) -> Words:
        """Of a gap between `prefix` and `suffix`; library: texts of other files."""
        before, after = prefix[-REACH:], suffix[:REACH]
        rest = _BEGINS.match(after)
        return cls(_end(before), rest[0] if rest else "", (before, after, *library))

    def becomes(self, text: str) -> str:
        """What `text` in the gap makes of the word behind it: NOTHING, USED or NEW. A number counts as USED."""
        if not (self.rest and in_word(text[-1:])):
            return NOTHING
        word = _end(self.begun + text) + self.rest
        return USED if word[0].isdigit() or self._stands(word) else NEW

    def _stands(self, word: str) -> bool:
        whole = re.compile(rf"\b{re.escape(word)}\b")
        return any(word in text and whole.search(text) is not None for text in self.texts)


def _end(text: str) -> str:
    """The word that the text ends with, or the last LONGEST_WORD characters of it."""
    match = _ENDS.search(text[-LONGEST_WORD:])
    return match[0] if match else ""
