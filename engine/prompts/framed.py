"""What the network is shown of one request, and what its answer must look like to be one.

A value; how it comes about is `prompt.py`'s. Knows nothing of networks, tokenizers or requests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .seams import FREE, Seams


@dataclass(frozen=True)
class Framed:
    """prefix_ids: for the encoder; the prefix stands last, so typing extends them.

    n_context: how many of prefix_ids stand before the prefix's own text (bos, context, turns).
    pinned_ids: all the canvas could show right of the gap if the gap vanished.
    typed, kept: text at the prefix's end and the suffix's start that was taken out of the ids for token healing: the
    gap's text begins with `typed` and ends with `kept`; both may be empty. `bare` takes them off again.
    begun: text of those of prefix_ids' last ids that are the beginning of the word which `typed` goes on with.
    seams: what holds the gap to that.
    banned: ids that no slot of this gap may hold. unwanted: what is cut out of a fill's text.
    """

    prefix_ids: list[int]
    pinned_ids: list[int]
    n_context: int = 1
    typed: str = ""
    kept: str = ""
    begun: tuple[str, ...] = ()
    seams: Seams = FREE
    banned: frozenset[int] = frozenset()
    unwanted: re.Pattern[str] | None = None

    @property
    def n_seams(self) -> int:
        """Slots that hold healed text: a gap needs that many more."""
        return bool(self.typed) + bool(self.kept)

    def bare(self, text: str) -> str | None:
        """A gap's text as it is to be inserted; None where it does not begin with what was typed. One that does not end
        with what is kept was cut short before (half a character ends a text) and is taken as it is."""
        if not text.startswith(self.typed):
            return None
        text = text[len(self.typed) :].removesuffix(self.kept)
        return text if self.unwanted is None else self.unwanted.sub("", text)

    def healed(self, text: str) -> str:
        """The other way round: text to be inserted → the gap's text, as the network is to see it."""
        return self.typed + text + self.kept
