"""Positions in one text: code points ⇄ UTF-8 bytes.

Knows nothing of trees or languages. In an ASCII text both are the same number; otherwise marks every `STRIDE` code
points bound what one look-up has to encode, and an edit shifts the marks behind it instead of counting again.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

STRIDE = 2048

_SURROGATE = re.compile("[\ud800-\udfff]")


def encode(text: str) -> bytes:
    """UTF-8 of any str. A lone surrogate becomes U+FFFD: one code point and three bytes either way, and valid UTF-8,
    so that no node of a parse can begin inside a code point. Pieces encoded apart and joined equal the whole."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text).encode()


@dataclass(frozen=True)
class Offsets:
    """Marks (code point, byte) in ascending order, the first at (0, 0). Both directions clamp to the text."""

    text: str
    data: bytes
    points: tuple[int, ...]
    bytes: tuple[int, ...]

    @classmethod
    def of(cls, text: str, data: bytes) -> Offsets:
        """`data` is `encode(text)`."""
        if len(text) == len(data):
            return cls(text, data, (0,), (0,))
        points, at = _marks(text)
        return cls(text, data, points, at)

    def edited(self, text: str, data: bytes, start: int, old_end: int, new: str) -> Offsets:
        """The offsets of `text`, which is this text with [start, old_end) (code points) replaced by `new`."""
        if len(text) == len(data) or len(self.text) == len(self.data):
            return Offsets.of(text, data)
        first = bisect_right(self.points, start)  # marks up to the edit stay
        last = bisect_left(self.points, old_end, lo=first)
        point_shift = len(text) - len(self.text)
        byte_shift = len(data) - len(self.data)
        base = self.byte(start)
        points, at = _marks(new)
        return Offsets(
            text,
            data,
            self.points[:first]
            + tuple(start + point for point in points[1:])
            + tuple(point + point_shift for point in self.points[last:]),
            self.bytes[:first]
            + tuple(base + byte for byte in at[1:])
            + tuple(byte + byte_shift for byte in self.bytes[last:]),
        )

    def byte(self, point: int) -> int:
        """The byte offset at which code point `point` begins."""
        if len(self.text) == len(self.data):
            return min(max(point, 0), len(self.data))
        point = min(max(point, 0), len(self.text))
        mark = bisect_right(self.points, point) - 1
        return self.bytes[mark] + len(encode(self.text[self.points[mark] : point]))

    def point(self, byte: int) -> int:
        """The code point offset of byte `byte`; inside a code point, the offset of that code point."""
        byte = min(max(byte, 0), len(self.data))
        if len(self.text) == len(self.data):
            return byte
        mark = bisect_right(self.bytes, byte) - 1
        return self.points[mark] + len(self.data[self.bytes[mark] : byte].decode(errors="ignore"))


def _marks(text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    points, at = [0], [0]
    for start in range(0, len(text) - STRIDE, STRIDE):
        points.append(start + STRIDE)
        at.append(at[-1] + len(encode(text[start : start + STRIDE])))
    return tuple(points), tuple(at)
