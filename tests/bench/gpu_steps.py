"""Our network and loop at full size: against plain torch and float32 first, then timed, per kind of weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from gpu_clock import once, poisoned, race, relative, summary
from gpu_experts import WEIGHT_BYTES
from torch import Tensor

STEPS = 16
FILL_STEPS = 12
LENGTHS = (8, 16, 32, 64)  # of gaps denoised as one batch, in canvases of BATCH_SLOTS
BATCH_SLOTS = 144


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


class Steps:
    """net: our network; ceiling: TB/s that were read at most."""

    def __init__(self, net: Any, hf: Any, dims: dict[str, int], n_slots: int, rehearse: bool) -> None:
        self.net, self.hf, self.dims, self.n_slots, self.rehearse = net, hf, dims, n_slots, rehearse
        self.device = net.device
        self.ceiling = 1.0
        self.notes: dict[str, str] = {}

    def check(self) -> dict[str, Any]:
        """A canvas through all layers: kernels, plain torch and transformers in the same dtype, each to each; and
        through the first six in float32 too, to which kernels should come as near as transformers' arithmetic does."""
        from midspan.engine.kernels.target import torch_only  # noqa: PLC0415

        ids, canvas = self.ids(40)[None], (self.ids(self.n_slots)[None] * 7 + 3) % self.dims["vocab_size"]
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
        exact, rough = self._six_layers(canvas)
        found["six layers, kernels to float32"] = relative(rough["kernels"], exact)
        found["six layers, plain torch to float32"] = relative(rough["plain"], exact)
        # Random weights route at random: a rounding that swaps an expert shows. So the bound is wide, and the figures
        # to be read are the last two: kernels at most 1.1 times plain torch.
        return {**found, "wrong": [name for name, error in found.items() if not error <= 0.2]}

    def _six_layers(self, canvas: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
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

    def check_loop(self) -> dict[str, Any]:
        """Replays of a captured step against the same launches one by one: the same canvas, bit for bit; and twice the
        same answer."""
        setting, canvases = self._setting(self._encoded(600 if not self.rehearse else 12), 4), self._canvases((5, 3))
        captured, plain = self._loop(), self._loop()
        run = plain._run(setting, canvases)
        run._graph = None
        answers = [each.denoise_all(setting, canvases, self._generators(2)) for each in (captured, captured, plain)]
        ours = next(iter(captured._runs.values()))
        wrong = [] if answers[0] == answers[1] == answers[2] else ["captured steps to single launches"]
        return {"captured": ours._graph is not None, "steps": [one.steps for one in answers[0]], "wrong": wrong}

    def step(self, experts: str, rest: str) -> dict[str, Any]:
        """A whole denoise step with sampler at a prefix of 1024, as a graph, all slots free; and a fill of forced
        steps."""
        prefix = 12 if self.rehearse else 1024
        loop, setting = self._loop(), self._setting(self._encoded(prefix), STEPS)
        canvases = self._canvases((self.n_slots,), self.n_slots)

        def fill() -> Any:
            return loop.denoise_all(setting, canvases, self._generators(1))

        fill()
        run = next(iter(loop._runs.values()))
        if not self.rehearse and run._graph is None:
            self.notes[f"step {experts}"] = "not captured"
        step = race({"step": run}, *((2, 1) if self.rehearse else (50, 10)))["step"]
        whole = summary([once(fill) for _ in range(1 if self.rehearse else 5)])
        floor = step_bytes(self.dims, experts, rest, prefix) / self.ceiling / 1e9
        return {
            **step,
            "floor_ms_at_read_ceiling": round(floor, 4),
            "share_of_floor": round(floor / step["median_ms"], 3),
            f"ms_of_{setting.config.max_denoising_steps}_forced_steps": whole["median_ms"],
            "tokens_per_s": round(self.n_slots / whole["median_ms"] * 1e3, 1),
            "warm_up_s": round(loop.warm_up_seconds, 2),
            "GB_in_use": round(torch.cuda.max_memory_allocated() / 1e9, 1) if not self.rehearse else 0,
        }

    def fill(self, prefix: int) -> dict[str, Any]:
        """A gap of 64 with 192 pinned slots behind it, FILL_STEPS forced steps, from an encoded prefix; and four
        lengths of gap as one batch in smaller canvases, as the engine asks for."""
        prefix = 12 if self.rehearse else prefix
        cache = self._encoded(prefix)
        one = (3,) if self.rehearse else (64,)
        batch, slots = ((2, 3), 6) if self.rehearse else (LENGTHS, BATCH_SLOTS)
        found = {}
        for name, sizes, n_slots in (("one gap", one, self.n_slots), ("a batch of lengths", batch, slots)):
            loop, setting, canvases = self._loop(), self._setting(cache, FILL_STEPS), self._canvases(sizes, n_slots)

            def fill(loop: Any = loop, setting: Any = setting, canvases: Any = canvases) -> Any:
                return loop.denoise_all(setting, canvases, self._generators(len(canvases)))

            fill()
            found[name] = summary([once(fill) for _ in range(1 if self.rehearse else 10)])
        return found

    def encode(self) -> dict[str, Any]:
        """The prefix: a whole one, and what a keystroke adds to one of 1024."""
        whole = (16,) if self.rehearse else (512, 2048)
        found: dict[str, Any] = {}
        for length in whole:
            ids = self.ids(length)[None]
            found[f"{length} tokens"] = race(
                {"": lambda ids=ids: self.net.encode(ids, self.net.new_cache())}, *((1, 1) if self.rehearse else (5, 2))
            )[""]
        cache = self._encoded(16 if self.rehearse else 1024)
        kept = cache.length
        for more in (1, 16, 64):
            ids = self.ids(more)[None]

            def further(ids: Tensor = ids) -> None:
                cache.truncate(kept)
                self.net.encode(ids, cache)

            found[f"{more} more"] = race({"": further}, *((1, 1) if self.rehearse else (10, 3)))[""]
            cache.truncate(kept)
        return found

    def profile(self) -> dict[str, Any]:
        """Where a step's time goes: microseconds by kernel, launches one by one, the largest first."""
        loop, setting = self._loop(), self._setting(self._encoded(12 if self.rehearse else 1024), 2)
        step = loop._run(setting, self._canvases((self.n_slots,), self.n_slots)).step
        step()
        activities = [torch.profiler.ProfilerActivity.CPU]
        if not self.rehearse:
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        with torch.profiler.profile(activities=activities) as traced:
            step()
            if not self.rehearse:
                torch.cuda.synchronize()
        device = "self_device_time_total" if not self.rehearse else "self_cpu_time_total"
        events = sorted(traced.key_averages(), key=lambda event: -getattr(event, device, 0))
        return {event.key[:80]: [round(getattr(event, device, 0), 1), event.count] for event in events[:40]}

    def ids(self, n: int) -> Tensor:
        return torch.arange(n, device=self.device) % self.dims["vocab_size"]

    def _loop(self) -> Any:
        from midspan.engine.kernels.loop import DeviceLoop  # noqa: PLC0415

        return DeviceLoop(self.net)

    def _setting(self, cache: Any, steps: int) -> Any:
        from midspan.engine.denoise import Alphabet, Setting  # noqa: PLC0415
        from midspan.engine.sampler import Noise, SamplerConfig  # noqa: PLC0415

        forced = SamplerConfig(max_denoising_steps=2 if self.rehearse else steps, confidence_threshold=-1.0)
        banned = torch.zeros(1, dtype=torch.int64, device=self.device)
        return Setting(self.net, cache, forced, Alphabet(Noise(self.dims["vocab_size"])), banned)

    def _canvases(self, sizes: Sequence[int], n_slots: int = 8) -> list[Any]:
        from midspan.engine.canvas import Canvas  # noqa: PLC0415

        ids = self.ids(n_slots).cpu()
        return [Canvas.start(ids[:n], ids[n:], n_slots) for n in sizes]

    def _generators(self, n: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(1) for _ in range(n)]

    def _encoded(self, length: int) -> Any:
        from midspan.engine.kernels.target import torch_only  # noqa: PLC0415

        cache, ids = self.net.new_cache(), self.ids(length)[None]
        if self.rehearse:
            with torch_only():
                self.net.encode(ids, cache)
            return cache
        for piece in ids.split(512, dim=1):
            self.net.encode(piece, cache)
        return cache
