"""The network computes what transformers' DiffusionGemma computes, number by number, from the same weights in float32.

"Equal" is a largest difference of at most 1e-5 of the largest magnitude, per tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from midspan.engine.cache import KVCache
from midspan.engine.config import FULL, SLIDING, NetworkConfig
from midspan.engine.network import Network
from torch import Tensor

transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-5
N_SLOTS = 8
SHAPES = ["small", "mini", "experts", "panels"]
PREFIXES = ["one token", "shorter than the window", "window - 1", "window", "window + 1", "several windows"]


def assert_equal(actual: Tensor, expected: Tensor, what: str) -> None:
    assert actual.shape == expected.shape, what
    difference = ((actual - expected).abs().max() / expected.abs().max()).item()
    assert difference <= TOLERANCE, f"{what}: off by {difference:.1e} of the largest magnitude"


class Pair:
    """The network and its oracle, each with its own cache, fed the same tokens."""

    def __init__(self, network: Network, oracle: Any) -> None:
        self.network, self.oracle = network, oracle
        self.window = network.config.sliding.window or 0
        self.restart()

    def restart(self, batch: int = 1) -> None:
        self.cache = self.network.new_cache(batch)
        self.oracle_cache = transformers.DynamicCache(config=self.oracle.config.text_config)

    def encode(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        expected = self.oracle.model.encoder(input_ids=ids, past_key_values=self.oracle_cache)
        return self.network.encode(ids, self.cache), expected.last_hidden_state

    def denoise(self, canvas: Tensor, scaled_logits: Tensor | None = None) -> tuple[Tensor, Tensor]:
        soft = None if scaled_logits is None else self.network.soft_embeddings(scaled_logits)
        expected = self.oracle(
            decoder_input_ids=canvas, past_key_values=self.oracle_cache, self_conditioning_logits=scaled_logits
        )
        return self.network.logits(self.network.denoise(canvas, self.cache, soft)), expected.logits

    def assert_same_cache(self) -> None:
        assert self.cache.length == self.oracle_cache.get_seq_length()
        for i, (_, expected) in enumerate(zip(self.network.layers, self.oracle_cache.layers, strict=True)):
            # Sliding layers of the oracle keep window - 1 tokens; ours keep all, so that a prefix can be rolled back.
            keys, values = self.cache.read(i, last=expected.keys.shape[2])
            assert_equal(keys, expected.keys, f"keys of layer {i}")
            assert_equal(values, expected.values, f"values of layer {i}")


@pytest.fixture(autouse=True)
def _inference() -> Any:
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


@pytest.fixture(params=SHAPES)
def pair(request: pytest.FixtureRequest, tiny_network: Callable, oracle: Callable) -> Pair:
    return Pair(tiny_network(request.param), oracle(request.param))


def tokens(pair: Pair, length: int, batch: int = 1) -> Tensor:
    return torch.randint(0, pair.network.config.vocab_size, (batch, length))


def prefix_length(pair: Pair, prefix: str) -> int:
    window = pair.window
    return {
        "one token": 1,
        "shorter than the window": window // 2,
        "window - 1": window - 1,
        "window": window,
        "window + 1": window + 1,
        "several windows": 3 * window + 5,
    }[prefix]


def snapshot(cache: KVCache, network: Network) -> list[tuple[Tensor, Tensor]]:
    return [(k.clone(), v.clone()) for k, v in (cache.read(i) for i in range(len(network.layers)))]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_encoder_hidden_states_keys_and_values(pair: Pair, prefix: str) -> None:
    hidden, expected = pair.encode(tokens(pair, prefix_length(pair, prefix)))
    assert_equal(hidden, expected, "encoder hidden states")
    pair.assert_same_cache()


@pytest.mark.parametrize("prefix", PREFIXES)
def test_canvas_logits_over_four_denoise_steps(pair: Pair, prefix: str) -> None:
    """The first step has no self-conditioning; each later one gets the logits before it, divided by a temperature."""
    pair.encode(tokens(pair, prefix_length(pair, prefix)))
    scaled, peak = None, 0.0
    for step, temperature in enumerate((0.8, 0.6, 0.4, 0.4)):
        logits, expected = pair.denoise(tokens(pair, N_SLOTS), scaled)
        assert_equal(logits, expected, f"logits of step {step}")
        scaled, peak = expected / temperature, expected.abs().max()
    assert peak > pair.network.config.final_logit_softcapping / 2, "softcap never bites: the weights are too tame"


@pytest.mark.parametrize("n_slots", [1, 3, 40])
def test_canvas_of_any_length(pair: Pair, n_slots: int) -> None:
    pair.encode(tokens(pair, 2 * pair.window))
    logits, expected = pair.denoise(tokens(pair, n_slots))
    assert_equal(logits, expected, "logits")
    logits, expected = pair.denoise(tokens(pair, n_slots), expected / 0.7)
    assert_equal(logits, expected, "logits with self-conditioning")


def test_five_canvases_in_sequence(pair: Pair) -> None:
    """A finished canvas is committed by encoding it; the next one starts behind it without self-conditioning."""
    pair.encode(tokens(pair, pair.window // 2))
    for number in range(1, 6):
        canvas = tokens(pair, N_SLOTS)
        _, first = pair.denoise(canvas)
        logits, expected = pair.denoise(canvas, first / 0.5)
        assert_equal(logits, expected, f"logits of canvas {number}")
        hidden, expected_hidden = pair.encode(expected.argmax(-1))
        assert_equal(hidden, expected_hidden, f"hidden states of committed canvas {number}")
        pair.assert_same_cache()


def test_batches(pair: Pair) -> None:
    pair.restart(batch=3)
    hidden, expected = pair.encode(tokens(pair, 2 * pair.window, batch=3))
    assert_equal(hidden, expected, "encoder hidden states")
    logits, expected = pair.denoise(tokens(pair, N_SLOTS, batch=3))
    assert_equal(logits, expected, "canvas logits")
    logits, expected = pair.denoise(tokens(pair, N_SLOTS, batch=3), expected / 0.5)
    assert_equal(logits, expected, "canvas logits with self-conditioning")


@pytest.mark.parametrize("chunks", [[1] * 29, [5, 1, 16, 7], [20, 9], [3, 26]])
def test_prefix_encoded_in_pieces_equals_one_pass(pair: Pair, chunks: list[int]) -> None:
    ids = tokens(pair, sum(chunks))
    _, expected = pair.encode(ids)
    cache = pair.network.new_cache()
    hidden = torch.cat([pair.network.encode(piece, cache) for piece in ids.split(chunks, dim=1)], dim=1)
    assert_equal(hidden, expected, "encoder hidden states")
    pair.cache = cache
    pair.assert_same_cache()
    logits, expected_logits = pair.denoise(tokens(pair, N_SLOTS))
    assert_equal(logits, expected_logits, "canvas logits")


@pytest.mark.parametrize("kept", [0, 3, 17, 40])
def test_rolled_back_prefix_equals_cold_start(pair: Pair, kept: int) -> None:
    """What was encoded and truncated leaves no trace, however far back the cut lies behind the sliding window."""
    network, ids = pair.network, tokens(pair, 52)
    pair.encode(ids)
    cache = network.new_cache()
    network.encode(torch.cat((ids[:, :kept], tokens(pair, 70)), dim=1), cache)
    cache.truncate(kept)
    network.encode(ids[:, kept:], cache)
    pair.cache = cache
    pair.assert_same_cache()
    logits, expected = pair.denoise(tokens(pair, N_SLOTS))
    assert_equal(logits, expected, "canvas logits")


def test_undone_typing_is_bit_identical(pair: Pair) -> None:
    """Same pieces encoded on top of the same prefix: the tokens typed and deleted in between change no bit."""
    network, start, wrong, right = pair.network, tokens(pair, 30), tokens(pair, 9), tokens(pair, 4)
    straight, detour = network.new_cache(), network.new_cache()
    network.encode(start, straight)
    expected = network.encode(right, straight)
    network.encode(start, detour)
    network.encode(wrong, detour)
    detour.truncate(start.shape[1])
    assert torch.equal(network.encode(right, detour), expected)
    for (k, v), (expected_k, expected_v) in zip(snapshot(detour, network), snapshot(straight, network), strict=True):
        assert torch.equal(k, expected_k) and torch.equal(v, expected_v)


def test_candidates_denoised_as_a_batch_on_one_prefix_equal_one_at_a_time(pair: Pair) -> None:
    network = pair.network
    pair.encode(tokens(pair, 3 * pair.window))
    canvases, scaled = tokens(pair, N_SLOTS, batch=4), torch.randn(4, N_SLOTS, network.config.vocab_size) * 5
    together = network.logits(network.denoise(canvases, pair.cache, network.soft_embeddings(scaled)))
    for i in range(4):
        _, expected = pair.denoise(canvases[i : i + 1], scaled[i : i + 1])
        assert_equal(together[i : i + 1], expected, f"canvas {i}")


def test_denoising_leaves_the_prefix_untouched(pair: Pair) -> None:
    pair.encode(tokens(pair, 2 * pair.window))
    before = snapshot(pair.cache, pair.network)
    _, first = pair.denoise(tokens(pair, N_SLOTS, batch=1))
    pair.network.denoise(tokens(pair, N_SLOTS, batch=3), pair.cache)
    pair.denoise(tokens(pair, N_SLOTS), first)
    assert pair.cache.length == 2 * pair.window
    for (k, v), (old_k, old_v) in zip(snapshot(pair.cache, pair.network), before, strict=True):
        assert torch.equal(k, old_k) and torch.equal(v, old_v)


def test_every_slot_sees_the_whole_canvas(pair: Pair) -> None:
    """Right context: what stands in the last slot changes the logits of the first."""
    pair.encode(tokens(pair, 5))
    canvas = tokens(pair, N_SLOTS)
    other = canvas.clone()
    other[0, -1] = (other[0, -1] + 1) % pair.network.config.vocab_size
    a, b = (pair.network.logits(pair.network.denoise(c, pair.cache)) for c in (canvas, other))
    assert (a[0, 0] - b[0, 0]).abs().max() > 1e-3


def test_router_weights_and_experts(pair: Pair) -> None:
    """On their own: the norm behind the experts hides most of what could be wrong with the weights' sum."""
    residual = torch.randn(50, pair.network.config.hidden_size) * 3
    for i, (layer, expected_layer) in enumerate(
        zip(pair.network.layers, pair.oracle.model.decoder.layers, strict=True)
    ):
        weights, experts = layer.router(residual)
        _, expected_weights, expected_experts = expected_layer.router(residual)
        assert torch.equal(experts, expected_experts), f"experts chosen in layer {i}"
        assert_equal(weights, expected_weights, f"router weights of layer {i}")
        expected = expected_layer.experts(residual, expected_experts, expected_weights)
        assert_equal(layer.experts(residual, weights, experts), expected, f"experts' output of layer {i}")


