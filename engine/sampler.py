"""The arithmetic of one denoise step: pure functions of logits and a random stream.

Knows nothing of networks, of where the gap lies, of what a token means, or of time. Reference: transformers
`generation_diffusion_gemma.py` (EntropyBoundSampler, LinearTemperatureScheduleLogitsProcessor,
StableAndConfidentStoppingCriteria), to which the tests hold every function; the acceptance rule is arXiv 2505.24857.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from .errors import EngineError

# The logit of a token that must not be predicted. Finite, because 0 * -inf would make the entropy NaN.
BANNED = -1e9


@dataclass(frozen=True)
class SamplerConfig:
    """Names and defaults as in transformers' `generation_config.json`, but for `commit_threshold` and what follows.

    eos_token_id: tokens that end a text; the released checkpoint lists three here, and only one in its `config.json`.
    commit_threshold None is DiffusionGemma's rule: the accepted set is found anew at every step. A number is the rule
    for mask noise: a slot is also accepted when its likeliest token has at least this probability, and an accepted
    slot is committed: it keeps its token.
    renoise_threshold: a committed slot is renoised, once, when the network gives its token less than this probability
    (renoised, not overwritten: a wrong token in sight misleads its neighbours). wide_margin: the fill is complete when
    in every free slot the likeliest token leads the second by at least this much probability (the early exit of arXiv
    2508.19982). None: neither; both are for canvases that commit.
    greedy: accepted slots take their likeliest token instead of a sampled one.
    order: in which slots are accepted, "confidence", the most certain ones wherever they stand, or "left", of those
    only the ones that no undecided slot stands before.
    """

    max_denoising_steps: int = 48
    entropy_bound: float = 0.1  # nats
    t_min: float = 0.4
    t_max: float = 0.8
    stability_threshold: int = 1
    confidence_threshold: float = 0.005  # nats
    eos_token_id: tuple[int, ...] = ()
    commit_threshold: float | None = None
    greedy: bool = False
    renoise_threshold: float | None = None
    wide_margin: float | None = None
    order: Literal["confidence", "left"] = "confidence"

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> SamplerConfig:
        """Reads the root of a `generation_config.json`; what is absent keeps its default. Raises EngineError."""
        bound = config.get("sampler_config") or {}
        if not isinstance(bound, Mapping):
            raise EngineError(f"generation_config.json: sampler_config is {bound!r}, expected an object")
        values: dict[str, Any] = {"entropy_bound": bound.get("entropy_bound")}
        for name in ("max_denoising_steps", "t_min", "t_max", "stability_threshold", "confidence_threshold"):
            values[name] = config.get(name)
        given = {name: value for name, value in values.items() if value is not None}
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
                raise EngineError(f"generation_config.json: {name} is {value!r}, expected a number, not negative")
        if not isinstance(given.get("max_denoising_steps", 1), int) or given.get("max_denoising_steps", 1) < 1:
            raise EngineError("generation_config.json: max_denoising_steps must be a whole number, at least 1")
        ends = config.get("eos_token_id")
        listed = list(ends) if isinstance(ends, (list, tuple)) else [] if ends is None else [ends]
        if any(type(id_) is not int or id_ < 0 for id_ in listed):
            raise EngineError(f"generation_config.json: eos_token_id is {ends!r}, expected token ids")
        sampler = cls(**given, eos_token_id=tuple(listed))
        if not 0 < sampler.t_min <= sampler.t_max:
            raise EngineError("generation_config.json: t_min must be above 0 and at most t_max")
        return sampler

    @property
    def commits(self) -> bool:
        return self.commit_threshold is not None

    def budget(self, n_free: int) -> int:
        """Denoise steps allowed for `n_free` slots. Committing settles a slot per step, so it never needs more."""
        return min(self.max_denoising_steps, n_free + 2) if self.commits else self.max_denoising_steps

    def temperature(self, remaining: int, budget: int) -> float:
        """t_min + (t_max - t_min) * n / N with n of N steps remaining, this one included: t_max first."""
        return self.t_min + (self.t_max - self.t_min) * remaining / budget


@dataclass(frozen=True)
class Noise:
    """What an undecided slot holds, a property of the checkpoint: its mask token, or any token with equal chance."""

    vocab_size: int
    mask_token_id: int | None = None

    def draw(self, n_slots: int, generator: torch.Generator) -> Tensor:
        """[n_slots] int64 on the generator's device."""
        if self.mask_token_id is not None:
            return torch.full((n_slots,), self.mask_token_id, device=generator.device)
        return torch.randint(self.vocab_size, (n_slots,), device=generator.device, generator=generator)


@dataclass(frozen=True)
class Prediction:
    """What the network says about N slots at one step's temperature."""

    probs: Tensor  # [N, V] float32
    argmax: Tensor  # [N] int64
    certainty: Tensor  # [N] probability of the argmax
    entropy: Tensor  # [N] nats


def predict(logits: Tensor) -> Prediction:
    """logits: [N, V] float32, banned tokens out, divided by the temperature."""
    probs = torch.softmax(logits, dim=-1)
    entropy = -(probs * torch.log_softmax(logits, dim=-1)).sum(-1)
    argmax = logits.argmax(-1)
    return Prediction(probs, argmax, probs.gather(1, argmax[:, None]).squeeze(1), entropy)


def sample(probs: Tensor, generator: torch.Generator) -> Tensor:
    """One token per row of [N, V]: [N] int64, on the same random stream the one that `torch.multinomial` takes.

    Which asks the device twice whether the probabilities are some, and makes the host wait for the answers.
    """
    return (probs / torch.empty_like(probs).exponential_(1, generator=generator)).argmax(-1)


def accept(entropy: Tensor, bound: float) -> Tensor:
    """Slots [N] to accept: in ascending order of entropy, i is taken while H_1 + ... + H_{i-1} <= bound.

    The left side bounds the mutual information of the accepted tokens, so they may be drawn independently. The most
    certain slot is always among them.
    """
    ascending, order = torch.sort(entropy, stable=True)
    chosen = torch.cumsum(ascending, 0) - ascending <= bound
    return torch.zeros_like(chosen).scatter_(0, order, chosen)


def leading(accepted: Tensor) -> Tensor:
    """Of accepted slots [N] bool those with no other before them; the first slot is always taken."""
    run = accepted.clone()
    run[:1] = True
    return run.cumprod(0).bool()


def settled(argmax: Tensor, previous: Sequence[Tensor], entropy: Tensor, config: SamplerConfig) -> bool:
    """Whether to stop: the argmax [N] equals each of the last `stability_threshold` ones, and the mean entropy is low.

    previous: earlier argmaxes, oldest first. A threshold of 1 therefore needs two identical canvases in a row.
    """
    needed = config.stability_threshold
    if len(previous) < needed or not entropy.mean() < config.confidence_threshold:
        return False
    return all(torch.equal(argmax, earlier) for earlier in previous[len(previous) - needed :])


def leads(probs: Tensor) -> Tensor:
    """By how much in each row of [N, V] the likeliest token leads the second: [N]."""
    first, second = probs.topk(2, dim=1).values.unbind(1)
    return first - second
