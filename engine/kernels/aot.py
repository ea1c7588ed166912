"""Compiles kernels for GPUs that are not here, and reads what came out: registers, spills, shared memory, matrix
instructions.

What is compiled is what would run: the launchers themselves are called, on tensors without data, and their launches
recorded with the arguments' types and alignment as the just-in-time compiler would specialise them. `python -m
midspan.engine.kernels.aot` compiles everything for every target and prints the table; see `matrix.py` for the shapes.
"""

from __future__ import annotations

import argparse
import csv
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from .launch import Started
from .matrix import GEMMA, MINI, Shape, launches
from .target import KIB, Target

TARGETS = {
    "sm_80": Target("cuda", 80, "NVIDIA A100", 108),
    "sm_89": Target("cuda", 89, "NVIDIA GeForce RTX 4090", 128),
    "sm_90": Target("cuda", 90, "NVIDIA H200", 132),
    "sm_120": Target("cuda", 120, "NVIDIA GeForce RTX 5090", 170),
    "gfx942": Target("hip", "gfx942", "AMD Instinct MI300X", 304),
    "gfx1100": Target("hip", "gfx1100", "AMD Radeon RX 7900 XTX", 96),
}
# The instruction that tl.dot has to become, per target.
MATRIX = {"sm_80": "mma.sync", "sm_89": "mma.sync", "sm_90": "wgmma", "sm_120": "mma.sync"}
MATRIX |= {"gfx942": "v_mfma", "gfx1100": "v_wmma"}
TYPES = {
    torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32", torch.uint8: "u8", torch.int8: "i8",
    torch.int16: "i16", torch.int32: "i32", torch.int64: "i64", torch.bool: "i1",
}  # fmt: skip
LARGEST_INT32 = 2**31


@dataclass(frozen=True)
class Compiled:
    """What one launch became on one target. spills: bytes of stack (scratch on AMD) per thread."""

    kernel: str
    target: str
    options: str
    registers: int
    spills: int
    shared: int
    matrix: str  # the matrix instructions there are, e.g. "wgmma x32"

    @property
    def shared_limit(self) -> int:
        return TARGETS[self.target].shared

    def faults(self, matrix: str | None) -> list[str]:
        """Why this must not ship; matrix: the instruction that it should multiply with, None: it multiplies nothing."""
        found = []
        if self.spills:
            found.append(f"spills {self.spills} bytes")
        if self.shared > self.shared_limit:
            found.append(f"{self.shared} bytes of shared memory of {self.shared_limit}")
        if matrix is not None and matrix not in self.matrix:
            found.append(f"no {matrix}")
        return found


def specialised(started: Started) -> tuple[dict[str, str], dict[Any, Any], dict[Any, Any]]:
    """Signature, constants and attributes, as Triton's just-in-time compiler derives them from these arguments.

    Tensors come without addresses here: all are taken to begin at a multiple of 16 bytes, as torch allocates them.
    """
    signature, constants, attributes = {}, {}, {}
    for param in started.kernel.params:
        value = started.arguments[param.name]
        where = (param.num,)
        one = isinstance(value, int) and value == 1 and not param.do_not_specialize
        if param.is_constexpr or value is None or one:
            signature[param.name], constants[where] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[param.name] = "*" + TYPES[value.dtype]
            attributes[where] = [["tt.divisibility", 16]]
        elif isinstance(value, float):
            signature[param.name] = "fp32"
        else:
            signature[param.name] = "i32" if abs(value) < LARGEST_INT32 else "i64"
            if value % 16 == 0 and not param.do_not_specialize:
                attributes[where] = [["tt.divisibility", 16]]
    return signature, constants, attributes


def compile_for(started: Started, target_name: str) -> Compiled:
    """Raises what Triton raises when the kernel does not compile at all."""
    target = TARGETS[target_name]
    signature, constants, attributes = specialised(started)
    source = ASTSource(started.kernel, signature, constants, attributes)
    binary = triton.compile(source, GPUTarget(target.backend, target.arch, target.warp), dict(started.options))
    registers, spills = (_nvidia if target.backend == "cuda" else _amd)(binary)
    text = binary.asm["ptx" if target.backend == "cuda" else "amdgcn"]
    return Compiled(
        kernel=started.kernel.fn.__name__,
        target=target_name,
        options=f"w{started.options['num_warps']} s{started.options['num_stages']}",
        registers=registers,
        spills=spills,
        shared=binary.metadata.shared,
        matrix=_matrix(text),
    )


