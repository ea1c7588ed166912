"""Compiled layers: torch's numbers, whatever rows go together, by every build; and an engine that does without them.

That they compute the network is `test_parity`'s, which takes them for the shape "panels".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midspan.engine import Engine, InfillRequest
from midspan.engine.checkpoints import loading
from midspan.engine.config import NetworkConfig
from midspan.engine.kernels import native
from midspan.engine.kernels.native import AVX2, PORTABLE
from midspan.engine.kernels.target import torch_only
from midspan.engine.network import Network
from torch import Tensor

SOURCE = "def area(width, height):\n    return width * height\n\n\ndef volume(width, height, depth):\n    return "


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(params=[AVX2, PORTABLE])
def build(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One build after the other is this processor's."""
    if request.param == AVX2 and torch.backends.cpu.get_cpu_capability() not in native.BUILDS:
        pytest.skip("a processor without AVX2")
    code = native.build(request.param)
    if code is None:
        pytest.skip("an installation without a C compiler")
    monkeypatch.setattr(native, "library", lambda: code)


@pytest.fixture
def network(build: None, tiny_network: Callable[[str], Network]) -> Network:
    shared = tiny_network("panels")
    made = Network(shared.config)
    made.load_state_dict(shared.state_dict())
    made.freeze()
    return made


def encoded(network: Network, ids: Tensor, *pieces: int) -> Tensor:
    """Normed hidden [1, T, H] of ids [1, T], read in pieces of so many tokens and then the rest."""
    cache, hidden, start = network.new_cache(), [], 0
    for n in (*pieces, ids.shape[1] - sum(pieces)):
        hidden.append(network.encode(ids[:, start : start + n], cache))
        start += n
    return torch.cat(hidden, dim=1)


def test_both_modes_and_the_head_give_torchs_numbers(network: Network) -> None:
    ids, canvas = torch.randint(112, (1, 150)), torch.randint(112, (3, 21))
    soft, cache = torch.randn(3, 21, 48), network.new_cache()

    def everything() -> tuple[Tensor, Tensor]:
        cache.truncate(0)
        prefix = network.encode(ids, cache)
        return prefix, network.logits(network.denoise(canvas, cache, soft))

    compiled = everything()
    with torch_only():
        by_torch = everything()
    for actual, expected in zip(compiled, by_torch, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-4)
        assert not torch.equal(actual, expected), "nothing compiled took part"


@given(pieces=st.lists(st.integers(1, 40), max_size=4), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_a_prefix_read_in_pieces_is_the_same_bit_for_bit(
    tiny_network: Callable[[str], Network], pieces: list[int], seed: int
) -> None:
    if native.library() is None:
        pytest.skip("an installation without a C compiler")
    network = tiny_network("panels")
    with torch.inference_mode():
        ids = torch.randint(112, (1, sum(pieces) + 70), generator=torch.Generator().manual_seed(seed))
        assert torch.equal(encoded(network, ids, *pieces), encoded(network, ids))


def test_side_by_side_is_the_same_as_alone_bit_for_bit(network: Network) -> None:
    cache, canvases = network.new_cache(), torch.randint(112, (5, 13))
    network.encode(torch.randint(112, (1, 60)), cache)
    together = network.logits(network.denoise(canvases, cache))
    alone = [network.logits(network.denoise(canvas[None], cache)) for canvas in canvases]
    assert torch.equal(together, torch.cat(alone))


def test_the_largest_logits_stay_below_the_cap(network: Network) -> None:
    logits = network.logits(torch.randn(4, 48) * 1e6)
    assert logits.isfinite().all() and logits.abs().max() <= network.config.final_logit_softcapping


def test_what_is_no_number_stays_none(network: Network) -> None:
    """The engine tells by it that a model is broken."""
    x, cache = torch.randn(1, 9, 48), network.new_cache()
    x[0, 3] = torch.nan
    assert network._native
    hidden = network._native.encode(x, cache, network.ropes_from(0, 9))
    assert hidden[0, 3:].isnan().any(1).all()
    assert network._native.denoise(torch.randn(2, 5, 48), cache, network.ropes_from(9, 5)).isnan().all()
    assert network.logits(hidden[0, 3]).isnan().all()


@pytest.mark.parametrize("why", ["a width that is no whole panel", "too large", "in bfloat16", "no build"])
def test_what_does_not_fit_is_computed_by_torch(
    build: None, why: str, tiny_config: Callable[[str], dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tiny_config("small" if why == "a width that is no whole panel" else "panels")
    network = Network(NetworkConfig.from_hf(root))
    if why == "too large":
        monkeypatch.setattr(native, "MOST_WEIGHTS", 1000)
    if why == "in bfloat16":
        network = network.to(torch.bfloat16)
    if why == "no build":
        monkeypatch.setattr(native, "library", lambda: None)
    network.freeze()
    assert network._native is None


@pytest.mark.parametrize("stale", ["no library at all", "another version's", "not there"])
def test_a_build_that_does_not_fit_the_code_is_none(
    stale: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editable installation whose code went on without it being built anew."""
    if stale == "another version's":
        if native.library() is None:
            pytest.skip("an installation without a C compiler")
        monkeypatch.setattr(native, "VERSION", native.VERSION + 1)
    else:
        monkeypatch.setattr(native, "__file__", str(tmp_path / "native.py"))
    if stale == "no library at all":
        (tmp_path / f"{AVX2}{native.EXTENSION_SUFFIXES[0]}").write_bytes(b"nothing")
    assert native.build.__wrapped__(AVX2) is None


def test_where_a_gradient_is_wanted_torch_gives_it(build: None, tiny_config: Callable[[str], dict]) -> None:
    with torch.inference_mode(False):
        network = Network(NetworkConfig.from_hf(tiny_config("panels")))
        network.freeze()
        assert network._native
        hidden = torch.randn(2, 48, requires_grad=True)
        network.logits(hidden).sum().backward()
        assert hidden.grad is not None and hidden.grad.abs().sum() > 0


def test_the_bundled_model_says_the_same_with_and_without(build: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "best_dtype", lambda device: torch.float32)

    def fill() -> SimpleNamespace:
        engine = Engine.load(threads=torch.get_num_threads())
        assert (engine._network._native is None) == (native.library() is None)
        found = engine.infill(InfillRequest(SOURCE, "\n", single_line=True))
        return SimpleNamespace(text=found.text, confidence=found.confidence)

    compiled = fill()
    monkeypatch.setattr(native, "library", lambda: None)
    plain = fill()
    assert compiled.text == plain.text and compiled.text.strip()
    assert compiled.confidence == pytest.approx(plain.confidence, abs=1e-3)
