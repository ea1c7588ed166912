"""Token healing: text at a gap's edges whose tokens may be other ones once the gap is filled.

Where a word is cut, `val` + `ue`, a tokenizer gives two tokens that it never gives for `value`, and a network that was
taught on whole words expects neither. So the token next to the seam goes back into the gap as text, and the slot there
may hold any token that begins (or, at the suffix, ends) with it: the token itself, which is always among them, or a
longer one (Lundberg, "The Art of Prompt Design: Prompt Boundaries and Token Healing", 2023; here on both sides).

A line break and an indentation are seams that stay. One token and one slot a side, on purpose: with several tokens in
one slot some texts could no longer be said at all, and pinning the re-typed text would bring the cut back. Whether a
checkpoint wants this is its property. Knows the vocabulary's texts and nothing else.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ..tokens import REPLACEMENT, Tokens

LONGEST_WORD = 4  # ids of one word that are looked at behind the last
LAST = chr(0x10FFFF)  # above every text a token begins with


class Healing:
    def __init__(self, tokens: Tokens) -> None:
        """Sorts the vocabulary twice: a second or two for 262,144 tokens."""
        self._texts = {id_: text for id_, text in tokens.texts().items() if text and REPLACEMENT not in text}
        self._size = len(tokens.unwritable)
        self._forward = _Sorted(self._texts)
        self._backward = _Sorted({id_: text[::-1] for id_, text in self._texts.items()})
        self._barred = lru_cache(maxsize=64)(self._bar)
        self._astray = lru_cache(maxsize=64)(self._stray)

    def typed(self, ids: Sequence[int]) -> str:
        """Text of the last of a prefix' ids if it is to be healed, else ""; an indentation is whole as it is."""
        text = self._texts.get(ids[-1], "") if ids else ""
        if "\n" in text or len(self._forward.beginning(text)) < 2:
            return ""
        return "" if text.isspace() and "\n" in self._texts.get(ids[-2] if len(ids) > 1 else -1, "\n") else text

    def kept(self, ids: Sequence[int]) -> str:
        """Text of the first of a suffix' ids if it goes on with a word and is to be healed, else ""."""
        text = self._texts.get(ids[0], "") if ids else ""
        return text if in_word(text[:1]) and "\n" not in text and len(self._backward.beginning(text[::-1])) > 1 else ""

    def begun(self, ids: Sequence[int], typed: str) -> tuple[str, ...]:
        """Texts of the last of a prefix' ids that `typed`, which stands behind them, goes on as one word with."""
        word: list[str] = []
        for id_ in reversed(ids[-LONGEST_WORD:]):
            text = self._texts.get(id_, "")
            if not (in_word((word[-1] if word else typed)[:1]) and in_word(text[-1:])):
                break
            word.append(text)
        return tuple(reversed(word))

    def first(self, typed: str) -> Tensor:
        """bool [V]: True where a token does not begin with `typed`."""
        return self._barred(typed, True)

    def last(self, kept: str) -> Tensor:
        """bool [V]: True where a token does not end with `kept`."""
        return self._barred(kept, False)

    def toward(self, text: str) -> Tensor:
        """bool [V]: True where a token neither begins with `text` nor is a beginning of it."""
        return self._astray(text)

    def text(self, id_: int) -> str:
        """Of one id; "" for one that stands for none or for half a character."""
        return self._texts.get(id_, "")

    def _stray(self, text: str) -> Tensor:
        barred = self.first(text).clone()
        for n in range(1, len(text)):
            barred[self._forward.beginning(text[:n], whole=True)] = False
        return barred

    def _bar(self, text: str, forward: bool) -> Tensor:
        ordered = self._forward if forward else self._backward
        barred = torch.ones(self._size, dtype=torch.bool)
        barred[ordered.beginning(text if forward else text[::-1])] = False
        return barred


class _Sorted:
    def __init__(self, texts: dict[int, str]) -> None:
        pairs = sorted((text, id_) for id_, text in texts.items())
        self._texts = [text for text, _ in pairs]
        self._ids = torch.tensor([id_ for _, id_ in pairs], dtype=torch.int64)

    def beginning(self, text: str, whole: bool = False) -> Tensor:
        """Ids [N] whose text begins with `text`, or is just that."""
        start = bisect_left(self._texts, text)
        end = bisect_right(self._texts, text, start) if whole else bisect_left(self._texts, text + LAST, start)
        return self._ids[start:end]


def in_word(char: str) -> bool:
    """Whether one character belongs to a word; "" does not."""
    return char.isalnum() or char == "_"
