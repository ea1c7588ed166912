"""Where a gap's length comes from: every way gives a text, none is told the length, all end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from midspan.engine import Engine, InfillRequest
from midspan.engine.filling.lengths import aligned, fills
from midspan.engine.filling.method import Method, usual
from midspan.engine.sampler import SamplerConfig
from midspan.engine.tokens import Manifest
from torch import Tensor

from .test_denoise import DELETE, MASK, PINNED, UNIFORM, VOCAB, WORDS, Fake, spelling, towards
from .test_engine import SAMPLE, comparable, write_checkpoint
from .test_rewrite import COMMITS, room_of

LENGTHS = ("contract", "batch", "polish", "fixed")
STOPS = ("reference", "commit", "fast", "left")


def told(network: Fake, length: Any, n_slots: int = 16, **method: Any) -> tuple[list[tuple[int, ...]], int]:
    found, steps = fills(room_of(network, COMMITS), Method(length, **method), n_slots)
    return [one.ids for one in found], steps


def test_one_gap_contracts_to_what_is_missing() -> None:
    assert told(spelling(WORDS), "contract") == ([tuple(WORDS)], 1)


def test_a_fixed_gap_keeps_its_size_whatever_is_missing() -> None:
    said = Fake(lambda step, i: towards(WORDS[i] if i < 5 else DELETE) + towards(30, 6.0))
    [(ids,), _] = told(said, "fixed", slots=9)
    assert len(ids) == 9 and ids[:5] == tuple(WORDS)
    assert all(canvas[-len(PINNED) :] == PINNED for canvas in said.canvases)


def test_several_lengths_are_tried_in_step() -> None:
    network = spelling(WORDS)
    found, steps = told(network, "batch")
    assert found == [(20, 21), (20, 21, 22, 23), tuple(WORDS), tuple(WORDS)]
    assert steps == 1 and [len(canvas) - len(PINNED) for canvas in network.canvases] == [2, 4, 8, 16]


def test_lengths_can_be_named_and_none_is_larger_than_the_hint() -> None:
    network = spelling(WORDS)
    found, _ = told(network, "batch", sizes=(4, 16, 64))
    assert found == [(20, 21, 22, 23), tuple(WORDS)]
    assert [len(canvas) - len(PINNED) for canvas in network.canvases] == [4, 16]


class Continuing(Fake):
    """Writes the words and then the suffix, until it is shown the suffix: then only the words."""

    def __init__(self, words: list[int]) -> None:
        super().__init__(lambda step, i: torch.zeros(VOCAB))
        self.words = words
        self.pinned: list[bool] = []

    def denoise(self, canvas: Tensor, cache: object, soft: Tensor | None = None) -> Tensor:
        shown = canvas[0].tolist()[-len(PINNED) :] == PINNED
        self.pinned.append(shown)
        n = canvas.shape[1] - (len(PINNED) if shown else 0)
        text = [*self.words, *([] if shown else PINNED), *[35] * n][:n]
        rows = [towards(token) for token in text] + [torch.full((VOCAB,), math.nan)] * (canvas.shape[1] - n)
        return torch.stack(rows)[None]


def test_a_draft_without_right_context_is_cut_where_the_suffix_begins_and_polished_before_it() -> None:
    network = Continuing(WORDS)
    found, steps = told(network, "polish")
    assert found == [tuple(WORDS)]
    assert network.pinned == [False, True]  # one step of drafting, one look at it before the suffix
    assert steps == 2


def test_polishing_takes_back_what_the_suffix_raises_doubt_about() -> None:
    class Wrong(Continuing):
        def denoise(self, canvas: Tensor, cache: object, soft: Tensor | None = None) -> Tensor:
            self.words = WORDS if canvas[0].tolist()[-len(PINNED) :] == PINNED else [20, 21, 39, 23, 24]
            return super().denoise(canvas, cache, soft)

    assert told(Wrong(WORDS), "polish")[0] == [tuple(WORDS)]


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=6))
def test_a_draft_ends_where_most_of_the_suffix_follows(ids: list[int], pinned: list[int]) -> None:
    def follows(n: int) -> int:
        return next((k for k in range(len(pinned)) if [*ids[n:], -1][k : k + 1] != pinned[k : k + 1]), len(pinned))

    at = aligned(ids, pinned)
    best = max((follows(n) for n in range(len(ids))), default=0)
    assert at == next((n for n in range(len(ids)) if best and follows(n) == best), len(ids))


def test_a_draft_that_the_network_agrees_with_costs_one_look_and_one_step() -> None:
    network = spelling(WORDS)
    room = replace(room_of(network, COMMITS), warm=WORDS)
    [one], steps = fills(room, Method("contract"), 16)
    assert (one.ids, one.stop, steps) == (tuple(WORDS), "converged", 2)
    assert network.canvases == [WORDS + PINNED, [*WORDS, MASK, *PINNED]]
    assert one.end_entropy is not None and len(one.entropies) == len(WORDS)


def test_what_is_doubted_of_a_draft_is_denoised_again_and_it_may_go_on() -> None:
    room = replace(room_of(spelling(WORDS), COMMITS), warm=[20, 39, 22, 23])
    assert [one.ids for one in fills(room, Method("contract"), 16)[0]] == [tuple(WORDS)]
    uniform = replace(room_of(spelling(WORDS[:4], 30.0), COMMITS, UNIFORM), warm=[20, 39, 22, 23])
    assert [one.ids for one in fills(uniform, Method("contract"), 16)[0]] == [tuple(WORDS[:4])]


@pytest.mark.parametrize("warm", [[39, 38, 37], [*WORDS, *[39] * 40]], ids=["wrong", "too long"])
def test_a_useless_draft_is_dropped(warm: list[int]) -> None:
    network = spelling(WORDS)
    room = replace(room_of(network, COMMITS), warm=warm)
    assert [one.ids for one in fills(room, Method("contract"), 16)[0]] == [tuple(WORDS)]
    assert network.canvases[-1] == [MASK] * 16 + PINNED


def test_a_checkpoint_is_filled_as_it_was_trained() -> None:
    mini = Manifest("mini", MASK, DELETE, 2, frozenset(), 100, (8,), 24, 0.5, True)
    assert usual(mini) == Method("contract", "commit", search="inside")
    assert usual(replace(mini, drafts=False)) == Method("contract", "left", drafts=False)
    other = replace(mini, mask_token_id=None, delete_token_id=None, commit_threshold=None)
    assert usual(other) == Method("batch", "reference", search="inside")


def test_the_stop_modes_are_what_they_say() -> None:
    base = SamplerConfig(commit_threshold=0.5)
    assert Method(stop="reference").sampler(base, 0) == replace(base, commit_threshold=None)
    assert Method(stop="commit").sampler(base, 0) == replace(base, greedy=True)
    assert Method(stop="commit").sampler(base, 1) == base
    assert Method(stop="commit").sampler(SamplerConfig(), 1).commit_threshold == 0.9
    fast = Method(stop="fast").sampler(base, 0)
    assert fast.renoise_threshold is not None and fast.wide_margin is not None and fast.commits
    left = Method(stop="left").sampler(replace(base, max_denoising_steps=3), 0)
    assert left.order == "left" and left.commits and left.max_denoising_steps > 3


# --- the same through the engine


@pytest.fixture(scope="module", params=["mask", "uniform"])
def engine(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_config: Callable[[str], dict[str, Any]],
) -> Engine:
    return Engine.load(write_checkpoint(tmp_path_factory.mktemp("lengths"), tiny_config("mini"), request.param))


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("length", LENGTHS)
def test_every_method_answers_one_line_the_same_way_twice(engine: Engine, length: Any, stop: Any) -> None:
    method = Method(length, stop, slots=12)
    for seed in (0, 5):
        request = InfillRequest(SAMPLE[:200], SAMPLE[230:], max_tokens=16, seed=seed, method=method)
        infill = engine.infill(request)
        assert "\n" not in infill.text and infill.steps > 0 and infill.stop in ("converged", "budget")
        assert len(infill.tokens) == len(infill.entropies)
        assert infill.timings["denoise"] > 0
        assert infill.text == (infill.candidates[0].text if infill.candidates else "")
        engine.infill(InfillRequest(SAMPLE[:90], SAMPLE[99:]))
        assert comparable(engine.infill(request)) == comparable(infill)


@pytest.mark.parametrize("length", LENGTHS)
def test_every_method_can_be_cancelled_and_hurried(engine: Engine, length: Any) -> None:
    for polls in (0, 2, 4):
        answers = iter([False] * polls + [True] * 99)
        request = InfillRequest(SAMPLE, "\nx = 1\n" * 20, method=Method(length), cancelled=lambda a=answers: next(a))
        infill = engine.infill(replace(request, document=f"{length} {polls}"))
        assert (infill.stop, infill.text) == ("cancelled", "")
    late = engine.infill(InfillRequest(SAMPLE, "", method=Method(length), deadline=0.0))
    assert (late.stop, late.steps, late.text) == ("deadline", 0, "")


def test_of_several_lengths_the_likeliest_whole_is_the_answer(engine: Engine) -> None:
    request = InfillRequest(SAMPLE[:200], SAMPLE[230:], max_tokens=16, method=Method("batch"))
    infill = engine.infill(request)
    scores = [one.signs.right + one.signs.mean * (one.signs.n_tokens + 1) for one in infill.candidates if one.signs]
    assert len(scores) == len(infill.candidates) > 1 and scores == sorted(scores, reverse=True)
    assert "rank" in infill.timings


def test_a_draft_is_part_of_the_request_and_a_wrong_one_does_no_harm(engine: Engine) -> None:
    request = InfillRequest(SAMPLE[:200], SAMPLE[230:])
    cold = comparable(engine.infill(request))
    warm = engine.infill(replace(request, draft="size, step"))
    assert comparable(engine.infill(replace(request, draft="size, step"))) == comparable(warm)
    assert comparable(engine.infill(request)) == cold
    for draft in ("\n\n", "\ud83d", "x" * 5000, "<mask>"):
        assert "\n" not in engine.infill(replace(request, draft=draft)).text
