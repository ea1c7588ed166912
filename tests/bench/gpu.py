"""The engine's step on a GPU, at DiffusionGemma's full size with random weights, against others in the same call.

    python tests/bench/gpu.py             # by path, from anywhere: torch, triton, transformers, no installation
    python tests/bench/gpu.py --rehearse  # every line of it, tiny, on a CPU

First correctness, on poisoned memory, then times: medians with p10 and p90, arms in turns, over all layers' weights.
Without a GPU it says so, prints the bytes and floors of a step, and exits with 0. The last line is one JSON object,
which also goes to tests/bench/results/gpu-<device>.json.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import signal
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from gpu_clock import ceilings, once, poisoned, race, relative, summary, wait  # noqa: E402
from gpu_experts import WEIGHT_BYTES, Experts  # noqa: E402
from gpu_model import FULL, TINY, config_dict, hugging_face, ours, packed  # noqa: E402
from torch import Tensor  # noqa: E402

DATASHEET_TB = {"H200": 4.8, "H100": 3.35, "A100": 2.04, "4090": 1.008, "5090": 1.792}
ARMS = (("bf16", "bf16"), ("fp8", "fp8"), ("int4", "fp8"))  # experts, rest
STEPS = 16


class Report:
    """Sections that may fail alone: what was measured is kept, what was not says why."""

    def __init__(self, seconds: float) -> None:
        self.began, self.seconds = time.monotonic(), seconds
        self.found: dict[str, Any] = {"failed": {}}

    def section(self, name: str, call: Callable[[], Any], limit: int = 0) -> None:
        """limit: seconds after which the section is given up (0: none)."""
        left = self.seconds - (time.monotonic() - self.began)
        if left <= 0:
            self.found["failed"][name] = "no time was left"
            return
        print(f"[{time.monotonic() - self.began:5.0f} s] {name}", flush=True)
        try:
            with alarm(min(limit, int(left)) if limit else 0):
                self.found[name] = call()
            print(json.dumps(self.found[name], indent=1), flush=True)
        except Exception as error:
            traceback.print_exc()
            self.found["failed"][name] = (
                f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
            )
        wait()


@contextmanager
def alarm(seconds: int) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TimeoutError(f"given up after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def step_bytes(dims: dict[str, int], experts: str, rest: str, prefix: int) -> float:
    """Bytes a denoise step cannot do without: every weight once, the embedding twice, the prefix' keys and values."""
    d, n = dims, dims["num_hidden_layers"]
    hidden, heads, full = d["hidden_size"], d["num_attention_heads"], sum(i % 6 == 5 or i == n - 1 for i in range(n))
    moe = n * d["num_experts"] * 3 * d["moe_intermediate_size"] * hidden
    sliding = hidden * d["head_dim"] * 2 * (heads + d["num_key_value_heads"])
    whole = hidden * d["global_head_dim"] * (2 * heads + d["num_global_key_value_heads"])
    dense = n * 3 * hidden * d["intermediate_size"] + (n - full) * sliding + full * whole
    keys = (n - full) * min(prefix, d["sliding_window"] - 1) * d["num_key_value_heads"] * d["head_dim"]
    keys += full * prefix * d["num_global_key_value_heads"] * d["global_head_dim"]
    linear = WEIGHT_BYTES[rest] * (dense + 2 * d["vocab_size"] * hidden)
    conditioning_and_router = 2 * (3 * hidden * d["intermediate_size"] + n * d["num_experts"] * hidden)
    return WEIGHT_BYTES[experts] * moe + linear + conditioning_and_router + 2 * 2 * keys


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
    def __init__(self, rehearse: bool) -> None:
        self.rehearse = rehearse
        self.device = torch.device("cpu" if rehearse else "cuda")
        self.dtype = torch.float32 if rehearse else torch.bfloat16
        self.dims, self.canvas = (TINY, 8) if rehearse else (FULL, 256)
        self.config = config_dict(self.dims, self.canvas)
        self.notes: dict[str, str] = {}
        self.ceiling: dict[str, float] = {}
        self.experts: Any = None
        self.hf: Any = None
        self.net: Any = None

    def measure_ceilings(self) -> dict[str, float]:
        self.ceiling = ceilings(self.device, self.rehearse)
        return self.ceiling

    def build(self) -> dict[str, Any]:
        self.hf = hugging_face(self.config, self.device, self.dtype)
        self.net = ours(self.config, self.hf)
        self.experts = Experts(self.hf, self.net, self.dims, self.canvas, self.rehearse)
        unique = {p.data_ptr(): p.numel() for p in self.hf.parameters()}
        return {"parameters": sum(unique.values()), "bytes": sum(p.nbytes for p in self.net.parameters())}

    def check_network(self) -> dict[str, Any]:
        """A canvas through all layers: kernels, plain torch and transformers in the same dtype, each to each; and
        through the first six in float32 too, to which kernels should come as near as transformers' arithmetic does."""
        from midspan.engine.kernels.target import torch_only  # noqa: PLC0415

        ids = torch.arange(40, device=self.device)[None] % self.dims["vocab_size"]
        canvas = (torch.arange(self.canvas, device=self.device)[None] * 7 + 3) % self.dims["vocab_size"]
        with torch_only():
            cache = self.net.new_cache()
            self.net.encode(ids, cache)
            plain = self.net.denoise(canvas, cache)
        with poisoned():
            kernels = self.net.denoise(canvas, cache)
        self.hf.set_experts_implementation("eager")
        logits = self.hf(input_ids=ids, decoder_input_ids=canvas).logits
        found = {
            "hidden, kernels to plain torch": relative(kernels, plain),
            "logits, kernels to transformers": relative(self.net.logits(kernels), logits),
            "logits, plain torch to transformers": relative(self.net.logits(plain), logits),
        }
        exact, rough = self.six_layers(canvas)
        found["six layers, kernels to float32"] = relative(rough["kernels"], exact)
        found["six layers, plain torch to float32"] = relative(rough["plain"], exact)
        assert all(error <= 0.2 for error in found.values()), found  # random weights route at random: see the figures
        return found

    def six_layers(self, canvas: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Hidden states after six layers without a prefix: in float32, and by kernels and plain torch as they are."""
        from midspan.engine.kernels.target import torch_only  # noqa: PLC0415

        short = copy.copy(self.net)
        short._modules = {**self.net._modules, "layers": torch.nn.ModuleList(list(self.net.layers)[:6])}
        cache = self.net.new_cache()
        kernels = short.denoise(canvas, cache)
        with torch_only():
            plain = short.denoise(canvas, cache)
            exact = copy.deepcopy(short).float()
            return exact.denoise(canvas, exact.new_cache()), {"kernels": kernels, "plain": plain}

    def measure_experts(self) -> dict[str, Any]:
        self.experts.ceiling = self.ceiling["read_TB_per_s"]
        found = self.experts.measure()
        self.notes |= self.experts.notes
        return found

    def steps(self) -> dict[str, Any]:
        """A whole denoise step with sampler at a prefix of 1024, as a graph, per kind of weights."""
        found = {}
        for experts, rest in ARMS:
            with packed(self.net, experts, rest) if experts != "bf16" else torch.inference_mode():
                found[f"experts {experts}, rest {rest}"] = self.step_of(experts, rest)
        return found

    def step_of(self, experts: str, rest: str) -> dict[str, Any]:
        prefix, loop, banned = (
            12 if self.rehearse else 1024,
            self.loop(),
            torch.zeros(1, dtype=torch.int64, device=self.device),
        )
        cache = self.encoded(prefix)
        gap = torch.arange(self.canvas, device=self.device) % self.dims["vocab_size"]
        nothing = gap[:0]
        from midspan.engine.denoise import Patience  # noqa: PLC0415

        def fill() -> Any:
            return loop.denoise(cache, gap, nothing, banned, 1, False, Patience())

        fill()
        run = next(iter(loop._runs.values()))
        if not self.rehearse and run._graph is None:
            self.notes[f"step {experts}"] = "not captured"
        step = race({"step": run}, reps=2 if self.rehearse else 50, warm_up=1 if self.rehearse else 10)["step"]
        whole = summary([once(fill) for _ in range(1 if self.rehearse else 5)])
        size = step_bytes(self.dims, experts, rest, prefix)
        floor = size / self.ceiling["read_TB_per_s"] / 1e9
        return {
            **step,
            "floor_ms_at_read_ceiling": round(floor, 4),
            "share_of_floor": round(floor / step["median_ms"], 3),
            f"ms_of_{loop._sampler.max_denoising_steps}_forced_steps": whole["median_ms"],
            "tokens_per_s": round(self.canvas / whole["median_ms"] * 1e3, 1),
            "warm_up_s": round(loop.warm_up_seconds, 2),
        }

    def fills(self) -> dict[str, Any]:
        """A gap of 64 with 192 pinned slots behind it, 12 forced steps, from an encoded prefix."""
        from midspan.engine.denoise import Patience  # noqa: PLC0415

        found = {}
        n_gap, prefixes = (3, (12,)) if self.rehearse else (64, (512, 2048, 8192))
        ids = torch.arange(self.canvas, device=self.device) % self.dims["vocab_size"]
        banned = torch.zeros(1, dtype=torch.int64, device=self.device)
        for experts, rest in ARMS[1:]:
            with packed(self.net, experts, rest):
                for prefix in prefixes:
                    loop, cache = self.loop(12), self.encoded(prefix)

                    def fill(loop: Any = loop, cache: Any = cache) -> Any:
                        return loop.denoise(cache, ids[:n_gap], ids[n_gap:], banned, 1, False, Patience())

                    fill()
                    found[f"{experts}, prefix {prefix}"] = summary(
                        [once(fill) for _ in range(1 if self.rehearse else 10)]
                    )
        return found

    def transformers_steps(self) -> dict[str, Any]:
        """transformers' forward plus its sampler's operations in eager mode; with our kernels inside it, too."""
        from midspan.engine.kernels.experts import run_experts  # noqa: PLC0415
        from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS  # noqa: PLC0415

        def kernels(module: Any, hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
            return run_experts(hidden, weights.float(), index, module.gate_up_proj, module.down_proj)

        ALL_EXPERTS_FUNCTIONS.register("midspan", kernels)
        prefix = torch.arange(12 if self.rehearse else 1024, device=self.device)[None] % self.dims["vocab_size"]
        cache = self.hf.model.encoder(input_ids=prefix).past_key_values
        canvas = torch.arange(self.canvas, device=self.device)[None] % self.dims["vocab_size"]
        said = torch.randn(1, self.canvas, self.dims["vocab_size"], device=self.device).to(self.dtype)

        def step(name: str) -> None:
            self.hf.set_experts_implementation(name)
            out = self.hf(decoder_input_ids=canvas, past_key_values=cache, self_conditioning_logits=said)
            logits = out.logits / 0.6
            probs = torch.softmax(logits, dim=-1, dtype=torch.float32)
            torch.multinomial(probs[0], 1)
            logits.argmax(-1)
            entropy = torch.distributions.Categorical(logits=logits).entropy()
            torch.sort(entropy)
            logits.to(self.dtype)

        fast = {name: lambda name=name: step(name) for name in ("grouped_mm", "midspan")}
        found = race(fast, reps=2 if self.rehearse else 10, warm_up=1 if self.rehearse else 3)
        return found | race({"eager": lambda: step("eager")}, reps=1 if self.rehearse else 2, warm_up=1)

    def transformers_static(self) -> dict[str, Any]:
        """transformers' own compiled path: a static cache, `generate`, forced steps; the first call compiles."""
        self.hf.set_experts_implementation("grouped_mm")
        ids = torch.arange(12 if self.rehearse else 1024, device=self.device)[None] % self.dims["vocab_size"]
        steps = 2 if self.rehearse else STEPS

        def generate() -> None:
            self.hf.generate(
                input_ids=ids, max_new_tokens=self.canvas, max_denoising_steps=steps, cache_implementation="static",
                stability_threshold=10_000, confidence_threshold=1e-9, eos_token_id=None,
                t_min=0.4, t_max=0.8, disable_compile=self.rehearse,
            )  # fmt: skip

        first = once(generate)
        times = summary([once(generate) / steps for _ in range(1 if self.rehearse else 3)])
        return {"first_call_s": round(first / 1e3, 1), "per_step_prefill_included": times}

    def loop(self, steps: int = 0) -> Any:
        from midspan.engine.denoise import Alphabet  # noqa: PLC0415
        from midspan.engine.kernels.loop import DeviceLoop  # noqa: PLC0415
        from midspan.engine.sampler import Noise, SamplerConfig  # noqa: PLC0415

        forced = SamplerConfig(max_denoising_steps=2 if self.rehearse else steps or STEPS, confidence_threshold=-1.0)
        return DeviceLoop(self.net, forced, Alphabet(Noise(self.dims["vocab_size"])))

    def encoded(self, length: int) -> Any:
        from midspan.engine.kernels.target import torch_only  # noqa: PLC0415

        cache = self.net.new_cache()
        ids = torch.arange(length, device=self.device)[None] % self.dims["vocab_size"]
        if self.rehearse:
            with torch_only():
                self.net.encode(ids, cache)
            return cache
        self.net.encode(ids, cache)
        return cache


def without_gpu() -> dict[str, Any]:
    return {"device": None, "floors": floors(FULL)}


def main() -> int:
    parser = argparse.ArgumentParser(description="Benchmark of a denoise step at DiffusionGemma's full size.")
    parser.add_argument("--rehearse", action="store_true", help="tiny, on the CPU: no figures, every line of code")
    parser.add_argument(
        "--seconds", type=float, default=570, help="of time; sections that would begin later are left out"
    )
    parser.add_argument(
        "--tune", type=float, default=0, metavar="SECONDS", help="first search tile sizes for that long"
    )
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    if not torch.cuda.is_available() and not options.rehearse:
        print("There is no GPU here, so nothing was measured. What a step has to read at least (prefix of 1024):")
        for name, values in (found := without_gpu())["floors"].items():
            print(f"  {name:24} {values}")
        print(json.dumps(found))
        return 0
    report, bench = Report(options.seconds), Bench(options.rehearse)
    with torch.inference_mode():
        report.section("ceilings", bench.measure_ceilings)
        report.section("model", bench.build)
        if options.tune:
            from midspan.engine.kernels.tune import tune  # noqa: PLC0415

            report.section("tuned", lambda: tune(bench.net, options.tune, bench.device))
        report.section("check: experts", lambda: bench.experts.check())  # noqa: PLW0108 - there are none yet
        report.section("check: network", bench.check_network)
        report.section("experts of one layer", bench.measure_experts)
        report.section("denoise step", bench.steps)
        report.section("fill of 64", bench.fills)
        report.section("transformers: steps", bench.transformers_steps)
        report.section("transformers: static cache, compiled", bench.transformers_static, limit=240)
    import transformers  # noqa: PLC0415
    import triton  # noqa: PLC0415

    name = "rehearsal" if options.rehearse else torch.cuda.get_device_name()
    found = {
        "device": name,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "transformers": transformers.__version__,
        **report.found,
        "notes": bench.notes,
        "floors": floors(FULL),
    }
    if not options.rehearse:
        options.results.mkdir(parents=True, exist_ok=True)
        slug = "".join(c if c.isalnum() else "-" for c in name.lower())
        (options.results / f"gpu-{slug}.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))
    failed_checks = [each for each in found["failed"] if each.startswith("check") or options.rehearse]
    return 1 if failed_checks else 0


if __name__ == "__main__":
    sys.exit(main())
