"""The captured loop's steps in their plain-torch form, on a CPU: the same tokens as the general loop, draw for draw.

What a GPU adds is kernels, each held to its torch form in `interpreted/`, and a graph that replays the same launches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from midspan.engine import denoise as general
from midspan.engine.canvas import Canvas
from midspan.engine.denoise import Alphabet, Denoised, Patience, Setting
from midspan.engine.filling.fill import Filler
from midspan.engine.kernels import loop as loop_module
from midspan.engine.kernels.loop import GRAPHS, DeviceLoop
from midspan.engine.kernels.step import SEEDS, Room, Step
from midspan.engine.kernels.stream import noise_places, token_places, uniform_torch
from midspan.engine.network import Network
from midspan.engine.prompts.seams import FREE, Seams
from midspan.engine.sampler import Noise, SamplerConfig
from torch import Tensor

VOCAB, STEPS, ENDS = 97, 4, frozenset(range(11, 25))
RULES = SamplerConfig(max_denoising_steps=STEPS, entropy_bound=2.0, confidence_threshold=0.5)


@pytest.fixture
def network(tiny_network: Callable[[str], Network]) -> Network:
    """Calm enough that the rounding of logits to 16 bits, which is the device's, does not choose other tokens."""
    made = Network(tiny_network("small").config)
    made.load_state_dict({name: tensor.clone() for name, tensor in tiny_network("small").state_dict().items()})
    made.self_conditioning.down_proj.weight.data.mul_(0.05)
    return made.requires_grad_(False)


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop serves a CPU, whose operations take their torch forms."""
    monkeypatch.setattr(loop_module, "use_triton", lambda x: True)


@dataclass
class Stream:
    """The device's random stream in the general loop's place: `sample` and `Noise.draw` of the one canvas that runs."""

    seed: int
    step: int = -1

    def sample(self, probs: Tensor, generator: torch.Generator) -> Tensor:
        self.step += 1
        tape = uniform_torch(self._key(), token_places(torch.arange(len(probs)), VOCAB))
        return (torch.log(probs) - torch.log(-torch.log(tape))).argmax(-1)

    def draw(self, n_slots: int, generator: torch.Generator) -> Tensor:
        return (uniform_torch(self._key(), noise_places(torch.arange(n_slots), VOCAB)) * VOCAB).long()

    def _key(self) -> Tensor:
        return torch.tensor([self.seed * SEEDS + self.step])


def setting_of(network: Network, ends: frozenset[int], seams: Seams = FREE, n_prefix: int = 19) -> Setting:
    cache = network.new_cache()
    ids = torch.randint(6, VOCAB, (1, n_prefix), generator=torch.Generator().manual_seed(n_prefix))
    network.encode(ids, cache)
    return Setting(network, cache, RULES, Alphabet(Noise(VOCAB), None, ends), torch.tensor([0, 2, 3]), seams=seams)


def drawn(sizes: Sequence[int], n_pinned: int, seed: int) -> list[Canvas]:
    pinned = torch.arange(40, 40 + n_pinned)
    generators = [torch.Generator().manual_seed(seed) for _ in sizes]
    return [Canvas.start(Noise(VOCAB).draw(n, one), pinned, 24) for n, one in zip(sizes, generators, strict=True)]


def by_general_loop(
    monkeypatch: pytest.MonkeyPatch, setting: Setting, canvases: Sequence[Canvas], seed: int
) -> list[Denoised]:
    found = []
    for canvas in canvases:  # one at a time: every canvas has the seed's own stream
        stream: Any = Stream(seed)
        with monkeypatch.context() as patched:
            patched.setattr(general, "sample", stream.sample)
            alphabet = replace(setting.alphabet, noise=stream)
            found.append(general.denoise(replace(setting, alphabet=alphabet), canvas, torch.Generator()))
    return found


def generators(n: int, seed: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for _ in range(n)]


@pytest.mark.parametrize("n_pinned", [0, 2, 30], ids=["no suffix", "short suffix", "full canvases"])
@pytest.mark.parametrize("sizes", [[8], [2, 4, 9, 16], [1, 1]], ids=["one", "four lengths", "single slots"])
def test_the_device_loop_gives_what_the_general_loop_gives(
    monkeypatch: pytest.MonkeyPatch, everywhere: None, network: Network, sizes: list[int], n_pinned: int
) -> None:
    """Ids, steps and why each gap stopped, of gaps side by side as of each alone; banned tokens, end tokens and both
    seams among it."""
    barred = torch.zeros(VOCAB, dtype=torch.bool)
    barred[:48] = True
    setting = setting_of(network, ENDS, Seams(barred, ~barred if min(sizes) > 1 else None))
    device, stops = DeviceLoop(network), set()
    for seed in range(4):
        canvases = drawn(sizes, n_pinned, seed)
        expected = by_general_loop(monkeypatch, setting, canvases, seed)
        actual = device.denoise_all(setting, canvases, generators(len(sizes), seed))
        for ours, theirs in zip(actual, expected, strict=True):
            assert (ours.ids, ours.steps, ours.stop) == (theirs.ids, theirs.steps, theirs.stop)
            assert ours.entropies == pytest.approx(theirs.entropies, abs=2e-2)
            assert (ours.end_entropy is None) == (theirs.end_entropy is None)
            stops.add(ours.stop)
    assert "budget" in stops


def test_a_gap_that_settles_early_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, everywhere: None, network: Network
) -> None:
    calm = replace(RULES, confidence_threshold=4.0, max_denoising_steps=12)
    setting = replace(setting_of(network, frozenset()), config=calm)
    device, steps = DeviceLoop(network), set()
    for seed in range(4):
        canvases = drawn([1, 12], 30, seed)
        expected = by_general_loop(monkeypatch, setting, canvases, seed)
        actual = device.denoise_all(setting, canvases, generators(2, seed))
        assert [(one.ids, one.steps, one.stop) for one in actual] == [(x.ids, x.steps, x.stop) for x in expected]
        steps.add(tuple(one.steps for one in actual))
    assert any(one < other for one, other in steps)


def test_two_canvases_in_a_row_must_be_the_same_in_a_gap_asked_again_too(everywhere: None, network: Network) -> None:
    """What the memory held when the gap was last settled is no canvas of this one (vLLM 45965)."""
    device, only = DeviceLoop(network), VOCAB - 1
    setting = replace(setting_of(network, frozenset()), banned=torch.arange(only))
    for _ in range(2):
        (found,) = device.denoise_all(setting, drawn([2], 30, 3), generators(1, 3))
        assert (found.ids, found.steps, found.stop) == ((only, only), 2, "converged")


def test_prefixes_beyond_the_window_and_none(
    monkeypatch: pytest.MonkeyPatch, everywhere: None, network: Network
) -> None:
    device = DeviceLoop(network)
    for n_prefix in (1, 7, 8, 9, 70):
        setting, canvases = setting_of(network, frozenset(), n_prefix=n_prefix), drawn([6], 3, 1)
        expected = by_general_loop(monkeypatch, setting, canvases, 1)
        assert device.denoise_all(setting, canvases, generators(1, 1))[0].ids == expected[0].ids


def test_a_fill_given_up_leaves_no_trace(everywhere: None, network: Network) -> None:
    """The same memory serves the next gap, whatever was left in it, and other bans hold there."""
    setting, canvases = setting_of(network, frozenset()), drawn([4, 9], 30, 2)
    fresh = DeviceLoop(network).denoise_all(setting, canvases, generators(2, 2))
    device, polls = DeviceLoop(network), iter([False, True])
    impatient = Patience(cancelled=lambda: next(polls))
    nearly_all = torch.arange(VOCAB - 9)
    other = replace(setting_of(network, frozenset(), n_prefix=60), patience=impatient, banned=nearly_all)
    lost = device.denoise_all(other, drawn([5, 8], 30, 9), generators(2, 9))
    assert [(one.stop, one.steps) for one in lost] == [("cancelled", 1)] * 2
    assert min(lost[0].ids) >= VOCAB - 9
    assert device.denoise_all(setting, canvases, generators(2, 2)) == fresh
    assert len(device._runs) == 1  # one bucket, one step in memory


def test_captured_steps_are_few_however_gaps_vary(everywhere: None, network: Network) -> None:
    device = DeviceLoop(network)
    for n_prefix in (3, 30):
        for sizes in ([4, 8, 16], [5, 9, 16], [3, 7, 14]):
            device.denoise_all(
                setting_of(network, frozenset(), n_prefix=n_prefix), drawn(sizes, 30, 0), generators(3, 0)
            )
    assert len(device._runs) == 1
    for n in range(1, GRAPHS + 3):
        device.denoise_all(setting_of(network, frozenset()), drawn([2] * n, 30, 0), generators(n, 0))
    assert len(device._runs) == GRAPHS and len(device._rooms) == 1
    device.forget()
    assert not device._runs and not device._rooms


def test_the_first_step_of_a_deadline_that_is_over_is_not_made(
    monkeypatch: pytest.MonkeyPatch, everywhere: None, network: Network
) -> None:
    monkeypatch.setattr(Step, "__call__", lambda step: pytest.fail("a step was made"))
    setting = replace(setting_of(network, frozenset()), patience=Patience(deadline=0.0))
    (found,) = DeviceLoop(network).denoise_all(setting, drawn([4], 2, 0), generators(1, 0))
    assert (found.ids, found.steps, found.stop) == ((), 0, "deadline")


@pytest.mark.parametrize(
    "change",
    [
        lambda s, c: (replace(s, config=replace(s.config, commit_threshold=0.9)), c),
        lambda s, c: (replace(s, config=replace(s.config, stability_threshold=2)), c),
        lambda s, c: (replace(s, alphabet=Alphabet(Noise(VOCAB, 3))), c),
        lambda s, c: (replace(s, alphabet=Alphabet(Noise(VOCAB), 4)), c),
        lambda s, c: (replace(s, network=object()), c),
        lambda s, c: (s, [replace(c[0], free=~c[0].free)]),
        lambda s, c: (s, [replace(c[0], shunned=c[0].gap)]),
    ],
    ids=["commits", "longer stability", "mask noise", "deletes", "another network", "a text held", "a token shunned"],
)
def test_what_the_device_loop_is_not_for_goes_the_general_way(
    everywhere: None, network: Network, change: Callable[[Setting, list[Canvas]], tuple[Setting, list[Canvas]]]
) -> None:
    setting, canvases = setting_of(network, frozenset()), drawn([4], 2, 0)
    assert DeviceLoop(network).serves(setting, canvases)
    assert not DeviceLoop(network).serves(*change(setting, canvases))


def test_the_engine_takes_the_device_loop_where_it_serves(monkeypatch: pytest.MonkeyPatch, network: Network) -> None:
    """And the general one where there is no GPU."""
    filler = Filler.__new__(Filler)
    filler._device_loop = DeviceLoop(network)
    setting, canvases = setting_of(network, frozenset()), drawn([4, 9], 30, 2)
    plain = filler._denoise_all(setting, canvases, generators(2, 2))
    assert plain == general.denoise_all(setting, canvases, generators(2, 2))
    monkeypatch.setattr(loop_module, "use_triton", lambda x: True)
    device = filler._denoise_all(setting, canvases, generators(2, 2))
    assert device == DeviceLoop(network).denoise_all(setting, canvases, generators(2, 2)) != plain


def test_steps_share_the_prefix_memory_of_their_bucket(network: Network) -> None:
    room = Room(network, 32)
    window = network.config.sliding.window
    assert window is not None
    assert {k.shape[2] for k, _ in room.layers} == {window - 1, 32}
