# ruff: noqa: N803, N806, PLR1714
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportArgumentType=false
"""Products with packed weights: words in, the activations' dtype out, between a load and a dot.

Exact: a level of fp8, int8 or int4 is a bfloat16. At full bandwidth a multiprocessor of an H200 is fed 36 G weights of
a byte, or 73 G of half a byte, per second and issues 225 G instructions, so a weight may cost two or three. Compilers
spend up to nine, hence PTX for bfloat16 on NVIDIA, which turns two 16-bit words into a register of two weights with
four or five instructions. Everything else (float16, float32, AMD, the interpreter) goes word by word.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .packing import GROUP, PLANE, Packed
from .target import interpreted, target_of

DTYPES = {torch.bfloat16: tl.bfloat16, torch.float16: tl.float16, torch.float32: tl.float32}

# Each takes two words ($1) to the weights of one plane ($0). fma with -0 or 1: sm_80 has no bf16x2 product or sum.
# e4m3: sign, exponent and mantissa move to where bfloat16 has them; the exponent is 120 short, which a product with
# 2^120 mends, subnormals included.
FP8_PTX = (
    "{.reg .b32 a, b, c, z; shl.b32 a, $1, 4; and.b32 a, a, 0x07f007f0; shl.b32 b, $1, 8; and.b32 b, b, 0x80008000; "
    "or.b32 a, a, b; mov.b32 c, 0x7b807b80; mov.b32 z, 0x80008000; fma.rn.bf16x2 $0, a, c, z;}",
    "{.reg .b32 a, b, c, z; shr.u32 a, $1, 4; and.b32 a, a, 0x07f007f0; and.b32 b, $1, 0x80008000; "
    "or.b32 a, a, b; mov.b32 c, 0x7b807b80; mov.b32 z, 0x80008000; fma.rn.bf16x2 $0, a, c, z;}",
)
# int8: 0x4300 | lower seven bits is 128 + them; 0x4300 | sign bit is 128, or 256 for a negative number.
INT8_PTX = tuple(
    f"{{.reg .b32 a, b, c; shr.u32 a, $1, {shift}; and.b32 b, a, 0x00800080; and.b32 a, a, 0x007f007f; "
    "or.b32 a, a, 0x43004300; or.b32 b, b, 0x43004300; mov.b32 c, 0xbf80bf80; fma.rn.bf16x2 $0, b, c, a;}"
    for shift in (0, 8)
)
# int4: 0x4300 | level is 128 + it; less 136 takes the 8 off as well.
INT4_PTX = tuple(
    f"{{.reg .b32 a, b, c; shr.u32 a, $1, {shift}; and.b32 a, a, 0x000f000f; or.b32 a, a, 0x43004300; "
    "mov.b32 b, 0x3f803f80; mov.b32 c, 0xc308c308; fma.rn.bf16x2 $0, a, b, c;}"
    for shift in (0, 4, 8, 12)
)


@triton.constexpr_function
def ptx(kind: str, plane: int) -> str:
    return {"fp8": FP8_PTX, "int8": INT8_PTX, "int4": INT4_PTX}[kind][plane]


@triton.jit
def plane_of(words, PLANE_NO: tl.constexpr, KIND: tl.constexpr, DTYPE: tl.constexpr, PTX: tl.constexpr):
    """words: int16 of packed weights -> the levels of one plane in DTYPE, without their scale."""
    if PTX and tl.bfloat16 == DTYPE:
        return tl.inline_asm_elementwise(ptx(KIND, PLANE_NO), "=r,r", [words], dtype=tl.bfloat16, is_pure=True, pack=2)
    bits = words.to(tl.int32)
    if KIND == "int4":
        return (((bits >> (4 * PLANE_NO)) & 15) - 8).to(DTYPE)
    byte = (bits >> (8 * PLANE_NO)) & 255
    if KIND == "int8":
        return (byte - ((byte & 128) << 1)).to(DTYPE)
    lifted = ((byte & 0x80) << 24) | ((byte & 0x7F) << 20)
    return (lifted.to(tl.float32, bitcast=True) * 1.329227995784916e36).to(DTYPE)


@triton.jit
def group_scales(scales, row, at, DEPTH: tl.constexpr, ROWS: tl.constexpr, BLOCKS: tl.constexpr, DTYPE: tl.constexpr):
    """The int4 scales [ROWS, BLOCKS * 16] of a plane in BLOCKS blocks of 64; at: the first one's group of 32."""
    GROUPS: tl.constexpr = DEPTH // 32
    group = at + 2 * tl.arange(0, BLOCKS)
    scale = tl.load(scales + row[:, None] * GROUPS + group[None, :], mask=group[None, :] < GROUPS, other=0.0).to(DTYPE)
    return tl.reshape(tl.broadcast_to(scale[:, :, None], (ROWS, BLOCKS, 16)), (ROWS, BLOCKS * 16))


