"""Kernels compiled for GPUs that are not here: no spills, shared memory within limits, the expected matrix instruction.

A part of what `python -m midspan.engine.kernels.aot` compiles; the whole is in tests/bench/results/kernels_aot.csv.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("triton")
from midspan.engine.kernels import aot, launch, matrix
from midspan.engine.kernels.launch import Launch
from midspan.engine.kernels.target import pretend

TABLE = Path(__file__).parents[1] / "bench" / "results" / "kernels_aot.csv"
# (target, case): every kind of weight, both head sizes, every family of GPUs, and what came closest to a limit.
PART = [
    ("sm_90", "experts bf16 256 rows"),
    ("sm_90", "experts int4 256 rows"),
    ("sm_90", "rectangle 512"),
    ("sm_90", "after"),
    ("sm_90", "soft bf16 256 rows"),
    ("sm_80", "experts fp8 64 rows"),
    ("sm_89", "rectangle 512"),
    ("sm_120", "experts int8 64 rows"),
    ("gfx942", "experts bf16 64 rows"),
    ("gfx1100", "rectangle 256"),
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    yield


@pytest.mark.parametrize(("target", "case"), PART)
def test_kernels_compile_within_their_gates(target: str, case: str) -> None:
    compiled = list(aot.compile_all(target, matrix.GEMMA, case))
    assert compiled
    for name, what, faults in compiled:
        print(aot.table_line(aot.row("DiffusionGemma", name, what, faults)))
        assert not faults, f"{what.kernel} on {target}: {faults}"


def test_the_gates_notice_a_tile_that_cannot_launch() -> None:
    """Compiles, spills, and wants more shared memory than there is."""
    call = dict(matrix.cases(matrix.GEMMA))["rectangle 512"]
    too_large = Launch(128, 32, 512, warps=8, stages=2)
    with pretend(aot.TARGETS["sm_90"]), launch.force("rectangle", too_large), launch.record() as started:
        call()
    faults = aot.compile_for(started[0], "sm_90").faults("wgmma")
    assert any("spills" in fault for fault in faults) and any("shared" in fault for fault in faults)


def test_every_target_has_every_case_in_the_committed_table_and_none_is_at_fault() -> None:
    with TABLE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    listed = {(row["model"], row["target"], row["case"]) for row in rows}
    for model, shape in (("DiffusionGemma", matrix.GEMMA), ("midspan-mini", matrix.MINI)):
        kernels = {row["kernel"] for row in rows if row["model"] == model}
        for target, about in aot.TARGETS.items():
            launches = matrix.launches(about, shape)
            assert {started.kernel.fn.__name__ for _, started in launches} == kernels
            covered = {case for m, t, case in listed if (m, t) == (model, target)}
            assert covered, f"{model} on {target}"
    assert [row for row in rows if row["faults"]] == []
