"""Launch configurations: a measured one wins, what nobody measured falls back, and no machine without a GPU pays."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from midspan.engine.kernels import launch, target
from midspan.engine.kernels.launch import Launch, choose, force, key, tuned

CPU = torch.device("cpu")
HEURISTIC = Launch(16, 64, 64, 4, 3)


def chosen(rows: int = 16) -> Launch:
    return choose("gate_up", "int4", (704, 2816), rows, CPU, lambda _: HEURISTIC)


def test_a_tuned_configuration_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best = Launch(16, 128, 128, 8, 5)
    (tmp_path / "a-card.json").write_text(
        json.dumps({"launches": {key("gate_up", "int4", (704, 2816), 12): vars(best)}})
    )
    monkeypatch.setattr(launch, "tuned", lambda name: tuned(name, tmp_path))
    assert chosen() == HEURISTIC
    with target.pretend(target.Target("cuda", 90, "A  card", 4)):
        assert chosen(16) == chosen(9) == best, "rows are rounded up to a power of two"
        assert chosen(17) == chosen(8) == HEURISTIC
        with force("gate_up", Launch(1, 2, 3, 4, 5)):
            assert chosen() == Launch(1, 2, 3, 4, 5)


@pytest.mark.parametrize("path", sorted(launch.TUNED.glob("*.json")), ids=lambda path: path.stem)
def test_committed_configurations_can_be_read(path: Path) -> None:
    content = json.loads(path.read_text())
    assert launch.slug(content["device"]) == path.stem
    assert tuned(content["device"])


def test_the_tuner_finds_what_is_fastest_and_passes_over_what_does_not_fit() -> None:
    """A fake clock: the deeper the better, but where shared memory ends; four warps; stages do not matter."""
    tune = pytest.importorskip("midspan.engine.kernels.tune")
    tried: list[Launch] = []

    def clock(call: object) -> float:
        now = (launch._forced.get() or {})["down"]
        tried.append(now)
        if now.depth * now.stages > 1000:
            raise RuntimeError("out of resource: shared memory")
        return 1 / now.depth + now.warps + now.columns / 1000

    start = Launch(32, 128, 64, warps=8, stages=4)
    found = tune.fastest(lambda i: None, start, "down", time.monotonic() + 60, clock)
    assert found is not None and found[0] == Launch(32, 64, 256, warps=4, stages=2)
    assert tried[0] == start and len(tried) == len(set(tried)) < 40
    tried.clear()
    assert tune.fastest(lambda i: None, start, "down", time.monotonic() - 1, clock) == (start, 1 / 64 + 8 + 0.128)
    assert tried == [start]
    bad = Launch(32, 128, 256, warps=8, stages=6)
    found = tune.fastest(lambda i: None, bad, "down", time.monotonic() + 60, clock)
    assert found is not None and found[0].warps == 4


def test_an_unknown_gpu_gets_the_least_shared_memory() -> None:
    assert target.Target("cuda", 130, "of tomorrow", 1).shared == 99 * 1024
    assert target.Target("hip", "gfx1201", "", 1).shared == 64 * 1024


def test_without_a_gpu_triton_is_not_even_imported() -> None:
    program = (
        "import sys, torch; from midspan.engine.kernels import route; import midspan.engine.network\n"
        "route(torch.ones(2, 4), torch.eye(4), torch.ones(4), torch.ones(4), 2, 1e-6)\n"
        "sys.exit('triton' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=120).returncode == 0


def test_training_keeps_the_form_with_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")  # as if x lived where Triton runs
    x = torch.ones(1)
    assert not target.use_triton(x)
    with torch.no_grad():
        assert target.use_triton(x) == target._installed()
