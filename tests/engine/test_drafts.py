"""Drafts say what a reader of the file would guess: the same line continued, the line that followed last time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from midspan.engine.filling.drafts import SHORTEST_MATCH, causal, copies, evidence, ngram, surprise
from midspan.engine.network import Network


def proposed(text: str) -> list[str]:
    """Drafts for the gap at ║."""
    prefix, suffix = text.split("║")
    return [draft.text for draft in copies(prefix, suffix)]


def test_a_line_begun_before_is_continued_as_it_was() -> None:
    assert proposed("self.width = kwargs.pop('width', 0)\nprint()\nself.width = ║\n") == ["kwargs.pop('width', 0)"]


def test_the_same_line_below_the_gap_counts_too() -> None:
    assert proposed("parser.add_║\nx = 1\nparser.add_argument('--name')\n") == ["argument('--name')"]


def test_a_blank_line_gets_what_followed_the_line_above_elsewhere() -> None:
    text = "def a():\n    lock.acquire()\n    use(lock)\n\ndef b():\n    lock.acquire()\n    ║\n"
    assert proposed(text) == ["use(lock)"]


def test_a_blank_line_gets_what_stood_above_the_line_below_elsewhere() -> None:
    assert proposed("x = lock()\nuse(it)\n\nother()\n║\nuse(it)\n") == ["x = lock()"]


def test_a_whole_line_brings_the_indentation_that_is_not_there_yet() -> None:
    text = "def a():\n    lock()\n    use()\n\ndef b():\n    lock()\n{}║\n    done()\n"
    assert proposed(text.format("")) == ["    use()"]
    assert proposed(text.format("    ")) == ["use()"]


def test_the_longer_context_wins() -> None:
    text = "x = 1\nreturn left\ny = 2\nreturn right\nx = 1\nreturn ║\n"
    assert proposed(text)[0] == "left"


def test_what_stands_right_of_the_gap_is_not_proposed_again() -> None:
    assert proposed("total = add(first, second)\ntotal = add(║)\n") == ["first, second"]


@pytest.mark.parametrize("text", ["║", "a║", "\n\n║\n\n", "    ║", "x║x"])
def test_nothing_to_match_is_no_draft(text: str) -> None:
    assert proposed(text) == []


@given(st.text("ab (\n", max_size=60), st.text("ab )\n", max_size=40))
def test_copies_come_from_the_text_and_fit_one_line(prefix: str, suffix: str) -> None:
    for draft in copies(prefix, suffix):
        assert draft.text.strip() in prefix or draft.text.strip() in suffix
        assert "\n" not in draft.text
        assert draft.match >= SHORTEST_MATCH


@given(st.lists(st.integers(-1, 3), max_size=40), st.lists(st.integers(0, 3), max_size=8))
def test_ngram_is_the_longest_match_and_its_followers(file_ids: list[int], context: list[int]) -> None:
    ids, shares, matched = ngram(np.array(file_ids, np.int64), context)
    for order in range(min(6, len(context)), -1, -1):  # by brute force
        tail = context[len(context) - order :]
        places = [i for i in range(order, len(file_ids)) if file_ids[i - order : i] == tail]
        followers = [file_ids[i] for i in places if file_ids[i] >= 0]  # -1 is the gap itself
        if order and followers:
            assert matched == order
            assert ids.tolist() == sorted(set(followers))
            assert shares.tolist() == pytest.approx(
                [followers.count(i) / len(followers) for i in sorted(set(followers))]
            )
            return
    assert matched == 0 and len(ids) == 0


@pytest.fixture
def network(tiny_network) -> Network:
    return tiny_network("small")


def test_evidence_is_the_log_likelihood_of_a_cold_causal_pass(network: Network) -> None:
    torch.manual_seed(0)
    vocab = network.config.vocab_size
    prefix = torch.randint(0, vocab, (20,)).tolist()
    gaps = [torch.randint(0, vocab, (n,)).tolist() for n in (0, 3, 7)]
    right = torch.randint(0, vocab, (4,)).tolist()
    with torch.no_grad():
        cache = network.new_cache()
        network.encode(torch.tensor([prefix]), cache)
        scores = evidence(network, cache, prefix, gaps, right)
        assert cache.length == len(prefix)
        for gap, (right_score, mean) in zip(gaps, scores, strict=True):
            whole = torch.tensor([prefix + gap + right])
            log_probs = network.logits(network.encode(whole, network.new_cache())).log_softmax(-1)[0]
            picked = log_probs[:-1].gather(1, whole[0, 1:, None]).squeeze(1)[len(prefix) - 1 :]
            assert right_score == pytest.approx(picked[len(gap) :].sum().item(), rel=1e-4, abs=1e-4)
            assert mean == pytest.approx(picked[: len(gap) + 1].mean().item(), rel=1e-4, abs=1e-4)


def test_surprise_is_that_of_a_cold_causal_pass(network: Network) -> None:
    torch.manual_seed(1)
    prefix = torch.randint(0, network.config.vocab_size, (20,)).tolist()
    ids = torch.randint(0, network.config.vocab_size, (7,)).tolist()
    with torch.no_grad():
        cache = network.new_cache()
        network.encode(torch.tensor([prefix]), cache)
        whole = torch.tensor([prefix + ids])
        log_probs = network.logits(network.encode(whole, network.new_cache())).log_softmax(-1)[0]
        expected = -log_probs[:-1].gather(1, whole[0, 1:, None]).squeeze(1)[len(prefix) - 1 :]
        torch.testing.assert_close(surprise(network, cache, prefix, ids), expected, rtol=1e-4, atol=1e-4)
        assert cache.length == len(prefix) and len(surprise(network, cache, prefix, [])) == 0


def test_causal_draft_is_greedy_ends_at_a_line_end_and_leaves_the_cache_alone(network: Network) -> None:
    prefix = list(range(10, 22))
    with torch.no_grad():
        cache = network.new_cache()
        network.encode(torch.tensor([prefix]), cache)
        nothing = torch.empty(0, dtype=torch.int64)
        none = np.empty(0, np.int64)
        ids, ended = causal(network, cache, prefix, none, nothing, frozenset(), 6, lambda: False)
        assert (len(ids), ended, cache.length) == (6, False, len(prefix))
        context = list(prefix)
        for id_ in ids:
            hidden = network.encode(torch.tensor([context]), network.new_cache())
            assert id_ == int(network.logits(hidden[0, -1]).argmax())
            context.append(id_)
        stopped, ended = causal(network, cache, prefix, none, nothing, frozenset((ids[2],)), 6, lambda: False)
        assert ended and stopped == ids[: ids.index(ids[2])]
        unwanted, _ = causal(network, cache, prefix, none, torch.tensor([ids[0]]), frozenset(), 1, lambda: False)
        assert unwanted != ids[:1]
        assert causal(network, cache, prefix, none, nothing, frozenset(), 6, lambda: True) == ([], False)


def test_guessing_ahead_changes_nothing_but_the_number_of_passes(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("midspan.engine.filling.drafts.ORDER_WEIGHT", (0.0, *[0.9] * 6))  # so that guesses come true
    prefix = [5, 6, 7, 8, 9, 5, 6]
    file_ids = np.array([*prefix, -1, 7, 8, 9, 5, 6, 7, 8, 9], np.int64)
    passes: list[int] = []
    encode = network.encode
    monkeypatch.setattr(network, "encode", lambda ids, cache: passes.append(ids.shape[1]) or encode(ids, cache))
    drafts = []
    with torch.no_grad():
        for n_guesses in (6, 0):
            monkeypatch.setattr("midspan.engine.filling.drafts.GUESS", n_guesses)
            cache = network.new_cache()
            network.encode(torch.tensor([prefix]), cache)
            passes.clear()
            nothing = torch.empty(0, dtype=torch.int64)
            drafts.append(causal(network, cache, prefix, file_ids, nothing, frozenset(), 20, lambda: False))
            drafts.append(len(passes))
    assert drafts[0] == drafts[2]
    assert drafts[1] < drafts[3] == 20
