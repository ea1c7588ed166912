"""Keys and values of an encoded prefix.

Knows shapes only: nothing of tokens, text or documents. The encoder appends, the canvas reads; nothing else writes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .config import NetworkConfig

SLACK = 64  # tokens that a fork has room for at least
GROWTH = 256  # tokens; capacity is rounded up to this, so that typing rarely reallocates


class KVCache:
    """Per layer K and V of `length` encoded tokens, [B, num_key_value_heads, length, head_dim].

    Sliding layers keep every key, not just the window: a prefix can then be rolled back to any earlier length
    (`truncate`) and extended again without encoding anything twice.
    """

    def __init__(self, buffers: list[Tensor], length: int = 0) -> None:
        """buffers: per layer [2, B, num_key_value_heads, capacity, head_dim], K then V; `length` of it in use."""
        self._buffers = buffers
        self.length = length
        self.shift = 0  # tokens that have no place in the text, such as its suffix: positions go on as if without them

    @property
    def position(self) -> int:
        """Of the next token."""
        return self.length - self.shift

    @classmethod
    def empty(cls, config: NetworkConfig, batch: int, device: torch.device, dtype: torch.dtype) -> KVCache:
        shapes = [config.attention(i) for i in range(config.num_hidden_layers)]
        return cls(
            [
                torch.empty(2, batch, shape.num_key_value_heads, 0, shape.head_dim, device=device, dtype=dtype)
                for shape in shapes
            ]
        )

    @property
    def nbytes(self) -> int:
        return sum(buffer.nbytes for buffer in self._buffers)

    def truncate(self, length: int) -> None:
        """Forgets all but the first `length` tokens."""
        assert 0 <= length <= self.length
        self.length = length

    def append(self, layer_idx: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Writes K, V [B, kv, T, D] behind `length` and returns all keys and values so far, the new ones included.

        `length` itself moves only in `advance`, once every layer has been written.
        """
        start, end = self.length, self.length + k.shape[2]
        buffer = self.room(layer_idx, k.shape[2])
        buffer[0, :, :, start:end] = k
        buffer[1, :, :, start:end] = v
        return buffer[0, :, :, :end], buffer[1, :, :, :end]

    def room(self, layer_idx: int, n_tokens: int) -> Tensor:
        """A layer's K and V, [2, B, kv, capacity, D]: `length` tokens are in use, and `n_tokens` more fit in."""
        end, buffer = self.length + n_tokens, self._buffers[layer_idx]
        if buffer.shape[3] < end:
            capacity = -(-end // GROWTH) * GROWTH
            grown = buffer.new_empty(*buffer.shape[:3], capacity, buffer.shape[4])
            grown[:, :, :, : self.length] = buffer[:, :, :, : self.length]
            self._buffers[layer_idx] = buffer = grown
        return buffer

    def fork(self, batch: int, length: int) -> KVCache:
        """A cache of `batch` copies of the first `length` tokens (this one has batch 1), to be extended on its own."""
        assert length <= self.length
        capacity = -(-(length + SLACK) // GROWTH) * GROWTH  # or the first `append` would copy everything again
        forked = []
        for buffer in self._buffers:
            _, _, heads, _, dim = buffer.shape
            forked.append(buffer.new_empty(2, batch, heads, capacity, dim))
            forked[-1][:, :, :, :length] = buffer[:, :, :, :length]
        own = KVCache(forked, length)
        own.shift = self.shift
        return own

    def rewound(self, n_tokens: int) -> KVCache:
        """This one without its last `n_tokens`, to fork from: they share their memory."""
        own = KVCache(self._buffers, self.length - n_tokens)
        own.shift = self.shift
        return own

    def reordered(self, rows: Sequence[int], start: int, length: int) -> KVCache:
        """One of `length` tokens whose row i is row rows[i] of this one, up to `start` the same in all; it writes on
        where this one has room, and this one is not to be used until it was done with."""
        views = [buffer[:, : len(rows)] for buffer in self._buffers]
        for view, buffer in zip(views, self._buffers, strict=True):
            view[:, :, :, start:length] = buffer[:, rows, :, start:length]
        own = KVCache(views, length)
        own.shift = self.shift
        return own

    def advance(self, n_tokens: int) -> None:
        self.length += n_tokens

    def read(self, layer_idx: int, last: int | None = None) -> tuple[Tensor, Tensor]:
        """K, V of the last `last` tokens (None: all), as views."""
        start = 0 if last is None else max(0, self.length - last)
        buffer = self._buffers[layer_idx]
        return buffer[0, :, :, start : self.length], buffer[1, :, :, start : self.length]