def expected_matrix(started: Started, target_name: str) -> str | None:
    """The matrix instruction a launch should come to, None for a kernel without products. A left factor of fewer than
    64 rows is too small for Hopper's wgmma."""
    arguments = started.arguments
    if "BLOCK_DEPTH" not in arguments:
        return None
    kernel = started.kernel.fn.__name__
    left = {"rectangle_kernel": "BLOCK_ROWS", "soft_kernel": "BLOCK_ROWS", "route_kernel": "BLOCK_EXPERTS"}
    small = arguments[left.get(kernel, "BLOCK_COLUMNS")] < 64
    return "mma.sync" if small and target_name == "sm_90" else MATRIX[target_name]


def _matrix(text: str) -> str:
    """Matrix instructions of PTX or AMD assembly, e.g. "wgmma.mma_async.m64n16k16 x8"."""
    found = re.findall(r"(wgmma\.mma_async|mma\.sync)\.\S*?(m\d+n\d+k\d+)|(v_mfma|v_wmma)_f32_(\d+x\d+x\d+)", text)
    names = [f"{a or c}.{b or d}" for a, b, c, d in found]
    return ", ".join(f"{name} x{names.count(name)}" for name in sorted(set(names)))


def _nvidia(binary: Any) -> tuple[int, int]:
    with NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(binary.asm["cubin"])
        command = [_cuobjdump(), "--dump-resource-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return int(re.findall(r"REG:(\d+)", text)[0]), int(re.findall(r"STACK:(\d+)", text)[0])


def _amd(binary: Any) -> tuple[int, int]:
    text = binary.asm["amdgcn"]
    return (
        int(re.findall(r"\.vgpr_count:\s*(\d+)", text)[0]),
        int(re.findall(r"\.private_segment_fixed_size:\s*(\d+)", text)[0]),
    )


@lru_cache
def _cuobjdump() -> str:
    path = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    return str(path) if path.exists() else "cuobjdump"


def compile_all(target_name: str, shape: Shape, pattern: str = "") -> Iterator[tuple[str, Compiled, list[str]]]:
    """(case, what came out, its faults) of every different launch on a target; pattern: in the case's name."""
    seen = set()
    for name, started in launches(TARGETS[target_name], shape):
        identity = (started.kernel.fn.__name__, str(specialised(started)), str(started.options))
        if pattern not in name or identity in seen:
            continue
        seen.add(identity)
        compiled = compile_for(started, target_name)
        yield name, compiled, compiled.faults(expected_matrix(started, target_name))


HEADER = ("model", "case", "kernel", "target", "launch", "registers", "spills", "shared", "limit", "matrix", "faults")


def row(model: str, case: str, compiled: Compiled, faults: list[str]) -> tuple[str | int, ...]:
    c = compiled
    numbers = (c.registers, c.spills, c.shared, c.shared_limit)
    return (model, case, c.kernel, c.target, c.options, *numbers, c.matrix, "; ".join(faults))


def main() -> int:
    parser = argparse.ArgumentParser(description="Compile every kernel ahead of time; exit 1 where a gate fails.")
    parser.add_argument("--target", choices=TARGETS, action="append", help="only these (default: all)")
    parser.add_argument("--case", default="", help="only cases with this in their name")
    parser.add_argument("--csv", type=Path, help="write the table there, too")
    options = parser.parse_args()
    rows = []
    for target in options.target or TARGETS:
        for model, shape in (("DiffusionGemma", GEMMA), ("midspan-mini", MINI)):
            for case, compiled, faults in compile_all(target, shape, options.case):
                rows.append(row(model, case, compiled, faults))
                print(table_line(rows[-1]), flush=True)
    if options.csv:
        with options.csv.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([HEADER, *rows])
    faulty = [each for each in rows if each[-1]]
    print(f"{len(rows)} launches compiled with triton {triton.__version__}, {len(faulty)} at fault")
    return 1 if faulty else 0


def table_line(cells: tuple[str | int, ...]) -> str:
    _, case, kernel, target, launch, registers, spills, shared, limit, matrix, faults = cells
    return (
        f"{target:8} {case:20} {kernel:24} {launch:6} {registers:4} registers {spills:5} spilled "
        f"{int(shared) / KIB:6.1f}/{int(limit) // KIB} KiB  {matrix} {faults}"
    )


if __name__ == "__main__":
    sys.exit(main())
