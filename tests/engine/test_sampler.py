"""The sampler, function by function, against transformers' own classes on the same random stream."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midspan.engine.errors import EngineError
from midspan.engine.sampler import BANNED, Noise, SamplerConfig, accept, leads, predict, sample, settled

theirs = pytest.importorskip("transformers.models.diffusion_gemma.generation_diffusion_gemma")

VOCAB = 50


def logits_of(seed: int, n_slots: int, sharpness: float) -> torch.Tensor:
    """Logits [n_slots, VOCAB] whose rows run from nearly certain to nearly uniform."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(0.1, sharpness, n_slots)[torch.randperm(n_slots, generator=generator)]
    return torch.randn(n_slots, VOCAB, generator=generator) * scale[:, None]


def their_sampler(n_slots: int, bound: float):
    return theirs.EntropyBoundSampler(theirs.EntropyBoundSamplerConfig(bound), n_slots, VOCAB, 48)


@pytest.mark.parametrize("budget", [1, 8, 48])
def test_the_temperature_falls_as_in_transformers(budget: int) -> None:
    config = SamplerConfig(max_denoising_steps=budget)
    schedule = theirs.LinearTemperatureScheduleLogitsProcessor(config.t_min, config.t_max, budget)
    logits = logits_of(0, 4, 5.0)
    for remaining in range(budget, 0, -1):
        expected = schedule(None, logits, cur_step=torch.tensor(remaining, dtype=torch.int32))
        torch.testing.assert_close(logits / config.temperature(remaining, budget), expected, rtol=1e-6, atol=0)
    assert config.temperature(budget, budget) == pytest.approx(config.t_max)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n_slots=st.integers(1, 40), bound=st.floats(1e-3, 8), sharpness=st.floats(0.2, 20))
def test_a_step_accepts_and_renoises_what_transformers_does(
    seed: int, n_slots: int, bound: float, sharpness: float
) -> None:
    logits = logits_of(seed, n_slots, sharpness)
    canvas = torch.arange(n_slots) % VOCAB

    sampler = their_sampler(n_slots, bound)
    torch.manual_seed(seed)
    candidate = torch.multinomial(torch.softmax(logits, -1, dtype=torch.float32), 1).squeeze(1)
    accepted_canvas = sampler.accept_canvas(canvas[None], candidate[None], logits[None], cur_step=1)
    renoised = sampler.renoise_canvas(accepted_canvas, cur_step=1)[0]

    generator = torch.Generator().manual_seed(seed)
    prediction = predict(logits)
    tokens = sample(prediction.probs, generator)
    accepted = accept(prediction.entropy, bound)
    ours = torch.where(accepted, tokens, Noise(VOCAB).draw(n_slots, generator))

    assert torch.equal(tokens, candidate)
    assert torch.equal(accepted, sampler.accepted_token_mask[0])
    assert torch.equal(ours, renoised)
    assert torch.equal(prediction.argmax, logits.argmax(-1))
    torch.testing.assert_close(prediction.certainty, torch.softmax(logits, -1).amax(-1))


def test_the_first_canvas_is_drawn_as_in_transformers() -> None:
    torch.manual_seed(3)
    expected = their_sampler(24, 0.1).initialize_canvas(1, torch.device("cpu"))[0]
    assert torch.equal(Noise(VOCAB).draw(24, torch.Generator().manual_seed(3)), expected)


@pytest.mark.parametrize("threshold", [0, 1, 2, 3])
def test_the_loop_stops_at_the_step_transformers_stops_at(threshold: int) -> None:
    config = SamplerConfig(stability_threshold=threshold, confidence_threshold=0.05)
    stopping = theirs.StableAndConfidentStoppingCriteria(threshold, config.confidence_threshold)
    previous: list[torch.Tensor] = []
    generator = torch.Generator().manual_seed(1)
    verdicts = []
    for _ in range(60):
        # Two canvases, two levels of certainty: every combination of stable and confident comes up.
        target = torch.arange(6) + (torch.rand((), generator=generator) < 0.3)
        sharpness = 30.0 if torch.rand((), generator=generator) < 0.8 else 3.0
        logits = torch.nn.functional.one_hot(target, VOCAB) * sharpness
        expected = bool(stopping(target[None], logits[None]))
        prediction = predict(logits)
        verdicts.append(settled(prediction.argmax, previous, prediction.entropy, config))
        assert verdicts[-1] is expected
        previous.append(prediction.argmax)
    assert 0 < sum(verdicts) < len(verdicts)


