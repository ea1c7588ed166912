"""Weights in place: packed ones in the modules that use them, and any of them filled piece by piece.

On a GPU a packed matrix is multiplied as it is; elsewhere it is unpacked where it is used and forgotten again, a block
of rows at a time where it is large. Knows nothing of checkpoints; knows of the network only that it is made of modules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .kernels.linear import packed_linear
from .kernels.packing import Kind, Packed, pack, unpack
from .kernels.target import use_triton

ROWS = 16384  # of an embedding, unpacked at a time


class Embedding(nn.Embedding):
    """Token embeddings [V, H] and the three uses a tied one has."""

    def head(self, hidden: Tensor) -> Tensor:
        """hidden [..., H] -> logits [..., V], before any softcap."""
        return linear(hidden, self.weight)

    def expected(self, probs: Tensor) -> Tensor:
        """Probabilities [..., V] -> the mean embedding [..., H]."""
        return probs @ self.weight


class PackedEmbedding(nn.Module):
    """`Embedding` with a packed weight."""

    def __init__(self, packed: Packed, dtype: torch.dtype) -> None:
        super().__init__()
        self.packed, self.dtype = packed, dtype

    def forward(self, ids: Tensor) -> Tensor:
        return unpack(_rows(self.packed, ids), self.dtype)

    def head(self, hidden: Tensor) -> Tensor:
        if use_triton(hidden):
            return packed_linear(hidden, self.packed)
        return torch.cat([linear(hidden, block) for _, block in self._blocks(hidden.dtype)], dim=-1)

    def expected(self, probs: Tensor) -> Tensor:
        total = torch.zeros((), device=probs.device)
        for start, block in self._blocks(probs.dtype):
            total = total + (probs[..., start : start + len(block)] @ block).float()
        return total.to(probs.dtype)

    def _blocks(self, dtype: torch.dtype) -> Iterator[tuple[int, Tensor]]:
        for start in range(0, self.packed.shape[0], ROWS):
            rows = slice(start, start + ROWS)
            yield start, unpack(_rows(self.packed, rows), dtype)


class PackedLinear(nn.Module):
    """`nn.Linear` without bias, with a packed weight [N, K]."""

    def __init__(self, packed: Packed) -> None:
        super().__init__()
        self.packed = packed

    def forward(self, x: Tensor) -> Tensor:
        return packed_linear(x, self.packed)


class Slot:
    """One of the network's tensors while it is filled: whole, or an expert's rows after the other."""

    def __init__(self, shape: tuple[int, ...], kind: Kind, dtype: torch.dtype) -> None:
        """kind "bf16": not packed, in `dtype`."""
        self._shape, self._dtype = shape, dtype
        self._kind: Kind = kind
        self.value: Tensor | Packed | None = None

    def put(self, weight: Tensor | Packed, expert: int | None, start: int) -> None:
        """weight: [N, K] on the device it is for; expert None: the whole tensor."""
        if self._kind != "bf16" and isinstance(weight, Tensor):
            weight = pack(weight, self._kind)
        if expert is None:
            self.value = weight
            return
        if self.value is None:
            self.value = self._empty(weight)
        for mine, piece in zip(_tensors(self.value), _tensors(weight), strict=True):
            mine[expert, start : start + piece.shape[0]] = piece

    def _empty(self, like: Tensor | Packed) -> Tensor | Packed:
        def grown(piece: Tensor) -> Tensor:
            return piece.new_empty(*self._shape[:2], *piece.shape[1:])

        if isinstance(like, Tensor):
            return grown(like)
        scale = None if like.scale is None else grown(like.scale)
        return replace(like, data=grown(like.data), scale=scale, shape=self._shape)


def install(network: nn.Module, name: str, packed: Packed, dtype: torch.dtype) -> None:
    """Puts a packed weight where the network has the parameter `name`.

    A linear or embedding module becomes its packed kind; a parameter of any other module is replaced by the `Packed`.
    """
    path, _, leaf = name.rpartition(".")
    parent_path, _, own = path.rpartition(".")
    parent = network.get_submodule(parent_path)
    module = network.get_submodule(path)
    if isinstance(module, nn.Linear):
        setattr(parent, own, PackedLinear(packed))
    elif isinstance(module, Embedding):
        setattr(parent, own, PackedEmbedding(packed, dtype))
    else:
        delattr(module, leaf)
        setattr(module, leaf, packed)


def _rows(packed: Packed, rows: Tensor | slice) -> Packed:
    data, scale = packed.data[rows], None if packed.scale is None else packed.scale[rows]
    return replace(packed, data=data, scale=scale, shape=(*data.shape[:-1], packed.shape[-1]))


def _tensors(weight: Tensor | Packed) -> list[Tensor]:
    if isinstance(weight, Tensor):
        return [weight]
    return [weight.data] if weight.scale is None else [weight.data, weight.scale]
