"""Whole runs of transformers' `generate` on the same weights and the same random stream, token for token.

Between them and the parity of one pass (`test_parity.py`) lie the traps of the loop: what is emitted (the likeliest
tokens, not the noisy canvas), when two canvases are the same, which logits condition the next step, what ends a text,
and what of a canvas ever reaches the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from midspan.engine.canvas import Canvas
from midspan.engine.denoise import Alphabet, Denoised, Setting, denoise, denoise_all
from midspan.engine.network import Network
from midspan.engine.sampler import Noise, SamplerConfig
from torch import Tensor

pytest.importorskip("transformers")

CANVAS = 8
# A random network feeds its own output back to itself and triples a rounding error at every step: after some ten, two
# correct implementations part.
STEPS = 5


class Watched:
    """The network, with every canvas it was shown written down."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.embed, self.logits, self.soft_embeddings = network.embed, network.logits, network.soft_embeddings
        self.canvases: list[list[int]] = []

    def denoise(self, canvas: Tensor, cache: Any, soft: Tensor | None = None) -> Tensor:
        self.canvases += canvas.tolist()
        return self.network.denoise(canvas, cache, soft)


@dataclass
class Theirs:
    tokens: list[int]
    canvases: list[list[int]]
    cache_length: int


def generated(model: Any, prompt: Tensor, seed: int, n_new: int, ends: list[int], **settings: Any) -> Theirs:
    canvases: list[list[int]] = []
    forward = model.forward

    def watched(**kwargs: Any) -> Any:
        canvases.append(kwargs["decoder_input_ids"][0].tolist())
        return forward(**kwargs)

    model.forward = watched
    try:
        torch.manual_seed(seed)
        output = model.generate(
            prompt,
            max_new_tokens=n_new,
            max_denoising_steps=STEPS,
            eos_token_id=ends or None,
            return_dict_in_generate=True,
            **settings,
        )
    finally:
        del model.forward
    tokens = output.sequences[0, prompt.shape[1] :].tolist()
    return Theirs(tokens, canvases, output.past_key_values.get_seq_length())


def prompt_of(network: Network, seed: int) -> Tensor:
    return torch.randint(6, network.config.vocab_size, (1, 21), generator=torch.Generator().manual_seed(seed))


SHAPES = pytest.mark.parametrize("shape", ["small", "mini", "experts"])


@SHAPES
@pytest.mark.parametrize(("seed", "confidence"), [(0, 0.005), (1, 2.5), (2, 4.0)])
def test_every_canvas_of_a_fill_is_the_one_transformers_denoises(
    tiny_network: Callable[[str], Any], oracle: Callable[[str], Any], shape: str, seed: int, confidence: float
) -> None:
    """Every noisy canvas, the step it ends at, and what is emitted."""
    network, prompt = tiny_network(shape), prompt_of(tiny_network(shape), seed)
    vocab, ends = network.config.vocab_size, frozenset(network.config.eos_token_id)
    theirs = generated(oracle(shape), prompt, seed, CANVAS, sorted(ends), confidence_threshold=confidence)
    ours = Watched(network)
    with torch.inference_mode():
        cache = network.new_cache()
        network.encode(prompt, cache)
        generator = torch.Generator().manual_seed(seed)
        alphabet = Alphabet(Noise(vocab), None, ends)
        canvas = Canvas.start(alphabet.noise.draw(CANVAS, generator), prompt[0, :0])
        config = SamplerConfig(max_denoising_steps=STEPS, confidence_threshold=confidence)
        filled = denoise(Setting(ours, cache, config, alphabet, prompt[0, :0]), canvas, generator)
    assert ours.canvases == theirs.canvases
    assert filled.steps == len(theirs.canvases)
    end = next((i for i, token in enumerate(theirs.tokens) if token in ends), len(theirs.tokens))
    assert list(filled.ids) == theirs.tokens[:end]
    assert cache.length == theirs.cache_length == prompt.shape[1]  # of a canvas nothing is ever cached


@SHAPES
def test_canvas_after_canvas_is_what_transformers_writes(
    tiny_network: Callable[[str], Any], oracle: Callable[[str], Any], shape: str
) -> None:
    """Three canvases in a row: each one committed by a causal pass, the next one from fresh noise, conditioned on
    nothing, on the same random stream; the last one is never encoded."""
    network, prompt = tiny_network(shape), prompt_of(tiny_network(shape), 7)
    theirs = generated(oracle(shape), prompt, 7, 3 * CANVAS, [])
    ours = Watched(network)
    written: list[int] = []
    with torch.inference_mode():
        cache = network.new_cache()
        network.encode(prompt, cache)
        generator = torch.Generator().manual_seed(7)
        alphabet = Alphabet(Noise(network.config.vocab_size))
        setting = Setting(ours, cache, SamplerConfig(max_denoising_steps=STEPS), alphabet, prompt[0, :0])
        for n in range(3):
            if n:
                network.encode(torch.tensor([written[-CANVAS:]]), cache)
            canvas = Canvas.start(alphabet.noise.draw(CANVAS, generator), prompt[0, :0])
            written += denoise(setting, canvas, generator).ids
    assert ours.canvases == theirs.canvases
    assert written == theirs.tokens
    assert cache.length == theirs.cache_length == prompt.shape[1] + 2 * CANVAS


@SHAPES
def test_a_batch_of_canvases_is_what_transformers_writes_for_each(
    tiny_network: Callable[[str], Any], oracle: Callable[[str], Any], shape: str
) -> None:
    network, prompt = tiny_network(shape), prompt_of(tiny_network(shape), 3)
    theirs = [generated(oracle(shape), prompt, seed, CANVAS, []).tokens for seed in range(3)]
    with torch.inference_mode():
        cache = network.new_cache()
        network.encode(prompt, cache)
        alphabet = Alphabet(Noise(network.config.vocab_size))
        generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
        canvases = [Canvas.start(alphabet.noise.draw(CANVAS, one), prompt[0, :0]) for one in generators]
        setting = Setting(network, cache, SamplerConfig(max_denoising_steps=STEPS), alphabet, prompt[0, :0])
        ours: list[Denoised] = denoise_all(setting, canvases, generators)
    assert [list(one.ids) for one in ours] == theirs


def test_what_conditions_a_step_in_half_precision_is_what_transformers_computes(
    tiny_network: Callable[[str], Any], oracle: Callable[[str], Any]
) -> None:
    """Probabilities are made in float32 and only then rounded; that costs a bit in two hundred and fifty-six, the
    other way round several."""
    network, embed = tiny_network("small"), oracle("small").model.decoder.embed_tokens
    logits = torch.randn(1, 9, network.config.vocab_size, generator=torch.Generator().manual_seed(0)) * 6
    table = embed.weight.bfloat16()
    probs = logits.softmax(dim=-1, dtype=torch.float32).to(torch.bfloat16)
    expected = torch.matmul(probs, table) * embed.embed_scale.to(torch.bfloat16)
    assert torch.equal(deepcopy(network).bfloat16().soft_embeddings(logits), expected)