def test_one_stable_step_means_two_identical_canvases() -> None:
    config, sure = SamplerConfig(stability_threshold=1), torch.zeros(4)
    canvas = torch.arange(4)
    assert not settled(canvas, [], sure, config)
    assert settled(canvas, [canvas.clone()], sure, config)
    assert not settled(canvas, [canvas.clone(), canvas + 1], sure, config)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 600), min_size=1, max_size=64), st.floats(0, 10))
def test_acceptance_takes_the_most_certain_slots_up_to_the_bound(sixty_fourths: list[int], bound: float) -> None:
    entropy = [n / 64 for n in sixty_fourths]  # sums of these are exact
    accepted = accept(torch.tensor(entropy), bound).tolist()
    taken = sorted(h for h, yes in zip(entropy, accepted, strict=True) if yes)
    left = [h for h, yes in zip(entropy, accepted, strict=True) if not yes]
    assert taken[0] == min(entropy)
    assert sum(taken[:-1]) <= bound
    assert not left or (min(left) >= taken[-1] and sum(taken) > bound)


def test_a_lead_is_that_of_the_likeliest_token_over_the_second() -> None:
    probs = torch.tensor([[0.6, 0.1, 0.3], [0.25, 0.5, 0.25], [0.5, 0.5, 0.0]], dtype=torch.float64)
    assert leads(probs).tolist() == pytest.approx([0.3, 0.25, 0.0])
    assert leads(probs[:0]).tolist() == []


@pytest.mark.parametrize("seed", range(3))
def test_a_sample_is_the_one_multinomial_draws(seed: int) -> None:
    probs = torch.softmax(logits_of(seed, 30, 8.0), -1)
    ours, theirs = (torch.Generator().manual_seed(seed) for _ in range(2))
    assert torch.equal(sample(probs, ours), torch.multinomial(probs, 1, generator=theirs).squeeze(1))
    assert torch.equal(Noise(VOCAB).draw(9, ours), Noise(VOCAB).draw(9, theirs))  # and leaves the stream where it does


def test_a_banned_token_has_no_probability_and_leaves_the_entropy_finite() -> None:
    logits = torch.zeros(2, VOCAB)
    logits[:, 10:] = BANNED / 0.4
    prediction = predict(logits)
    assert prediction.probs[:, 10:].max() == 0
    torch.testing.assert_close(prediction.entropy, torch.full((2,), math.log(10)))


def test_mask_noise_is_the_mask_token() -> None:
    assert Noise(VOCAB, 3).draw(5, torch.Generator()).tolist() == [3] * 5


def test_the_sampler_is_read_from_generation_config_json(tmp_path: Path) -> None:
    config = theirs.DiffusionGemmaGenerationConfig(
        max_denoising_steps=12,
        sampler_config=theirs.EntropyBoundSamplerConfig(0.25),
        t_min=0.3,
        t_max=0.9,
        stability_threshold=2,
        confidence_threshold=0.01,
    )
    config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "generation_config.json").read_text())
    assert SamplerConfig.from_hf(saved) == SamplerConfig(12, 0.25, 0.3, 0.9, 2, 0.01)
    assert SamplerConfig.from_hf({}) == SamplerConfig()
    for ends, expected in ((1, (1,)), ([1, 106, 50], (1, 106, 50)), (None, ())):
        assert SamplerConfig.from_hf({"eos_token_id": ends}).eos_token_id == expected
    defaults = theirs.DiffusionGemmaGenerationConfig._get_default_generation_params()
    defaults["sampler_config"] = {"entropy_bound": defaults["sampler_config"].entropy_bound}
    assert SamplerConfig.from_hf(defaults) == SamplerConfig()


@pytest.mark.parametrize(
    "broken",
    [
        {"eos_token_id": "stop"},
        {"eos_token_id": [-1]},
        {"t_min": "warm"},
        {"max_denoising_steps": 0},
        {"t_min": 0.9, "t_max": 0.4},
        {"entropy_bound": -1},
    ],
)
def test_a_broken_generation_config_is_named(broken: dict) -> None:
    if "entropy_bound" in broken:
        broken = {"sampler_config": broken}
    with pytest.raises(EngineError, match=r"generation_config\.json: \w+"):
        SamplerConfig.from_hf(broken)
