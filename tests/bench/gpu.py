"""The engine's step on a GPU, at DiffusionGemma's full size with random weights, against others in the same call.

    python tests/bench/gpu.py             # by path, from anywhere: torch, triton, transformers, no installation
    python tests/bench/gpu.py --rehearse  # every line of it, tiny, on a CPU

First correctness, on poisoned memory, then times: medians with p10 and p90, arms in turns, over all layers' weights.
Every arm has a limit of its own and may fail alone; after each, what is known is on disk. A later call takes it up
and measures what is missing, so a machine lent for ten minutes at a time is enough:

    python3 tests/bench/gpu.py --seconds=540 --tune=150 --results="$OUT"   # correct? ceilings, tiles, experts, steps
    python3 tests/bench/gpu.py --seconds=540 --results="$OUT"              # fills, prefixes, transformers beside it
    python3 tests/bench/gpu.py --seconds=420 --results="$OUT"              # what failed or had no time

On a fresh machine carry `.cache/bench-gpu`, with what came back in it, or it starts from the beginning. --redo=NAME
measures anew the arms with NAME in theirs. Without a GPU it says so, prints the bytes and floors of a step, and exits
with 0. The last line is one JSON object, which also goes to gpu-<device>.json among the results.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import types
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
REHEARSE = "--rehearse" in sys.argv
if REHEARSE:
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported
sys.path.insert(0, str(HERE))
if "midspan" not in sys.modules:  # `midspan.engine` without installing it: the repository's root is the package
    package = types.ModuleType("midspan")
    package.__path__ = [str(ROOT)]
    sys.modules["midspan"] = package

import torch  # noqa: E402
from gpu_clock import ceilings  # noqa: E402
from gpu_experts import Experts  # noqa: E402
from gpu_model import FULL, TINY, config_dict, hugging_face, ours, packed  # noqa: E402
from gpu_peers import Peers  # noqa: E402
from gpu_report import Report, alarm  # noqa: E402
from gpu_steps import Steps, step_bytes  # noqa: E402

DATASHEET_TB = {"H200": 4.8, "H100": 3.35, "A100": 2.04, "4090": 1.008, "5090": 1.792}
ARMS = (("bf16", "bf16"), ("fp8", "fp8"), ("int4", "fp8"))  # experts, rest
PREFIXES = (512, 2048, 8192)
BUILD_SECONDS = 150  # for the model, before the first arm that needs it


def floors(dims: dict[str, int]) -> dict[str, Any]:
    """GB per step, and milliseconds at the bandwidths of datasheets."""
    return {
        f"experts {experts}, rest {rest}": {
            "GB": round((size := step_bytes(dims, experts, rest, 1024)) / 1e9, 2),
            **{f"{name} ms": round(size / rate / 1e9, 2) for name, rate in DATASHEET_TB.items()},
        }
        for experts, rest in ARMS
    }


class Bench:
    """The model, made when first asked for, and the arms over it."""

    def __init__(self, rehearse: bool, report: Report) -> None:
        self.rehearse, self.report = rehearse, report
        self.device = torch.device("cpu" if rehearse else "cuda")
        self.dims, self.n_slots = (TINY, 8) if rehearse else (FULL, 256)
        self._made: tuple[Steps, Experts, Peers] | None = None
        self.notes: dict[str, str] = {}

    def made(self) -> tuple[Steps, Experts, Peers]:
        if self._made is None:
            config, dtype = config_dict(self.dims, self.n_slots), torch.float32 if self.rehearse else torch.bfloat16
            hf = hugging_face(config, self.device, dtype)
            net = ours(config, hf)
            steps = Steps(net, hf, self.dims, self.n_slots, self.rehearse)
            experts = Experts(hf, net, self.dims, self.n_slots, self.rehearse)
            steps.ceiling = experts.ceiling = self.report.found["ceilings"]["read_TB_per_s"]
            self._made = steps, experts, Peers(hf, self.dims, self.n_slots, self.rehearse)
            for each in self._made:
                each.notes = self.notes
        return self._made

    def model(self) -> dict[str, Any]:
        steps, _, _ = self.made()
        unique = {p.data_ptr(): p.numel() for p in steps.hf.parameters()}
        return {"parameters": sum(unique.values()), "bytes": sum(p.nbytes for p in steps.net.parameters())}

    def tuned(self, seconds: float) -> dict[str, Any]:
        """Tiles for this device; thrown away again where the experts are not right with them."""
        from midspan.engine.kernels import launch  # noqa: PLC0415
        from midspan.engine.kernels.tune import tune  # noqa: PLC0415

        steps, experts, _ = self.made()
        found = tune(steps.net, seconds, self.device)
        if wrong := experts.check()["wrong"]:
            (launch.TUNED / tuned_name()).unlink(missing_ok=True)
            launch.tuned.cache_clear()
            raise ArithmeticError(f"thrown away, for these are wrong with it: {wrong}")
        return found

    def step(self, experts: str, rest: str) -> dict[str, Any]:
        steps, _, _ = self.made()
        if experts == "bf16":
            return steps.step(experts, rest)
        with packed(steps.net, experts, rest):
            return steps.step(experts, rest)

    def fill(self, experts: str, rest: str, prefix: int) -> dict[str, Any]:
        steps, _, _ = self.made()
        with packed(steps.net, experts, rest):
            return steps.fill(prefix)

    def run(self, tune_seconds: float) -> None:
        arm = self.report.arm
        arm("ceilings", lambda: ceilings(self.device, self.rehearse), 60)
        if "ceilings" not in self.report.found:
            return
        self.report.save()
        arm("model", self.model, BUILD_SECONDS)
        if self._made is None:  # known from an earlier call
            with alarm(BUILD_SECONDS):
                self.made()
        steps, experts, peers = self.made()
        arm("check: experts", experts.check, 120)
        arm("check: network", steps.check, 120)
        arm("check: captured steps", steps.check_loop, 90)
        if tune_seconds:
            arm("tuned", lambda: self.tuned(tune_seconds), int(tune_seconds) + 90)
        for routing in ("even", "skewed"):
            arm(f"experts of one layer, {routing}", lambda r=routing: experts.measure(r, 20), 120)
        for kinds in ARMS:
            arm(f"step: experts {kinds[0]}, rest {kinds[1]}", lambda k=kinds: self.step(*k), 90)
        for kinds in ARMS[1:]:
            for prefix in PREFIXES if not self.rehearse else PREFIXES[:1]:
                name = f"fill of 64: experts {kinds[0]}, prefix {prefix}"
                arm(name, lambda k=kinds, p=prefix: self.fill(*k, p), 60)
        arm("encode", steps.encode, 60)
        arm("transformers: steps", peers.steps, 120)
        arm("transformers: static cache, compiled", peers.static, 280)
        arm("profile of a step", steps.profile, 60)


def tuned_name() -> str:
    from midspan.engine.kernels.launch import slug  # noqa: PLC0415

    return f"{slug(torch.cuda.get_device_name())}.json"


def keep_tiles(folders: tuple[Path, ...]) -> None:
    """Tiles found by an earlier call are back in place, and those found now are where the results are."""
    from midspan.engine.kernels.launch import TUNED, tuned  # noqa: PLC0415

    name = tuned_name()
    places = [TUNED / name, *(folder / f"tuned-{name}" for folder in folders)]
    known = next((place for place in places if place.exists()), None)
    for place in places if known else []:
        if place != known and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(known), place)
    tuned.cache_clear()


def main() -> int:
    parser = argparse.ArgumentParser(description="Benchmark of a denoise step at DiffusionGemma's full size.")
    parser.add_argument("--rehearse", action="store_true", help="tiny, on the CPU: no figures, every line of code")
    parser.add_argument("--seconds", type=float, default=540, help="in all; what does not fit is for the next call")
    parser.add_argument("--tune", type=float, default=0, metavar="SECONDS", help="search tile sizes for that long")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where the figures are to go")
    parser.add_argument("--state", type=Path, default=ROOT / ".cache" / "bench-gpu", help="kept from call to call")
    parser.add_argument("--redo", action="append", default=[], metavar="NAME", help="measure these arms anew")
    parser.add_argument("--fresh", action="store_true", help="forget all earlier calls")
    options = parser.parse_args()
    if not torch.cuda.is_available() and not options.rehearse:
        print("There is no GPU here, so nothing was measured. What a step has to read at least (prefix of 1024):")
        found = {"device": None, "floors": floors(FULL)}
        for name, values in found["floors"].items():
            print(f"  {name:24} {values}")
        print(json.dumps(found))
        return 0
    device = "rehearsal" if options.rehearse else torch.cuda.get_device_name()
    name = "gpu-" + "".join(c if c.isalnum() else "-" for c in device.lower())
    state = options.state / f"{name}.state.json"
    if options.fresh:
        state.unlink(missing_ok=True)
        sys.argv = [each for each in sys.argv if each != "--fresh"]  # not again where it starts again
    copies = () if options.rehearse else (options.results / state.name,)
    report = Report(state, options.seconds, copies, tuple(options.redo))
    folders = (options.state, options.results)
    bench = Bench(options.rehearse, report)
    if not options.rehearse:
        keep_tiles(folders)
    try:
        with torch.inference_mode():
            bench.run(options.tune)
    finally:
        if not options.rehearse:
            keep_tiles(folders)
        found = outcome(device, report, bench.notes)
        if not options.rehearse:
            options.results.mkdir(parents=True, exist_ok=True)
            (options.results / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))
    wrong = [each for each, value in report.found.items() if isinstance(value, dict) and value.get("wrong")]
    return 1 if wrong or (report.failed and options.rehearse) else 0


def outcome(device: str, report: Report, notes: dict[str, str]) -> dict[str, Any]:
    import transformers  # noqa: PLC0415
    import triton  # noqa: PLC0415

    return {
        "device": device,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "transformers": transformers.__version__,
        **report.found,
        "failed": report.failed,
        "notes": notes,
        "floors": floors(FULL),
    }


if __name__ == "__main__":
    sys.exit(main())