def test_soft_embeddings(pair: Pair) -> None:
    """On their own: the norm in front of the self-conditioning MLP hides their scale."""
    heard = []
    hook = pair.oracle.model.decoder.self_conditioning.register_forward_hook(lambda _, args, __: heard.append(args[1]))
    pair.encode(tokens(pair, 4))
    scaled = torch.randn(1, N_SLOTS, pair.network.config.vocab_size) * 5
    pair.denoise(tokens(pair, N_SLOTS), scaled)
    hook.remove()
    assert_equal(pair.network.soft_embeddings(scaled), heard[0], "soft embeddings")


def test_bfloat16_embeddings_are_bit_identical(tiny_config: Callable) -> None:
    """sqrt(hidden_size) is rounded to the weights' dtype before it multiplies, as in training."""
    dims = {**tiny_config("small")["text_config"], "hidden_size": 44, "num_experts": 2}
    network = Network(NetworkConfig.from_hf({**tiny_config("small"), "text_config": dims})).to(torch.bfloat16)
    embedding = transformers.models.diffusion_gemma.modeling_diffusion_gemma.DiffusionGemmaTextScaledWordEmbedding(
        97, 44, 0, embed_scale=44**0.5
    ).to(torch.bfloat16)
    embedding.weight.copy_(network.embed_tokens.weight)
    ids = torch.arange(97)
    assert torch.equal(network.embed(ids), embedding(ids))


def test_rotary_frequencies(pair: Pair) -> None:
    """Full layers turn only their share of the head, at exponents over the whole head; the rest stands still."""
    rotary = pair.oracle.model.decoder.rotary_emb
    positions = torch.tensor([0, 1, 7, 300, 100_000])
    for layer_type, (cos, sin) in pair.network.ropes(positions).items():
        expected_cos, expected_sin = rotary(torch.empty(0), positions[None], layer_type)
        assert torch.equal(cos, expected_cos[0]) and torch.equal(sin, expected_sin[0]), layer_type
    assert set(pair.network.ropes(positions)) == {SLIDING, FULL}


@pytest.mark.parametrize("start", [0, 1, 500, 1000, 4000, 4096, 100_000])
def test_rotations_out_of_the_table_are_those_of_their_positions(pair: Pair, start: int) -> None:
    for length in (1, 30, 200):
        kept, made = pair.network.ropes_from(start, length), pair.network.ropes(start + torch.arange(length))
        assert kept.keys() == made.keys()
        for layer_type, (cos, sin) in made.items():
            torch.testing.assert_close(kept[layer_type], (cos, sin), rtol=0, atol=1e-6)
