"""Repair with networks whose answers are known: what is renoised, barred and kept, and when it gives up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from midspan.engine.denoise import Alphabet, Patience, Setting
from midspan.engine.filling.repair import PLAN, Plan, Repaired, Workbench, repaired, slots_under, token_ends
from midspan.engine.sampler import Noise, SamplerConfig
from torch import Tensor

MASK, DELETE, EOS = 0, 1, 2
TEXTS = ["", "", "", "f", "(", "a", ")", "]", "b", ",", " ", "é", "x", "\n", "+", "g"]
VOCAB = len(TEXTS)
PINNED = [TEXTS.index("\n"), TEXTS.index("g")]
MASKED = (Alphabet(Noise(VOCAB, MASK), DELETE), SamplerConfig(commit_threshold=0.9, greedy=True))
UNIFORM = (Alphabet(Noise(VOCAB), None, frozenset((EOS,))), SamplerConfig())
BOTH = pytest.mark.parametrize("kind", [MASKED, UNIFORM], ids=["mask noise", "uniform noise"])


class Words:
    def decode(self, ids: Sequence[int]) -> str:
        return "".join(TEXTS[id_] for id_ in ids)


class Fake:
    """A network that wants `wanted[i]`, best first, in slot i of the gap."""

    def __init__(self, wanted: Callable[[int], Sequence[int]]) -> None:
        self.wanted = wanted
        self.canvases: list[list[int]] = []

    def embed(self, ids: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(ids, VOCAB).float()

    def soft_embeddings(self, logits: Tensor) -> Tensor:
        return torch.softmax(logits, -1)

    def denoise(self, canvas: Tensor, cache: object, soft: Tensor | None = None) -> Tensor:
        self.canvases.append(canvas[0].tolist())
        rows = torch.zeros(canvas.shape[-1], VOCAB)
        for slot, row in enumerate(rows):
            for rank, token in enumerate(self.wanted(slot)):
                row[token] = 60.0 - 20 * rank
        return rows[None]

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden.clone()


def ids_of(text: str) -> list[int]:
    return [TEXTS.index(char, 3) for char in text]


def spelling(*texts: str) -> Fake:
    """Wants the first text, where that is barred the second, …; behind their ends nothing."""
    return Fake(lambda slot: [ids_of(text[slot])[0] if slot < len(text) else DELETE for text in texts])


def run(
    network: Fake,
    fill: str,
    check: Callable[[str], Sequence[tuple[int, int]]],
    kind: tuple[Alphabet, SamplerConfig] = MASKED,
    plan: Plan = PLAN,
    patience: Patience | None = None,
) -> Repaired:
    alphabet, config = kind
    cache: Any = None
    words: Any = Words()
    setting = Setting(network, cache, config, alphabet, torch.tensor([MASK]), patience or Patience())
    bench = Workbench(setting, words, torch.tensor(PINNED), 16, torch.Generator().manual_seed(0))
    return repaired(bench, ids_of(fill), check, plan)


def blaming(**suspects: tuple[int, int]) -> Callable[[str], list[tuple[int, int]]]:
    """Only "f(a)b" is fine; of any other text, what `suspects` says about it, or all of it."""
    return lambda text: [] if text == "f(a)b" else [suspects.get("at", (0, len(text)))]


def test_a_fill_that_passes_comes_back_untouched() -> None:
    network = spelling("x")
    assert run(network, "f(a)b", blaming()) == Repaired(tuple(ids_of("f(a)b")), "f(a)b", "passed")
    assert network.canvases == []


@BOTH
def test_a_wrong_token_is_replaced_even_where_the_network_would_rather_keep_it(kind: Any) -> None:
    found = run(spelling("f(a]b", "f(a)b"), "f(a]b", blaming(at=(3, 4)), kind)
    assert (found.text, found.how) == ("f(a)b", "repaired")
    assert 1 <= found.steps <= PLAN.rounds * PLAN.steps


@BOTH
def test_all_but_the_suspect_and_its_neighbours_is_pinned(kind: Any) -> None:
    network = spelling("xxxxx")
    found = run(network, "f(a]b", lambda text: [] if "]" not in text else [(3, 4)], kind)
    assert found.text == "f(xxx"
    assert all(canvas[:2] == ids_of("f(") and canvas[5:] == PINNED for canvas in network.canvases)
    alone = run(spelling("xxxxx"), "f(a]b", lambda text: [] if "]" not in text else [(3, 4)], kind, Plan(neighbours=0))
    assert alone.text == "f(axb"


def test_an_empty_range_makes_room_for_what_is_missing() -> None:
    found = run(spelling("f(a)b"), "f(ab", blaming(at=(3, 3)))
    assert (found.text, found.how) == ("f(a)b", "repaired")


def test_what_is_missing_may_stand_at_the_end_and_room_not_needed_goes_away() -> None:
    found = run(spelling("f(a)"), "f(a", lambda text: [] if text.count("(") == text.count(")") else [(3, 3)])
    assert found.text == "f(a)"
    assert run(spelling("f(ax"), "f(ab", lambda text: [(4, 4)] if "b" in text else []).text == "f(ax"


@BOTH
def test_after_two_rounds_the_longest_beginning_that_passes_is_kept(kind: Any) -> None:
    found = run(spelling("f(a]b", "f(a]]"), "f(a]b", lambda text: [] if text == "f" else [(3, 4)], kind)
    assert (found.text, found.how) == ("f", "cut")
    assert found.steps <= PLAN.rounds * PLAN.steps


def test_where_nothing_passes_nothing_is_left() -> None:
    found = run(spelling("xxxxx"), "f(a]b", lambda text: [(0, 1)])
    assert (found.ids, found.text, found.how) == ((), "", "nothing")


def test_a_second_round_looks_at_what_the_first_one_wrote() -> None:
    def check(text: str) -> list[tuple[int, int]]:
        return [(at, at + 1) for at, char in enumerate(text) if char in "]x"]

    found = run(spelling("f(axb", "f(a)b"), "f(a]b", check, plan=Plan(neighbours=0, steps=1))
    assert (found.text, found.steps, found.checks) == ("f(a)b", 2, 3)


def test_cancelled_means_nothing_that_was_not_checked() -> None:
    network = spelling("f(a)b")
    found = run(network, "f(a]b", blaming(at=(3, 4)), patience=Patience(cancelled=lambda: True))
    assert (found.text, found.how, network.canvases) == ("", "nothing", [])


def test_a_canvas_without_room_is_cut_instead() -> None:
    fill = "fa" * 8
    found = run(spelling(fill), fill, lambda text: [(16, 16)] if len(text) > 12 else [])
    assert (found.text, found.how, found.steps) == (fill[:12], "cut", 0)


def test_other_tokens_may_be_chosen_to_compare_with() -> None:
    found = run(
        spelling("xxxxx"), "f(a]b", lambda text: [] if "x" in text else [(3, 4)], plan=Plan(choose=lambda *_: {0})
    )
    assert found.text == "x(a]b"


@given(st.data(), st.text("f(a)]b", min_size=1, max_size=12))
def test_whatever_the_check_says_only_text_that_passes_it_is_returned(data: st.DataObject, fill: str) -> None:
    verdicts: dict[str, list[tuple[int, int]]] = {}
    places = st.integers(0, 13)

    def check(text: str) -> list[tuple[int, int]]:
        if text not in verdicts:
            ranges = data.draw(st.lists(st.tuples(places, places).map(sorted), max_size=2))
            verdicts[text] = [(min(a, len(text)), min(b, len(text))) for a, b in ranges]
        return verdicts[text]

    kind = data.draw(st.sampled_from([MASKED, UNIFORM]))
    found = run(spelling(data.draw(st.text("f(a)]b", max_size=14))), fill, check, kind)
    assert found.text == Words().decode(found.ids)
    assert found.steps <= PLAN.rounds * PLAN.steps
    assert (found.how == "nothing") == (not found.text)
    assert found.how == "nothing" or verdicts[found.text] == []
    assert (found.how == "passed") == (verdicts[fill] == [])


def test_slots_are_found_by_characters() -> None:
    ids = ids_of("f(é)")
    ends = token_ends(Words(), ids)  # pyright: ignore[reportArgumentType]
    assert ends == [1, 2, 3, 4]
    assert slots_under([(2, 3), (4, 4), (0, 0)], ends) == ({2}, {4, 0})
    assert slots_under([(1, 3)], [1, 1, 4]) == ({2}, set())