@triton.jit
def plain_product(acc, weight, row, rows_of_x, at, DEPTH: tl.constexpr, BLOCK_DEPTH: tl.constexpr):
    k = at + tl.arange(0, BLOCK_DEPTH)
    address = weight + row[:, None].to(tl.int64) * DEPTH + k[None, :]
    if DEPTH % BLOCK_DEPTH == 0:
        w = tl.load(address, eviction_policy="evict_first")
        x = tl.load(rows_of_x[None, :] + k[:, None])
    else:
        w = tl.load(address, mask=k[None, :] < DEPTH, other=0.0, eviction_policy="evict_first")
        x = tl.load(rows_of_x[None, :] + k[:, None], mask=k[:, None] < DEPTH, other=0.0)
    return tl.dot(w, x, acc, input_precision="ieee")


@triton.jit
def packed_product(
    acc,
    weight,
    scales,
    row,
    rows_of_x,
    at,
    DEPTH: tl.constexpr,
    KIND: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_DEPTH: tl.constexpr,
    DTYPE: tl.constexpr,
    PTX: tl.constexpr,
):
    PLANES: tl.constexpr = 4 if KIND == "int4" else 2
    WORDS_DEEP: tl.constexpr = BLOCK_DEPTH // PLANES
    EVEN: tl.constexpr = DEPTH % BLOCK_DEPTH == 0
    word = tl.arange(0, WORDS_DEEP)
    k = at + word // 16 * (16 * PLANES) + word % 16  # where the word's first weight stands; the others 16 apart
    address = weight + row[:, None].to(tl.int64) * (DEPTH // PLANES) + (at // PLANES + word)[None, :]
    if EVEN:
        words = tl.load(address, eviction_policy="evict_first")
    else:
        words = tl.load(address, mask=k[None, :] < DEPTH, other=0, eviction_policy="evict_first")
    for plane in tl.static_range(PLANES):
        w = plane_of(words, plane, KIND, DTYPE, PTX)
        if KIND == "int4":
            w *= group_scales(scales, row, at // 32 + plane // 2, DEPTH, BLOCK_COLUMNS, WORDS_DEEP // 16, DTYPE)
        if EVEN:
            x = tl.load(rows_of_x[None, :] + (k + 16 * plane)[:, None])
        else:
            x = tl.load(rows_of_x[None, :] + (k + 16 * plane)[:, None], mask=k[:, None] < DEPTH, other=0.0)
        acc = tl.dot(w, x, acc, input_precision="ieee")
    return acc


@triton.jit
def tile_product(
    acc,
    weight,
    scales,
    row,
    rows_of_x,
    at,
    DEPTH: tl.constexpr,
    KIND: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_DEPTH: tl.constexpr,
    DTYPE: tl.constexpr,
    PTX: tl.constexpr,
):
    """acc [BLOCK_COLUMNS, rows] + W[row, at:at + BLOCK_DEPTH] @ x[:, at:at + BLOCK_DEPTH]^T, but for a channel's scale.

    The weight is the left factor: on Hopper its 64 rows fill a wgmma and, dequantised, go into it from registers,
    while 16 tokens are a legal width. weight, scales: pointers to the matrix [N, DEPTH] in question; row:
    [BLOCK_COLUMNS] rows of it; rows_of_x: pointers to where rows of x begin.
    """
    if KIND == "plain":
        acc = plain_product(acc, weight, row, rows_of_x, at, DEPTH, BLOCK_DEPTH)
    else:
        acc = packed_product(
            acc, weight, scales, row, rows_of_x, at, DEPTH, KIND, BLOCK_COLUMNS, BLOCK_DEPTH, DTYPE, PTX
        )
    return acc


@triton.jit
def matrix_of(weight, scales, index, ROWS: tl.constexpr, DEPTH: tl.constexpr, KIND: tl.constexpr):
    """Pointers to the index-th matrix [ROWS, DEPTH] and to its scales: per row, int4 per group of 32."""
    elements = index.to(tl.int64) * ROWS * DEPTH
    if KIND == "plain":
        return weight + elements, scales
    elif KIND == "int4":
        return weight + elements // 4, scales + elements // 32
    else:
        return weight + elements // 2, scales + index * ROWS


@triton.jit
def channel_scaled(acc, scales, row, KIND: tl.constexpr):
    """acc [rows of the weight, rows of x] of fp8 or int8 weights, by the scales of `row`."""
    if KIND == "fp8" or KIND == "int8":
        acc *= tl.load(scales + row)[:, None]
    return acc


def operands(weight: Tensor | Packed) -> tuple[Tensor, Tensor, str]:
    """Data as the kernels read it, scales, and their KIND: a tensor of any float dtype is "plain". What has no scales
    is its own: Triton 3.6 cannot hand None from one function to the next."""
    if isinstance(weight, Tensor):
        return weight, weight, "plain"
    if weight.scale is None:
        return weight.data, weight.data, "plain"
    assert (GROUP, PLANE) == (32, 16), "tile_product is written for these"
    return weight.data.view(torch.int16), weight.scale, weight.kind


def compiled_for(x: Tensor) -> dict[str, Any]:
    """The constant that every kernel with packed weights takes."""
    return {"PTX": target_of(x.device).backend == "cuda" and not interpreted()}
