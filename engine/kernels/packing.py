"""Weights in fewer bits: what `pack` writes once at load, the kernels and `unpack` read.

All forms are symmetric, so a weight is an integer (or an 8-bit float) times a scale, and a scale is taken along K, the
dimension that a product sums over. Knows nothing of checkpoints, layers or devices.

Weights stand in *planes* of 16 along K: a 16-bit word holds one weight of each of two planes (8-bit kinds) or four
(int4). A matrix unit wants neighbours along K side by side in a 32-bit register, and two neighbouring words give just
that for every plane with a shift and a mask: no byte is ever moved. A product sums the planes one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import EngineError

Kind = Literal["bf16", "fp8", "int8", "int4"]

GROUP = 32  # weights along K that share an int4 scale; 2816 and 704, the K of DiffusionGemma's experts, divide by it
MULTIPLE = {"bf16": 1, "fp8": 32, "int8": 32, "int4": 64}  # what K has to divide by
PLANE = 16  # weights along K that stand in neighbouring words: the depth of one matrix instruction
ROWS = 8192  # packed at a time
FP8_MAX = 448.0  # largest finite float8_e4m3fn


@dataclass(frozen=True)
class Packed:
    """A weight [..., N, K] of logical `shape`.

    | kind | data                                          | scale                     | K is a multiple of |
    |------|-----------------------------------------------|---------------------------|--------------------|
    | bf16 | [..., N, K] bfloat16                          | None                      | 1                  |
    | fp8  | [..., N, K] float8_e4m3fn, planes interleaved | [..., N] float32          | 32                 |
    | int8 | [..., N, K] int8 of -127..127, likewise       | [..., N] float32          | 32                 |
    | int4 | [..., N, K / 2] uint8, planes interleaved     | [..., N, K / 32] bfloat16 | 64                 |

    fp8, int8: of every 32 weights, byte 2j is weight j, byte 2j + 1 weight j + 16. int4: of every 64, byte 2j has
    weights j and j + 16 in its lower and upper four bits, byte 2j + 1 weights j + 32 and j + 48; each plus 8.
    """

    data: Tensor
    scale: Tensor | None
    kind: Kind
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return self.data.nbytes + (0 if self.scale is None else self.scale.nbytes)

    @property
    def device(self) -> torch.device:
        return self.data.device

    def to(self, device: torch.device | str) -> Packed:
        return replace(self, data=self.data.to(device), scale=None if self.scale is None else self.scale.to(device))

    def __getitem__(self, i: int) -> Packed:
        """The i-th of the leading dimension, as views: one expert of all."""
        assert len(self.shape) > 2
        return Packed(self.data[i], None if self.scale is None else self.scale[i], self.kind, self.shape[1:])


def pack(weight: Tensor, kind: Kind) -> Packed:
    """weight [..., N, K] in any float dtype. Raises EngineError: an unknown kind, a K it cannot take.

    Goes some rows at a time, so that the float32 copy it works on stays small beside the weight.
    """
    if kind not in get_args(Kind):
        raise EngineError(f"weights cannot be packed as {kind!r}, expected one of {', '.join(get_args(Kind))}")
    shape = tuple(weight.shape)
    if kind == "bf16":
        return Packed(weight.to(torch.bfloat16), None, kind, shape)
    if shape[-1] % MULTIPLE[kind]:
        raise EngineError(f"{kind} weights need a multiple of {MULTIPLE[kind]} inputs, not {shape[-1]}")
    rows = weight.reshape(-1, shape[-1])
    datas, scales = zip(*(_PACK[kind](chunk.float()) for chunk in rows.split(ROWS)), strict=True)
    data, scale = torch.cat(datas), torch.cat(scales)
    return Packed(data.view(*shape[:-1], -1), scale.view(*shape[:-1], *scale.shape[1:]), kind, shape)


def adopt_fp8(data: Tensor, scale: Tensor) -> Packed:
    """A published fp8 weight, bit for bit: data [..., N, K] float8_e4m3fn in plain order, scale [..., N] or [..., N, 1]
    float, one per output channel. K is a multiple of 32."""
    shape = tuple(data.shape)
    return Packed(_interleaved(data), scale.reshape(shape[:-1]).float(), "fp8", shape)


def unpack(packed: Packed, dtype: torch.dtype) -> Tensor:
    """The weight [..., N, K] that the packed form stands for, computed in float32 and rounded to `dtype` once."""
    if packed.scale is None:
        return packed.data.to(dtype)
    scale = packed.scale.float()
    if packed.kind != "int4":
        planes = packed.data.unflatten(-1, (-1, PLANE, 2)).transpose(-1, -2).flatten(-3)
        return (planes.float() * scale[..., None]).to(dtype)
    words = packed.data.unflatten(-1, (-1, PLANE, 2))  # [..., N, K / 64, 16, 2 bytes]
    planes = torch.stack((words & 15, words >> 4), dim=-1).flatten(-2).transpose(-1, -2)  # [..., N, K / 64, 4, 16]
    levels = planes.reshape(*planes.shape[:-3], -1, GROUP).float() - 8
    return (levels * scale[..., None]).flatten(-2).to(dtype)


def _interleaved(data: Tensor) -> Tensor:
    """[..., K] of bytes in plain order -> in the order of the 8-bit kinds."""
    return data.unflatten(-1, (-1, 2, PLANE)).transpose(-1, -2).flatten(-3)


def _fp8(weight: Tensor) -> tuple[Tensor, Tensor]:
    scale = _scale(weight.abs().amax(-1), FP8_MAX)
    return _interleaved((weight / scale[:, None]).clamp(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn)), scale


def _int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    scale = _scale(weight.abs().amax(-1), 127)
    return _interleaved((weight / scale[:, None]).round().clamp(-127, 127).to(torch.int8)), scale


def _int4(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The weight of the largest magnitude becomes level -8, whatever its sign: the scale carries the sign. All sixteen
    levels are used, a step is 1/8 of the largest weight instead of 1/7."""
    groups = weight.unflatten(-1, (-1, GROUP))
    largest = groups.gather(-1, groups.abs().argmax(-1, keepdim=True)).squeeze(-1)
    scale = torch.where(largest == 0, torch.ones_like(largest), largest / -8).to(torch.bfloat16)
    levels = ((groups / scale.float()[..., None]).round().clamp(-8, 7) + 8).to(torch.uint8)
    planes = levels.view(len(weight), -1, 4, PLANE)
    low, high = planes[:, :, 0::2], planes[:, :, 1::2]  # planes 0, 2 and 1, 3: [N, K / 64, 2, 16]
    return (low | high << 4).transpose(-1, -2).flatten(-3), scale


def _scale(largest: Tensor, levels: float) -> Tensor:
    return torch.where(largest == 0, torch.ones_like(largest), largest / levels)


_PACK = {"fp8": _fp8, "int8": _int8, "int4": _int4}
