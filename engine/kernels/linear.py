"""A linear layer with a packed weight."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import linear

from .packing import Packed, unpack
from .target import use_triton


def linear_torch(x: Tensor, weight: Packed) -> Tensor:
    """x [..., K] @ weight [N, K]^T: [..., N]."""
    return linear(x, unpack(weight, x.dtype))


def packed_linear(x: Tensor, weight: Packed) -> Tensor:
    """As `linear_torch`, where there is a GPU without unpacking the weight into memory."""
    if use_triton(x) and weight.kind != "bf16":
        from .linear_triton import linear_triton  # noqa: PLC0415

        return linear_triton(x.contiguous(), weight)
    return linear_torch(x, weight)
