"""The PTX that widens packed weights, against `unpack`: run here by a small emulator, on every word there can be.

No GPU is needed and the interpreter takes another path, so nothing else would notice a wrong constant.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from midspan.engine.kernels.packing import Kind, Packed, unpack

pytest.importorskip("triton")
from midspan.engine.kernels.weights_triton import FP8_PTX, INT8_PTX, INT4_PTX  # noqa: I001

WORDS = np.arange(65536, dtype=np.uint32)


def bfloat16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def to_bfloat16(value: np.ndarray) -> np.ndarray:
    exact = torch.from_numpy(value).to(torch.bfloat16)
    assert (exact.double().numpy() == value).all(), "a level is not exact in bfloat16"
    return exact.view(torch.int16).numpy().view(np.uint16).astype(np.uint32)


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    halves = [
        to_bfloat16(bfloat16(a >> s & 0xFFFF) * bfloat16(b >> s & 0xFFFF) + bfloat16(c >> s & 0xFFFF)) for s in (0, 16)
    ]
    return halves[0] | halves[1] << 16


def run(ptx: str, word: np.ndarray) -> np.ndarray:
    """The asm's $0, given $1."""
    registers = {"$1": word}
    ones = np.ones_like(word)
    operations = {
        "shl.b32": lambda a, b: a << b, "shr.u32": lambda a, b: a >> b, "and.b32": lambda a, b: a & b,
        "or.b32": lambda a, b: a | b, "mov.b32": lambda a: a, "fma.rn.bf16x2": fma,
    }  # fmt: skip
    for statement in ptx.strip("{}").split(";")[1:]:
        if statement.strip():
            name, arguments = statement.strip().split(" ", 1)
            target, *sources = (each.strip() for each in arguments.split(","))
            values = [registers[s] if s in registers else ones * np.uint32(int(s, 0)) for s in sources]
            registers[target] = operations[name](*values).astype(np.uint32)
    return registers["$0"]


@pytest.mark.parametrize(("kind", "ptx"), [("fp8", FP8_PTX), ("int8", INT8_PTX), ("int4", INT4_PTX)])
def test_every_word_of_every_plane(kind: Kind, ptx: tuple[str, ...]) -> None:
    """Two neighbouring words in a register, the second one the first's complement: lanes must not leak."""
    pair = WORDS | (WORDS ^ 0xFFFF) << 16
    planes = len(ptx)
    # Every word as the first of a block of its own; the weights beside it are of no interest.
    data = torch.zeros(65536, 16, dtype=torch.int16)
    data[:, 0] = torch.from_numpy(WORDS.astype(np.uint16).view(np.int16))
    data[:, 1] = ~data[:, 0]
    ones = torch.ones(65536, 2) if kind == "int4" else torch.ones(65536)
    types = {"fp8": torch.float8_e4m3fn, "int8": torch.int8, "int4": torch.uint8}
    levels = unpack(Packed(data.view(types[kind]), ones, kind, (65536, 16 * planes)), torch.float32)
    for plane in range(planes):
        bits = run(ptx[plane], pair)
        for lane in (0, 1):
            actual, expected = bfloat16(bits >> 16 * lane & 0xFFFF), levels[:, 16 * plane + lane].double().numpy()
            number = ~np.isnan(expected)  # of e4m3 two words in 256 are none, and `pack` makes neither
            assert (actual[number] == expected[number]).all() and number.sum() >= 65536 * 127 / 128


def test_the_emulator_knows_all_there_is() -> None:
    used = {m for ptx in (*FP8_PTX, *INT8_PTX, *INT4_PTX) for m in re.findall(r"([a-z]+\.[a-z0-9.]+) ", ptx)}
    assert used - {".reg"} <= {"shl.b32", "shr.u32", "and.b32", "or.b32", "mov.b32", "fma.rn.bf16x2", "reg.b32"}
