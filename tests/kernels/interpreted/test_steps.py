"""The head, expected embeddings, acceptance; then all of it, as denoise steps of a whole network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from midspan.engine import sampler
from midspan.engine.canvas import Canvas
from midspan.engine.config import NetworkConfig
from midspan.engine.denoise import CANCELLED, CONVERGED, Alphabet, Denoised, Patience, Setting
from midspan.engine.errors import EngineError
from midspan.engine.kernels.canvas import past_of
from midspan.engine.kernels.commit import BROKEN, Rule, State, commit_torch
from midspan.engine.kernels.commit_triton import commit_triton, noise_triton
from midspan.engine.kernels.head import EVERYWHERE, FIRST, LAST, Rows, Statistics, head_torch
from midspan.engine.kernels.head_triton import head_triton, uniform_triton
from midspan.engine.kernels.loop import DeviceLoop
from midspan.engine.kernels.packing import Kind, pack, unpack
from midspan.engine.kernels.soft import soft_torch
from midspan.engine.kernels.soft_triton import soft_triton
from midspan.engine.kernels.step import Room, Size, Step
from midspan.engine.kernels.stream import noise_places, token_places, uniform_torch
from midspan.engine.kernels.target import Target, pretend, torch_only
from midspan.engine.network import Network
from midspan.engine.prompts.seams import Seams
from torch import Tensor

CAP, TEMPERATURE = 30.0, 0.6
BIG = 3 << 40  # a seed of more than 32 bits


def seed(number: int = 7) -> Tensor:
    return torch.tensor([number])


def slots(n: int, kinds: int = EVERYWHERE) -> Rows:
    return Rows(torch.arange(n, dtype=torch.int32), torch.full((n,), kinds, dtype=torch.int32))


@pytest.mark.parametrize("number", [0, 7, BIG])
def test_kernels_and_torch_draw_the_same_numbers(number: int) -> None:
    numbers = torch.tensor([3, 0, 900], dtype=torch.int32)
    drawn = uniform_triton(numbers, 50, seed(number))
    assert torch.equal(drawn, uniform_torch(seed(number), token_places(numbers, 50)))
    assert torch.equal(
        noise_triton(20, 50, seed(number)), uniform_torch(seed(number), noise_places(torch.arange(20), 50))
    )
    assert len(drawn.unique()) == drawn.numel() and drawn.min() >= 0 and drawn.max() < 1


@pytest.mark.parametrize("kind", [None, "fp8", "int8"])
def test_head_and_expected_embeddings(kind: Kind | None, dtype: torch.dtype, close: Callable) -> None:
    """Against float32 logits in memory. A draw with the same random numbers takes the same token. Slots differ in what
    is banned there."""
    n, hidden, vocab = 5, 64, 200
    x, weight = torch.randn(n, hidden).to(dtype), torch.randn(vocab, hidden)
    packed = weight.to(dtype) if kind is None else pack(weight, kind)
    whole = packed if isinstance(packed, Tensor) else unpack(packed, dtype)
    banned = (torch.rand(vocab) < 0.1).to(torch.uint8) | FIRST * (torch.rand(vocab) < 0.5).to(torch.uint8)
    rows, knobs = slots(n), torch.tensor([TEMPERATURE])
    rows.kinds[0] |= FIRST
    rows.kinds[-1] |= LAST
    tape = uniform_torch(seed(), token_places(rows.numbers, vocab))
    expected, _ = head_torch(x, whole, CAP, TEMPERATURE, banned, rows.kinds, tape)
    actual, fixed = head_triton(x, packed, CAP, knobs, banned, rows, seed())
    assert torch.equal(actual.argmax, expected.argmax) and torch.equal(actual.sample, expected.sample)
    barred = (banned[None].int() & rows.kinds[:, None]) != 0
    assert barred[0].sum() > 2 * barred[1].sum() > 0
    assert not barred.gather(1, torch.stack((actual.sample, actual.argmax), 1)).any()
    tolerance = 2e-2 if dtype == torch.float16 and kind else 1e-3  # float16 weights are rounded once more
    for field in ("entropy", "log_sum", "certainty"):
        torch.testing.assert_close(getattr(actual, field), getattr(expected, field), atol=tolerance, rtol=0)
    scale = torch.tensor([hidden**0.5]).to(dtype)
    soft = soft_triton(fixed, actual.log_sum, CAP, knobs, packed, scale)
    close(soft, soft_torch(fixed, actual.log_sum, CAP, TEMPERATURE, whole, scale))
    probs = torch.softmax(torch.tanh(x.float() @ whole.float().T / CAP) * (CAP / TEMPERATURE) - barred * 1e9, -1)
    assert ((soft.float() - probs @ whole.float() * hidden**0.5).norm() / soft.float().norm()) < 1e-2


def test_nothing_is_drawn_without_a_seed() -> None:
    x, weight = torch.randn(3, 32), torch.randn(50, 32)
    statistics, _ = head_triton(x, weight, CAP, torch.tensor([1.0]), torch.zeros(50, dtype=torch.uint8), slots(3), None)
    assert torch.equal(statistics.sample, statistics.argmax)


def test_draws_follow_the_distribution() -> None:
    """Chi-square over 8000 draws of 8 tokens, 7 degrees of freedom: beyond 24.3 once in a thousand seeds, and the seed
    is fixed. The draw is the reference's, from the kernel's random numbers; that both draw alike is tested above."""
    n, vocab = 8000, 8
    tape = uniform_triton(torch.arange(8, dtype=torch.int32), n, seed(3)).T.reshape(n, vocab)
    assert (tape >= 0).all() and (tape < 1).all()
    hidden, weight = torch.ones(n, 1), torch.linspace(-1, 1, vocab)[:, None]
    statistics, _ = head_torch(hidden, weight, CAP, 1.0, torch.zeros(vocab, dtype=torch.uint8), slots(n).kinds, tape)
    expected = torch.softmax(CAP * torch.tanh(weight[:, 0] / CAP), 0) * n
    counts = torch.bincount(statistics.sample, minlength=vocab)
    assert ((counts - expected).square() / expected).sum() < 24.3


def state_of(sizes: list[int], guess: Tensor) -> State:
    n = sum(sizes)
    starts = torch.tensor([sum(sizes[:i]) for i in range(len(sizes) + 1)]).int()
    return State(torch.full((n,), -5), guess.clone(), torch.full((n,), -5.0), torch.zeros(len(sizes)).int(), starts)


@pytest.mark.parametrize("sizes", [[1], [5], [40], [3, 17, 1]])
def test_acceptance_and_renoise(sizes: list[int]) -> None:
    """Every gap by itself, whatever stands beside it; rows behind the gaps' are no one's; a settled gap stays as it
    is."""
    n, rule, vocab, number = sum(sizes), Rule(0.3, 0.2, 1000), 1000, torch.tensor([4]).int()
    entropy = torch.rand(n + 2) * 0.2
    entropy[n // 2 : n] = entropy[0]  # ties: the first slot comes first
    ids = torch.arange(n + 2)
    statistics = Statistics(ids, ids + 100, entropy, entropy, entropy)
    ours, theirs = state_of(sizes, ids[:n]), state_of(sizes, ids[:n])
    noise = torch.cat([noise_triton(size, vocab, seed()) for size in sizes])
    commit_torch(statistics, theirs, noise, 4, rule)
    commit_triton(statistics, ours, seed(), number, rule, max(sizes))
    for mine, other in zip(vars(ours).values(), vars(theirs).values(), strict=True):
        assert torch.equal(mine, other)
    own = torch.split(entropy[:n], sizes)
    assert torch.equal(ours.tokens == ids[:n] + 100, torch.cat([sampler.accept(each, 0.3) for each in own]))
    assert ours.settled.tolist() == [4] * len(sizes)
    later = Statistics(ids + 7, ids, entropy, entropy, entropy)
    commit_triton(later, ours, seed(9), number + 1, rule, max(sizes))
    for mine, other in zip(vars(ours).values(), vars(theirs).values(), strict=True):
        assert torch.equal(mine, other)
    restless = state_of(sizes, ids[:n] + 1)
    commit_triton(statistics, restless, seed(), number, rule, max(sizes))
    assert restless.settled.tolist() == [0] * len(sizes) and torch.equal(restless.guess, ids[:n])


def test_a_gap_without_numbers_is_said_to_be_broken() -> None:
    """NaN would otherwise be read as some token, silently; the other gap is none the worse."""
    entropy, ids = torch.tensor([0.1, torch.nan, 0.1]), torch.arange(3)
    statistics, rule = Statistics(ids, ids, entropy, entropy, entropy), Rule(0.3, 0.2, 1000)
    ours, theirs = state_of([2, 1], ids), state_of([2, 1], ids)
    commit_triton(statistics, ours, seed(), torch.tensor([4]).int(), rule, 2)
    commit_torch(statistics, theirs, torch.rand(3), 4, rule)
    assert ours.settled.tolist() == theirs.settled.tolist() == [BROKEN, 4]


def tiny() -> Network:
    """Both kinds of layers, as few of everything as there can be."""
    text = {
        "vocab_size": 40, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 2,
        "layer_types": ["sliding_attention", "full_attention"], "num_attention_heads": 2, "num_key_value_heads": 1,
        "num_global_key_value_heads": 1, "head_dim": 8, "global_head_dim": 16, "sliding_window": 4, "num_experts": 3,
        "top_k_experts": 2, "moe_intermediate_size": 12, "rms_norm_eps": 1e-6, "pad_token_id": 0, "eos_token_id": 1,
        "bos_token_id": 2, "max_position_embeddings": 64,
    }  # fmt: skip
    network = Network(NetworkConfig.from_hf({"model_type": "diffusion_gemma", "canvas_length": 8, "text_config": text}))
    for name, tensor in network.state_dict().items():
        unit = torch.rand(tensor.shape) + 0.5 if tensor.ndim == 1 else torch.randn(tensor.shape)
        tensor.copy_(unit if tensor.ndim == 1 or "embed" in name else unit * 1.5 * tensor.shape[-1] ** -0.5)
    return network.requires_grad_(False)


def setting_of(network: Network, config: sampler.SamplerConfig, ends: frozenset[int] = frozenset()) -> Setting:
    cache = network.new_cache()
    plainly(lambda: network.encode(torch.tensor([[2, 30, 31, 32, 33, 34]]), cache))
    first = torch.zeros(40, dtype=torch.bool)
    first[5:9] = True
    alphabet = Alphabet(sampler.Noise(40), None, ends)
    return Setting(network, cache, config, alphabet, torch.tensor([0, 2, 3]), Patience(), Seams(first, None))


def plainly(call: Callable[[], Tensor]) -> Tensor:
    """What torch makes of it, without a kernel."""
    with torch_only():
        return call()


def test_two_steps_of_two_canvases_of_a_whole_network() -> None:
    """Kernels, padding, self-conditioning, temperatures and the draw, against the same step in plain torch; the second
    time in the same memory it is answered as the first time."""
    network, config = tiny(), sampler.SamplerConfig(max_denoising_steps=4, entropy_bound=3.0)
    setting = setting_of(network, config)
    canvases = [Canvas.start(torch.tensor(gap), torch.tensor([20, 21])) for gap in ([11, 12, 13], [14])]
    size = Size(canvases=2, slots=6, gaps=5, prefix=16)
    seen: list[list[Tensor]] = []
    with pretend(Target("cuda", 90, "two", 2)):
        step = Step(network, size, config, Room(network, 16))
        plain = Step(network, size, config, Room(network, 16))
        for n_steps in (2, 1):
            step.begin(setting, canvases, seed=5)
            plain.begin(setting, canvases, seed=5)
            for _ in range(n_steps):
                step()
                with torch_only():
                    plain()
                assert torch.equal(step.ids, plain.ids) and torch.equal(step.state.guess[:4], plain.state.guess[:4])
                torch.testing.assert_close(step.state.entropy[:4], plain.state.entropy[:4], atol=1e-3, rtol=0)
                seen.append([step.ids.clone(), step.state.entropy[:4].clone()])
    assert step.ids[0, 3:5].tolist() == step.ids[1, 1:3].tolist() == [20, 21]
    assert all(torch.equal(a, b) for a, b in zip(seen[0], seen[2], strict=True))


def test_network_goes_through_the_kernels() -> None:
    """`Network.denoise`, batched, from its own cache, equals itself in plain torch."""
    network = tiny()
    with pretend(Target("cuda", 90, "two", 2)):
        cache, canvas = network.new_cache(), torch.tensor([[5, 6], [7, 8]])
        plainly(lambda: network.encode(torch.tensor([[2, 30, 31]]), cache))
        expected = plainly(lambda: network.denoise(canvas, cache))
        actual = network.denoise(canvas, cache)
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    assert past_of(cache, network.config, {}, canvas.device).spans[4].tolist() == [0, 3]


class Counted:
    """Stands for a step: counts, and each gap is calm from its own step on."""

    def __init__(self, calm_at: list[int]) -> None:
        self.calls, self.calm_at = 0, calm_at

    def of(self, step: Step) -> None:
        self.calls += 1
        for gap, at in enumerate(self.calm_at):
            if self.calls == abs(at):
                step.state.settled[gap] = at if at > 0 else BROKEN
        step.state.guess[:4] = torch.tensor([9, 1, 8, 7])
        step.state.entropy[:4] = torch.tensor([0.1, 0.2, 0.3, 0.4])


def run_loop(
    monkeypatch: pytest.MonkeyPatch, calm_at: list[int], patience: Patience, ends: frozenset[int]
) -> tuple[list[Denoised], int]:
    network, counted = tiny(), Counted(calm_at)
    monkeypatch.setattr(Step, "__call__", lambda step: counted.of(step))  # noqa: PLW0108 - a method must be a function
    setting = setting_of(network, sampler.SamplerConfig(max_denoising_steps=6), ends)
    setting = Setting(**{**vars(setting), "patience": patience})
    canvases = [Canvas.start(torch.tensor(gap), torch.tensor([20])) for gap in ([4, 5, 6], [7])]
    generators = [torch.Generator().manual_seed(3) for _ in canvases]
    loop = DeviceLoop(network)
    assert loop.serves(setting, canvases)
    return loop.denoise_all(setting, canvases, generators), counted.calls


def test_each_gap_stops_when_settled_and_is_read_up_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    (one, other), calls = run_loop(monkeypatch, [3, 1], Patience(), frozenset({1}))
    assert (one.ids, one.steps, one.stop, calls) == ((9,), 3, CONVERGED, 3)
    assert one.end_entropy == pytest.approx(0.2)
    assert (other.ids, other.steps, other.stop, other.end_entropy) == ((7,), 1, CONVERGED, None)


def test_the_loop_stops_within_a_step_of_a_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    polls = iter([False, False, True])
    found, calls = run_loop(monkeypatch, [99, 1], Patience(cancelled=lambda: next(polls)), frozenset())
    assert [(one.stop, one.steps) for one in found] == [(CANCELLED, 2), (CONVERGED, 1)] and calls == 2


def test_a_broken_network_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match="NaN"):
        run_loop(monkeypatch, [99, -2], Patience(), frozenset())
