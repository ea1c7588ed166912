"""Rewriting: what is asked to stay stays, what the network doubts changes, and the text may grow and shrink."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midspan.engine import Engine, EngineError, Infill, InfillRequest
from midspan.engine import engine as module
from midspan.engine.canvas import Canvas
from midspan.engine.denoise import Alphabet, Setting, reread
from midspan.engine.filling import rewrite
from midspan.engine.filling.lengths import Room
from midspan.engine.filling.selection import joined, pieces, within
from midspan.engine.sampler import SamplerConfig

from .test_denoise import DELETE, EOS, MASK, MASKED, PINNED, UNIFORM, VOCAB, Fake, towards
from .test_engine import SAMPLE, comparable, write_checkpoint

SELECTION = "total = 0.0\n    for value in values:\n        total += value\n"
AT = SAMPLE.index(SELECTION)
BEFORE, AFTER = SAMPLE[:AT], SAMPLE[AT + len(SELECTION) :]


@pytest.fixture(scope="module", params=["mask", "uniform"])
def engine(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_config: Callable[[str], dict[str, Any]],
) -> Engine:
    return Engine.load(write_checkpoint(tmp_path_factory.mktemp("rewrite"), tiny_config("mini"), request.param))


@given(selection=st.text(max_size=80), strength=st.sampled_from([0, 0.0, -1.0, float("nan")]))
def test_strength_0_gives_the_selection_back_character_for_character(
    engine: Engine, selection: str, strength: float
) -> None:
    assert engine.rewrite(BEFORE, selection, AFTER, strength).text == selection


@pytest.mark.parametrize("selection", ["a\r\nb\rc", "\ud83d", "\x00\ufeff", "x" * 100_000])
def test_strength_0_costs_nothing_and_loses_nothing(engine: Engine, selection: str) -> None:
    infill = engine.rewrite(BEFORE, selection, AFTER, 0)
    assert (infill.text, infill.steps, infill.stop) == (selection, 0, "converged")


@settings(max_examples=3, deadline=None)
@given(selection=st.text("abc (=\n", max_size=40), cut=st.integers(0, len(SAMPLE)), seed=st.integers(0, 3))
def test_strength_1_is_a_fresh_fill_whatever_was_selected(engine: Engine, selection: str, cut: int, seed: int) -> None:
    most = max(engine.limits.gap_buckets)
    single = "\n" not in selection
    request = InfillRequest(SAMPLE[:cut], SAMPLE[cut:], max_tokens=most, single_line=single, seed=seed)
    assert comparable(engine.rewrite(SAMPLE[:cut], selection, SAMPLE[cut:], 1.0, seed=seed)) == comparable(
        engine.infill(request)
    )


@pytest.mark.parametrize("strength", [0.01, 0.3, 0.7, 0.99])
def test_a_rewrite_depends_on_its_arguments_alone(engine: Engine, strength: float) -> None:
    first = engine.rewrite(BEFORE, SELECTION, AFTER, strength, seed=3, document="a.py")
    assert first.steps > 0 and first.timings["denoise"] > 0
    engine.rewrite(BEFORE, "something else\n", AFTER, 0.5, document="a.py")
    engine.infill(InfillRequest(SAMPLE[:77], SAMPLE[90:], document="a.py"))
    again = engine.rewrite(BEFORE, SELECTION, AFTER, strength, seed=3, document="a.py")
    cold = engine.rewrite(BEFORE, SELECTION, AFTER, strength, "make it better", seed=3)
    assert comparable(first) == comparable(again) == comparable(cold)  # no instruction is heard by this form of prompt


def test_one_line_stays_one_line(engine: Engine) -> None:
    texts = [engine.rewrite(SAMPLE[:40], "import os, sys, json", SAMPLE[40:], 0.8, seed=n).text for n in range(6)]
    assert not any("\n" in text for text in texts)
    assert len(set(texts)) > 1


@pytest.mark.parametrize("selection", ["\n\n   \n", "  ", "\n"])
def test_blank_space_has_nothing_to_rewrite(engine: Engine, selection: str) -> None:
    assert engine.rewrite(BEFORE, selection, AFTER, 0.9).text == selection


def test_a_long_selection_keeps_its_blank_lines_and_every_piece_is_seen(engine: Engine) -> None:
    selection = "\n\n".join(f"value_{n} = compute(first, {n}, second)" for n in range(4)) + "\n"
    infill = engine.rewrite(BEFORE, selection, AFTER, 0.3)
    assert infill.text.count("\n\n") >= 3 and infill.text.endswith("\n")
    assert infill.text != selection
    whole = engine.rewrite(BEFORE, "x = 1", AFTER, 0.3)
    assert infill.steps > whole.steps


def test_too_long_a_selection_is_given_back(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PIECES", 3)
    selection = "value = compute(first, second, third)\n" * 9
    infill = engine.rewrite("", selection, "", 0.5)
    assert (infill.text, infill.stop, infill.steps) == (selection, "too long", 0)


def test_without_time_the_selection_stays(engine: Engine) -> None:
    infill = engine.rewrite(BEFORE, SELECTION, AFTER, 0.5, deadline=time.monotonic() - 1)
    assert (infill.text, infill.stop, infill.steps) == (SELECTION, "deadline", 0)


@pytest.mark.parametrize("polls", [0, 1, 3, 6])
def test_a_cancelled_rewrite_has_no_text(engine: Engine, polls: int) -> None:
    answers = iter([False] * polls + [True] * 99)
    infill = engine.rewrite(
        BEFORE, SELECTION * 3, AFTER, 0.5, document=f"cancelled {polls}", cancelled=lambda: next(answers)
    )
    assert (infill.stop, infill.text) == ("cancelled", "")


def test_running_out_of_memory_is_one_clear_error(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def starve(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(engine._network, "denoise", starve)
    with pytest.raises(EngineError, match="out of memory"):
        engine.rewrite(BEFORE, SELECTION, AFTER, 0.5)


def test_of_several_versions_one_that_passes_the_check_is_the_answer(engine: Engine) -> None:
    seen: list[str] = []

    def check(text: str) -> list[tuple[int, int]]:
        seen.append(text)
        return [(0, len(text))] if len(seen) == 1 else []

    infill = engine.rewrite(BEFORE, "return 1", AFTER, 0.9, check=check)
    assert infill.text != seen[0]


# --- which slots, how many


def room_of(network: Fake, config: SamplerConfig, alphabet: Alphabet = MASKED) -> Room:
    cache: Any = None
    banned = torch.tensor([id_ for id_ in (0, 1, 2, MASK) if id_ not in alphabet.end_token_ids])
    return Room(Setting(network, cache, config, alphabet, banned), torch.tensor(PINNED), 24, (8, 16), 0, (), banned)


COMMITS = SamplerConfig(max_denoising_steps=12, commit_threshold=0.9, greedy=True)


def test_the_one_wrong_token_is_replaced_and_nothing_else() -> None:
    truth = [20, 21, 22, 23, 24, 25]
    network = Fake(lambda step, i: towards(truth[i] if i < 6 else DELETE))
    found, _ = rewrite.fills(room_of(network, COMMITS), [20, 21, 22, 39, 24, 25], torch.zeros(6), 0.4, 16)
    assert found[0].ids == tuple(truth)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_what_is_not_doubted_is_in_every_version(data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(20, 29), min_size=1, max_size=12))
    strength = data.draw(st.floats(0.01, 0.99))
    probs = torch.tensor([data.draw(st.floats(0.01, 1)) for _ in ids])
    chosen = rewrite.doubted(probs, strength).tolist()
    canvas = Canvas.holding(torch.tensor(ids), torch.tensor(PINNED), 24)
    freed = canvas.renoised(torch.tensor(chosen), torch.full((sum(chosen),), MASK))
    kept = [id_ for id_, gone in zip(ids, chosen, strict=True) if not gone]
    for by in (0.0, rewrite.STRETCH, -rewrite.STRETCH):
        version = rewrite.stretched(freed, torch.tensor(chosen), by, torch.full((24,), MASK))
        assert version.gap[~version.free].tolist() == kept
        assert (version.gap[version.free] == MASK).all()
        assert int(version.free.sum()) >= len(rewrite.runs(torch.tensor(chosen)))
        if by and sum(chosen) > 1:
            assert (len(version.gap) > len(ids)) if by > 0 else (len(version.gap) <= len(ids))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(20, 29), min_size=1, max_size=12), st.floats(0.01, 0.99), st.integers(0, 99))
def test_what_the_network_did_not_doubt_is_in_every_answer(ids: list[int], strength: float, seed: int) -> None:
    network = Fake(lambda step, i: torch.randn(VOCAB, generator=torch.Generator().manual_seed(97 * seed + i)) * 4)
    for alphabet in (MASKED, UNIFORM):
        room = room_of(network, COMMITS, alphabet)
        canvas = Canvas.holding(torch.tensor(ids), room.pinned, 24)
        chosen = rewrite.doubted(-reread(room.setting, canvas)[1].clamp_min(1e-9).log(), strength).tolist()
        for one in rewrite.fills(room, ids, torch.zeros(len(ids)), strength, 16)[0]:
            rest = iter(one.ids)
            assert all(id_ in rest for id_, gone in zip(ids, chosen, strict=True) if not gone)
            assert len(one.ids) == len(one.entropies) <= 16


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_larger_strength_renoises_more_and_the_same(probs: list[float], one: float, other: float) -> None:
    less, more = sorted((one, other))
    small, large = rewrite.doubted(torch.tensor(probs), less), rewrite.doubted(torch.tensor(probs), more)
    assert 1 <= small.sum() <= large.sum() <= len(probs)
    assert not (small & ~large).any()
    assert small.sum() >= less * len(probs) - 1e-6


def test_doubt_is_of_a_token_and_its_neighbours() -> None:
    doubt = torch.tensor([0.1, 0.1, 7.0, 0.1, 0.1, 1.2, 0.1])
    assert rewrite.doubted(doubt, 3 / 7).tolist() == [False, True, True, True, False, False, False]
    assert rewrite.doubted(doubt, 2 / 7, held=(1, 2)).tolist() == [False, False, False, True, False, True, False]


def test_a_renoised_slot_never_ends_a_text_that_goes_on_behind_it() -> None:
    network = Fake(lambda step, i: towards(EOS) + towards(20 + i, 6.0))
    room = room_of(network, COMMITS, UNIFORM)
    found, _ = rewrite.fills(room, [20, 21, 22, 23], torch.tensor([0.0, 9.0, 0.0, 0.0]), 0.25, 16)
    assert found[0].ids == (20, 21, 22, 23)


def test_the_causal_mode_has_a_say_in_what_is_doubted() -> None:
    network = Fake(lambda step, i: towards(20 + i))
    found, _ = rewrite.fills(room_of(network, COMMITS), [20, 21, 22, 23], torch.tensor([0.0, 9.0, 0.0, 0.0]), 0.25, 16)
    assert [canvas[:4] for canvas in network.canvases[1:2]] == [[20, MASK, 22, 23]]
    assert found[0].ids == (20, 21, 22, 23)


def test_a_version_may_be_longer_and_shorter_than_the_selection() -> None:
    network = Fake(lambda step, i: towards(20 + i))
    rewrite.fills(room_of(network, COMMITS), [30, 31, 32, 33], torch.zeros(4), 0.9, 16)
    lengths = {len(canvas) - len(PINNED) for canvas in network.canvases[1:]}
    assert min(lengths) < 4 < max(lengths)


# --- pieces


@given(st.text("ab c(\n", max_size=120), st.integers(1, 9))
def test_pieces_are_the_text_and_fit(text: str, most: int) -> None:
    found = pieces(text, lambda line: len(line.split()) + len(line) // 6, most)
    assert "".join(found) == text
    for piece in found:
        n_tokens = sum(len(line.split()) + len(line) // 6 + 1 for line in piece.split("\n"))
        assert n_tokens - 1 <= most or len(piece) < 2 or piece == "\n" or "\n" not in piece


def test_a_check_of_a_piece_is_told_of_its_own_characters_only() -> None:
    def check(text: str) -> list[tuple[int, int]]:
        return [(0, 3), (2, 6), (5, 5), (8, 12)] if text == "aaaXXXbbbbbb" else []

    of_piece = within(check, "aaa", "bbbbbb")
    assert of_piece is not None and within(None, "", "") is None
    assert of_piece("XXX") == [(0, 0), (0, 3), (2, 2)]
    assert of_piece("YYY") == []


def test_pieces_are_as_sure_as_the_least_sure() -> None:
    def part(text: str, confidence: float, stop: str = "converged") -> Infill:
        return Infill(text, (1,), (0.5,), 2, stop, {}, confidence, "canvas")

    whole = joined([part("a", 0.9), part("\n", 1.0, "budget"), part("b", 0.2)], {"denoise": 1.0})
    assert (whole.text, whole.tokens, whole.steps) == ("a\nb", (1, 1, 1), 6)
    assert (whole.confidence, whole.stop, whole.source) == (0.2, "budget", "canvas")
