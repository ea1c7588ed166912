"""The experts of one layer: ours in every kind of weights, a stand-in for vLLM's, and transformers'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from gpu_clock import captured, poisoned, race, relative
from torch import Tensor

WEIGHT_BYTES = {"bf16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.5 + 2 / 32}


class Experts:
    """Arms, their check and their race. hf, net: transformers' model and ours over the same weights."""

    def __init__(self, hf: Any, net: Any, dims: dict[str, int], canvas: int, rehearse: bool) -> None:
        self.hf, self.net, self.dims, self.canvas, self.rehearse = hf, net, dims, canvas, rehearse
        self.device, self.dtype = net.device, net.dtype
        self.packed: dict[tuple[int, str], Any] = {}
        self.notes: dict[str, str] = {}
        self.ceiling = 1.0  # TB/s that were read at most

    def inputs(self, i: int, skewed: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        from midspan.engine.kernels.routing import route_torch  # noqa: PLC0415

        generator = torch.Generator(self.device).manual_seed(i)
        x = torch.randn(self.canvas, self.dims["hidden_size"], device=self.device, generator=generator).to(self.dtype)
        router = self.net.layers[i % len(self.net.layers)].router
        proj = router.proj.weight
        if skewed:  # a common direction in all rows, and experts that like it by rank
            x = x + 2 * torch.ones_like(x)
            liking = 1 / torch.arange(1, len(proj) + 1, device=self.device)
            proj = proj + (liking[:, None] * 8 / proj.shape[1]).to(proj.dtype)
        weights, experts = route_torch(x, proj, router.scale, router.per_expert_scale, router.top_k, 1e-6)
        return x, weights, experts

    def arms(self) -> dict[str, Callable[[int, Tensor, Tensor, Tensor], Tensor]]:
        """name -> (layer, x, weights, experts) -> output; packed weights are made once per layer that is used, and
        kept until `packed` is cleared."""
        from midspan.engine.kernels.alignment_triton import align_triton  # noqa: PLC0415
        from midspan.engine.kernels.experts_triton import experts_triton  # noqa: PLC0415
        from midspan.engine.kernels.packing import pack  # noqa: PLC0415
        from standin import standin_experts  # noqa: PLC0415

        made = self.packed

        def weights_of(i: int, kind: str) -> Any:
            experts = self.net.layers[i].experts
            if kind == "bf16":
                return experts.gate_up_proj, experts.down_proj
            if (i, kind) not in made:
                made[i, kind] = (pack(experts.gate_up_proj, kind), pack(experts.down_proj, kind))  # type: ignore[arg-type]
            return made[i, kind]

        def kernels(kind: str) -> Callable[[int, Tensor, Tensor, Tensor], Tensor]:
            return lambda i, x, w, e: experts_triton(x, w, e.int(), *weights_of(i, kind))

        def transformers(name: str) -> Callable[[int, Tensor, Tensor, Tensor], Tensor]:
            def run(i: int, x: Tensor, w: Tensor, e: Tensor) -> Tensor:
                self.hf.set_experts_implementation(name)
                return self.hf.model.decoder.layers[i].experts(x, e, w.to(x.dtype))

            return run

        tiles = {"columns": 64, "depth": 64, "warps": 4, "stages": 4}
        return {
            **{f"ours {kind}": kernels(kind) for kind in ("bf16", "fp8", "int8", "int4")},
            "two-GEMM stand-in bf16": lambda i, x, w, e: standin_experts(
                x, w, e.int(), *weights_of(i, "bf16"), align_triton, tiles
            ),
            "transformers grouped_mm": transformers("grouped_mm"),
            "transformers eager": transformers("eager"),
        }

    def check(self) -> dict[str, Any]:
        """Error to a float32 product of the same (dequantised) weights, on poisoned memory. "wrong" names what is off
        by more than 1e-2; an arm that fails is noted, and the others are checked."""
        from midspan.engine.kernels.experts import experts_torch  # noqa: PLC0415
        from midspan.engine.kernels.packing import pack, unpack  # noqa: PLC0415

        found: dict[str, Any] = {}
        for routing in ("even", "skewed"):
            x, w, e = self.inputs(0, routing == "skewed")
            experts = self.net.layers[0].experts
            whole = experts_torch(x.float(), w, e, experts.gate_up_proj.float(), experts.down_proj.float())
            for name, arm in self.arms().items():
                kind = name.split()[-1]
                expected = whole
                if kind in ("fp8", "int8", "int4"):
                    float_weights = [
                        unpack(pack(m, kind), torch.float32) for m in (experts.gate_up_proj, experts.down_proj)
                    ]
                    expected = experts_torch(x.float(), w, e, *float_weights)
                try:
                    with poisoned():
                        found[f"{name}, {routing}"] = relative(arm(0, x, w, e), expected)
                except RuntimeError as error:
                    self.notes[f"check: {name}, {routing}"] = f"{type(error).__name__}: {str(error)[:200]}"
        return {**found, "wrong": [name for name, error in found.items() if not error <= 1e-2]}

    def measure(self, routing: str, seconds: float) -> dict[str, Any]:
        """One layer's experts, alignment included, averaged over all layers' weights in turn. routing: "even" or
        "skewed"."""
        layers = range(len(self.net.layers))
        inputs = [self.inputs(i, routing == "skewed") for i in range(4)]
        hit = len(torch.unique(inputs[0][2])) / self.dims["num_experts"]
        calls: dict[str, Any] = {}
        for name, arm in self.arms().items():
            if name == "ours int8" or (name == "transformers eager" and routing == "skewed"):
                continue  # int8 costs what fp8 does, and its weights would not fit beside the others

            def all_layers(arm: Any = arm, inputs: Any = inputs) -> None:
                for i in layers:
                    arm(i, *inputs[i % 4])

            calls[name] = all_layers if "eager" in name else captured(all_layers, self.notes, name)
        slow = {name: calls.pop(name) for name in list(calls) if "eager" in name}
        few = (2, 1) if self.rehearse else (20, 3)
        times = race(calls, *few, each=len(layers), notes=self.notes, seconds=seconds)
        times |= race(slow, reps=1, warm_up=1, each=len(layers), notes=self.notes)
        weights = 3 * self.dims["num_experts"] * self.dims["moe_intermediate_size"] * self.dims["hidden_size"] * hit
        for name, values in times.items():
            kind = name.split()[-1] if name.split()[-1] in WEIGHT_BYTES else "bf16"
            rate = WEIGHT_BYTES[kind] * weights / values["median_ms"] / 1e9
            values["TB_per_s"] = round(rate, 3)
            values["share_of_read_ceiling"] = round(rate / self.ceiling, 3)
        found = {"experts_hit": round(hit, 3), **times}
        calls.clear()
        self.packed.clear()
        return found
