"""What the denoise loop asks of a device: one answer per step and canvas, and numbers that are some."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from midspan.engine import denoise as loop
from midspan.engine.canvas import Canvas
from midspan.engine.denoise import Setting, denoise_all, reread
from midspan.engine.errors import EngineError
from midspan.engine.kernels import experts as experts_module
from midspan.engine.kernels.experts import experts_torch
from midspan.engine.network import Network
from midspan.engine.prompts.seams import Seams
from midspan.engine.sampler import SamplerConfig
from torch import Tensor

from .test_denoise import FAST, MASKED, MINI, PINNED, REFERENCE, UNIFORM, VOCAB, Fake, towards

WAITS = {"item", "tolist", "nonzero", "numpy", "cpu", "equal", "allclose", "__bool__", "__int__", "__float__"}


class OnDevice(Tensor):
    """Values that the host does not know: asking for one fails."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        by_mask = name in ("__getitem__", "__setitem__") and any(
            isinstance(each, Tensor) and each.dtype == torch.bool
            for each in (args[1] if isinstance(args[1], tuple) else (args[1],))
        )
        assert name not in WAITS and not by_mask, f"the host waits for the device: {name}"
        return super().__torch_function__(func, types, args, kwargs or {})


class Remote(Fake):
    """A network whose answers stay on its device."""

    def denoise(self, canvas: Tensor, cache: object, soft: Tensor | None = None) -> Tensor:
        known = None if soft is None else soft.as_subclass(Tensor)
        return super().denoise(canvas, cache, known).as_subclass(OnDevice)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The transfers that were made: tensors of each."""
    made: list[int] = []

    def on_host(*tensors: Tensor) -> tuple[Tensor, ...]:
        made.append(len(tensors))
        return tuple(each.as_subclass(Tensor) for each in tensors)

    monkeypatch.setattr(loop, "on_host", on_host)
    yield made


def restless(step: int, i: int) -> Tensor:
    return torch.randn(VOCAB, generator=torch.Generator().manual_seed(97 * step + i)) * 4


@pytest.mark.parametrize(
    ("config", "alphabet"),
    [(MINI, MASKED), (replace(MINI, greedy=False), MASKED), (replace(FAST, wide_margin=0.5), MASKED),
     (replace(REFERENCE, max_denoising_steps=6), UNIFORM)],
    ids=["commit", "sampled", "fast", "reference"],
)  # fmt: skip
def test_a_step_of_a_canvas_waits_for_the_device_once(answers: list[int], config: SamplerConfig, alphabet: Any) -> None:
    """Two canvases of different lengths, seams and a token that is shunned among it."""
    first = torch.zeros(VOCAB, dtype=torch.bool)
    first[20:30] = True
    cache: Any = None
    network = Remote(restless)
    banned = torch.tensor([0, 2, 3])
    setting = Setting(network, cache, config, alphabet, banned, seams=Seams(first, ~first))
    canvases = [Canvas.start(torch.full((n,), 3), torch.tensor(PINNED)) for n in (5, 9)]
    shunned = canvases[0].shunned.clone()
    shunned[2] = 21
    canvases[0] = replace(canvases[0], shunned=shunned)
    found = denoise_all(setting, canvases, [torch.Generator().manual_seed(n) for n in range(2)])
    assert len(answers) == sum(one.steps for one in found) > 4
    assert all(one.ids for one in found)
    answers.clear()
    reread(setting, Canvas.holding(torch.tensor([20, 21]), torch.tensor(PINNED)))
    assert len(answers) == 1


def test_one_transfer_carries_ids_and_probabilities_exactly() -> None:
    """What a GPU's answers go through; here forced, for there is none."""
    ids, probs = torch.tensor([0, 262_143, 7]), torch.rand(3)

    class Elsewhere(Tensor):
        @property
        def device(self) -> torch.device:  # type: ignore[override]
            return torch.device("meta")

    back = loop.on_host(ids.as_subclass(Elsewhere), probs)
    assert torch.equal(back[0], ids) and torch.equal(back[1], probs) and back[0].dtype == torch.int64


