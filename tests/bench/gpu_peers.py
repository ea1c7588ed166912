"""transformers over the same weights: a step in eager mode, the same with our kernels inside, and its compiled path."""

from __future__ import annotations

from typing import Any

import torch
from gpu_clock import once, race, summary
from torch import Tensor


class Peers:
    def __init__(self, hf: Any, dims: dict[str, int], n_slots: int, rehearse: bool) -> None:
        self.hf, self.dims, self.n_slots, self.rehearse = hf, dims, n_slots, rehearse
        self.device, self.dtype = hf.device, hf.dtype
        self.notes: dict[str, str] = {}

    def steps(self) -> dict[str, Any]:
        """transformers' forward plus its sampler's operations in eager mode; with our kernels inside it, too."""
        from midspan.engine.kernels.experts import run_experts  # noqa: PLC0415
        from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS  # noqa: PLC0415

        def kernels(module: Any, hidden: Tensor, index: Tensor, weights: Tensor) -> Tensor:
            return run_experts(hidden, weights.float(), index, module.gate_up_proj, module.down_proj)

        ALL_EXPERTS_FUNCTIONS.register("midspan", kernels)
        prefix = self._ids(12 if self.rehearse else 1024)
        cache = self.hf.model.encoder(input_ids=prefix).past_key_values
        canvas = self._ids(self.n_slots)
        said = torch.randn(1, self.n_slots, self.dims["vocab_size"], device=self.device).to(self.dtype)

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
        found = race(fast, *((2, 1) if self.rehearse else (10, 3)), notes=self.notes)
        return found | race({"eager": lambda: step("eager")}, 1 if self.rehearse else 2, 1, notes=self.notes)

    def static(self) -> dict[str, Any]:
        """transformers' own compiled path: a static cache, `generate`, forced steps. The first call compiles; a step is
        the difference between many steps and few, so that neither prefill nor set-up counts."""
        self.hf.set_experts_implementation("grouped_mm")
        ids = self._ids(12 if self.rehearse else 1024)
        few, many = (1, 2) if self.rehearse else (4, 16)

        def generate(steps: int) -> None:
            self.hf.generate(
                input_ids=ids, max_new_tokens=self.n_slots, max_denoising_steps=steps, cache_implementation="static",
                stability_threshold=10_000, confidence_threshold=1e-9, eos_token_id=None,
                t_min=0.4, t_max=0.8, disable_compile=self.rehearse,
            )  # fmt: skip

        first = once(lambda: generate(few))
        generate(many)
        times = {
            n: summary([once(lambda n=n: generate(n)) for _ in range(1 if self.rehearse else 3)]) for n in (few, many)
        }
        difference = times[many]["median_ms"] - times[few]["median_ms"]
        return {
            "first_call_s": round(first / 1e3, 1),
            "step_ms": round(difference / (many - few), 3),
            **{f"{n} steps": values for n, values in times.items()},
        }

    def _ids(self, n: int) -> Tensor:
        return torch.arange(n, device=self.device)[None] % self.dims["vocab_size"]
