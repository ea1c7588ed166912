"""The prefix: which part of the text before the gap the encoder sees, and its keys and values kept between requests.

Two promises. While someone types, the window's start stays where it is, so only new tokens are encoded. And what is
kept never shows: a cache that was rolled back and extended is, bit for bit, the one a cold start gives. Knows nothing
of canvases, tokenizers or what a document is beyond its key.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from zlib import crc32

import torch

from .cache import KVCache
from .denoise import never
from .network import Network

CHUNKS = (256, 64)  # tokens encoded in one pass: large ones for a new place, small ones for a keystroke
LEAST = 0.6  # a full window holds at least this share of the budget
LONG = 96  # characters; longer lines may be cut inside, at multiples of this from their start
GRID = 64  # characters
TYPED = 16  # tokens the line being typed counts for at least; for more in steps of half of that
BYTE_BUDGET = 256 * 2**20


@dataclass
class Encoded:
    """Ids whose keys and values a cache holds, in the chunks they were encoded in: exactly `cache.length` ids."""

    cache: KVCache
    chunks: list[list[int]] = field(default_factory=list)


class PrefixStore:
    """Encoded prefixes of the documents used last, within a byte budget; the one in use is never dropped.

    How a prefix is cut into chunks depends on its length alone, and only whole chunks at the same places are reused.
    So every chunk is computed in the same shape whatever was cached before, which is what makes the cache a function
    of the ids alone.
    """

    def __init__(self, network: Network, byte_budget: int = BYTE_BUDGET) -> None:
        self._network, self._byte_budget = network, byte_budget
        self._documents: OrderedDict[str, Encoded] = OrderedDict()

    def encode(self, document: str, ids: Sequence[int], give_up: Callable[[], object] = never) -> KVCache | None:
        """The cache of `ids`, encoding what `document`'s last prefix does not share with them.

        give_up is polled before every chunk; when it is true the answer is None and what was encoded is kept. The
        cache belongs to the store: it is valid until the next call.
        """
        entry = self._documents.setdefault(document, Encoded(self._network.new_cache()))
        self._documents.move_to_end(document)
        wanted = chunks(ids)
        n_shared = common_length(entry.chunks, wanted)
        del entry.chunks[n_shared:]
        entry.cache.truncate(sum(map(len, entry.chunks)))
        try:
            for chunk in wanted[n_shared:]:
                if give_up():
                    return None
                self._network.encode(torch.tensor([chunk], device=self._network.device), entry.cache)
                entry.chunks.append(chunk)
        finally:
            self._evict()
        return entry.cache

    def clear(self) -> None:
        self._documents.clear()

    @property
    def nbytes(self) -> int:
        return sum(entry.cache.nbytes for entry in self._documents.values())

    def _evict(self) -> None:
        used = self.nbytes
        while used > self._byte_budget and len(self._documents) > 1:
            used -= self._documents.popitem(last=False)[1].cache.nbytes


def chunks(ids: Sequence[int]) -> list[list[int]]:
    """`ids` as whole chunks of CHUNKS' sizes, largest first, and what remains."""
    cut: list[list[int]] = []
    start = 0
    for size in CHUNKS:
        while start + size <= len(ids):
            cut.append(list(ids[start : start + size]))
            start += size
    return [*cut, list(ids[start:])] if start < len(ids) else cut


def common_length(a: Sequence[object], b: Sequence[object]) -> int:
    """Length of the longest common prefix."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


def anchored_start(text: str, budget: int, n_tokens: Callable[[str], int]) -> int:
    """Where in `text` a window of at most `budget` tokens that ends with it should begin.

    A pure function of the text that reads the window and no more of it. Of the line starts that leave between LEAST and
    all of the budget, it takes the one of the highest rank (`_rank`). As text grows at the end, that choice holds until
    it falls out of the window or a line of higher rank enters it, so the start moves rarely and far.

    n_tokens: tokens of a line; called for the same lines at every keystroke, so let it remember.
    """
    starts: list[tuple[int, int, str]] = []  # (line start, start, piece) that leave no more than the budget
    eligible: list[tuple[int, int, str]] = []
    typed = min(TYPED, budget // 8)
    step = max(1, typed // 2)
    total = typed if text.endswith("\n") else 0
    for line_start, start, piece in pieces_from_end(text):
        n = n_tokens(piece)
        # A word has sometimes fewer tokens with one more letter, so the line being typed does not count by the letter.
        total += n if starts or total else max(typed, -(-n // step) * step)
        starts.append((line_start, start, piece))
        if total > budget:
            # The last line alone may be too long: the caller cuts tokens.
            within = starts[:-1] or starts
            return -max((*_rank(*place), -place[1]) for place in eligible or within[-1:])[-1]
        if total >= LEAST * budget:
            eligible.append(starts[-1])
    return 0


def steady_line(text: str, n_lines: int) -> int:
    """Where in `text` the line of the highest rank among the first `n_lines` behind its first line starts; its length
    if there is none. Moves rarely while `text` loses lines at its start."""
    starts: list[tuple[tuple[int, int], int]] = []
    start = text.find("\n") + 1
    while 0 < start < len(text) and len(starts) < n_lines:
        end = text.find("\n", start) + 1 or len(text)
        starts.append((_rank(start, start, text[start:end])[:2], -start))
        start = end
    return -max(starts)[1] if starts else len(text)


def _rank(line_start: int, start: int, piece: str) -> tuple[int, int, int, int]:
    """Rank of a window beginning with `piece`: a line without indentation before others, then by the line's checksum,
    which no edit elsewhere changes; equal lines by how even their place is, so that the start holds still in a table
    of them as well. Pieces inside a line by their number."""
    if start > line_start:
        return 0, 0, _evenness((start - line_start) // LONG), 0
    unindented = piece[0] not in ")]}" and not piece[0].isspace()
    checksum = crc32(piece.encode("utf-8", "surrogatepass"))
    return 1 + unindented, checksum, _evenness(start // GRID), _evenness(start)


def _evenness(number: int) -> int:
    """How often 2 divides `number`; 0 counts as more even than any."""
    return (number & -number).bit_length() if number else 64


def pieces_from_end(text: str) -> Iterator[tuple[int, int, str]]:
    """(start of its line, start, text) of the lines of `text`, last first, newline included; of long lines, pieces of
    LONG characters."""
    end = len(text)
    while end > 0:
        line_start = text.rfind("\n", 0, end - 1) + 1
        while end > line_start:
            start = line_start + (end - line_start - 1) // LONG * LONG
            yield line_start, start, text[start:end]
            end = start