@pytest.mark.parametrize("config", [MINI, FAST, REFERENCE], ids=["commit", "fast", "reference"])
@pytest.mark.parametrize("slot", [3, 5])
def test_a_network_that_gives_no_numbers_is_an_error_and_no_text(config: SamplerConfig, slot: int) -> None:
    """The largest of NaN is NaN, whose place is the first: token 0, the padding, would be the answer (vLLM 47424)."""
    alphabet = UNIFORM if config is REFERENCE else MASKED
    network = Fake(lambda step, i: torch.full((VOCAB,), math.nan) if (step, i) == (1, slot) else towards(20 + step, 1))
    cache: Any = None
    setting = Setting(network, cache, config, alphabet, torch.tensor([0, 2, 3]))
    canvas = Canvas.start(torch.full((6,), 3), torch.tensor(PINNED))
    with pytest.raises(EngineError, match="NaN"):
        denoise_all(setting, [canvas], [torch.Generator()])


def test_the_softcap_is_taken_in_float32_and_before_the_temperature(tiny_network: Callable[[str], Network]) -> None:
    """In half precision, too: rounded to it, logits near the cap would tie."""
    network = Network(tiny_network("small").config)
    network.load_state_dict(tiny_network("small").state_dict())
    network = network.to(torch.bfloat16)
    hidden = (torch.randn(50, network.config.hidden_size, generator=torch.Generator().manual_seed(0)) * 4).bfloat16()
    with torch.inference_mode():
        raw = torch.nn.functional.linear(hidden, network.embed_tokens.weight).float()
        logits = network.logits(hidden)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, torch.tanh(raw / 30) * 30)
    assert not torch.equal(logits, logits.bfloat16().float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n_rows", [1, 2])
def test_running_only_the_chosen_experts_changes_no_bit(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, n_rows: int
) -> None:
    """Against every expert on every row; midspan-mini's shape, in which a causal draft takes a token at a time."""
    generator = torch.Generator().manual_seed(n_rows)

    def drawn(*shape: int) -> Tensor:
        return (torch.randn(shape, generator=generator) * shape[-1] ** -0.5).to(dtype)

    gate_up, down, x = drawn(8, 384, 256), drawn(8, 256, 192), drawn(n_rows, 256) * 16
    for _ in range(5):
        experts = torch.rand(n_rows, 8, generator=generator).argsort(1)[:, :2]
        weights = torch.rand(n_rows, 2, generator=generator)
        few = experts_torch(x, weights, experts, gate_up, down)
        with monkeypatch.context() as patched:
            patched.setattr(experts_module, "FEW_EXPERTS", 0)
            assert torch.equal(experts_torch(x, weights, experts, gate_up, down), few)
        assert few.abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n_rows", [1, 3, 40])
def test_every_row_gets_the_weighted_sum_of_its_experts(dtype: torch.dtype, n_rows: int) -> None:
    """Row by row in float64, whichever way the dtype goes; the last expert gets no row, the first gets them all."""
    generator = torch.Generator().manual_seed(n_rows)
    gate_up, down, x = (torch.randn(s, generator=generator).to(dtype) for s in ((8, 48, 32), (8, 32, 24), (n_rows, 32)))
    experts = torch.stack((torch.zeros(n_rows, dtype=torch.int64), torch.arange(n_rows) % 6 + 1), dim=1)
    weights = torch.rand(n_rows, 2, generator=generator)
    expected = torch.zeros(n_rows, 32, dtype=torch.float64)
    for row in range(n_rows):
        for k, expert in enumerate(experts[row].tolist()):
            gate, up = (gate_up[expert].double() @ x[row].double()).chunk(2)
            h = torch.nn.functional.gelu(gate, approximate="tanh") * up
            expected[row] += weights[row, k].double() * (down[expert].double() @ h)
    found = experts_torch(x, weights, experts, gate_up, down)
    assert found.dtype == dtype
    tolerance = 1e-4 if dtype == torch.float32 else 0.05
    assert (found.double() - expected).norm() < tolerance * expected.norm()
