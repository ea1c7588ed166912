"""The causal mode's drafts, the n-grams mixed into them, and what it says about drafts."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from midspan.engine.filling import ngrams
from midspan.engine.filling.drafts import Start, Writing, evidence, greedy, surprise, told
from midspan.engine.filling.ngrams import NGrams
from midspan.engine.network import Network


@given(st.lists(st.integers(-1, 3), max_size=60), st.lists(st.integers(0, 3), max_size=ngrams.MAX_ORDER + 2))
def test_ngrams_are_what_followed_all_matches_the_longest_weighing_last(
    file_ids: list[int], context: list[int]
) -> None:
    found = NGrams(np.array(file_ids, np.int64)).after(context)
    mass, left, matched, seen = dict.fromkeys(range(4), 0.0), 1.0, 0, None
    for order in range(min(ngrams.MAX_ORDER, len(context)), 0, -1):  # by brute force, what is longest first
        tail = context[len(context) - order :]
        places = [i for i in range(order, len(file_ids)) if file_ids[i - order : i] == tail]
        followers = [file_ids[i] for i in places if file_ids[i] >= 0]  # -1 is the gap itself
        if not followers or followers == seen:
            continue
        seen, matched = followers, max(matched, order)
        odds = ngrams.BIAS + ngrams.BY_ORDER * math.log(order) + ngrams.BY_PLACES * math.log(len(followers))
        odds += ngrams.BY_VARIETY * len(set(followers)) / len(followers)
        own = 1 / (1 + math.exp(-odds))
        for id_ in followers:
            mass[id_] += left * own / len(followers)
        left *= 1 - own
    assert (found.matched, found.weight) == (matched, pytest.approx(1 - left))
    assert found.shares.sum() == pytest.approx(float(matched > 0))
    for id_, share in mass.items():
        assert found.weight * found.share(id_) == pytest.approx(share)


def test_what_followed_often_and_alike_weighs_more() -> None:
    def weight(*file_ids: int) -> float:
        return NGrams(np.array(file_ids, np.int64)).after([7, 1, 2]).weight

    assert 0 == weight(3, 4) < weight(5, 2, 3) < weight(1, 2, 3) < weight(7, 1, 2, 3)
    assert weight(1, 2, 3, 1, 2, 4) < weight(1, 2, 3) < weight(1, 2, 3, 1, 2, 3)


@pytest.fixture
def network(tiny_network) -> Network:
    return tiny_network("small")


def test_evidence_is_the_log_likelihood_of_a_cold_causal_pass(network: Network) -> None:
    torch.manual_seed(0)
    vocab = network.config.vocab_size
    prefix = torch.randint(0, vocab, (20,)).tolist()
    gaps = [torch.randint(0, vocab, (n,)).tolist() for n in (7, 0, 40, 3, 38)]  # in two batches
    right = torch.randint(0, vocab, (4,)).tolist()
    with torch.no_grad():
        cache = network.new_cache()
        network.encode(torch.tensor([prefix]), cache)
        scores = evidence(network, Start(cache, prefix), gaps, right)
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


@pytest.fixture
def writing(network: Network) -> Writing:
    """Behind twelve ids, with nothing else to go by."""
    prefix = list(range(10, 22))
    with torch.no_grad():
        cache = network.new_cache()
        network.encode(torch.tensor([prefix]), cache)
    none, nothing = NGrams(np.empty(0, np.int64)), torch.empty(0, dtype=torch.int64)
    return Writing(network, Start(cache, prefix), none, nothing, frozenset(), 6, lambda: False)


def test_a_greedy_draft_ends_at_a_line_end_and_leaves_the_cache_alone(network: Network, writing: Writing) -> None:
    with torch.no_grad():
        ids, ended = greedy(writing)
        assert (len(ids), ended, writing.start.cache.length) == (6, False, 12)
        context = list(writing.start.prefix_ids)
        for id_ in ids:
            hidden = network.encode(torch.tensor([context]), network.new_cache())
            assert id_ == int(network.logits(hidden[0, -1]).argmax())
            context.append(id_)
        stopped, ended = greedy(replace(writing, end_ids=frozenset((ids[2],))))
        assert ended and stopped == ids[: ids.index(ids[2])]
        unwanted, _ = greedy(replace(writing, banned=torch.tensor([ids[0]]), max_tokens=1))
        assert unwanted != ids[:1]
        assert greedy(replace(writing, give_up=lambda: True)) == ([], False)


def test_guessing_ahead_changes_nothing_but_the_number_of_passes(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("midspan.engine.filling.ngrams.BIAS", 9.0)  # so that guesses come true
    prefix = [5, 6, 7, 8, 9, 5, 6]
    file_ids = np.array([*prefix, -1, 7, 8, 9, 5, 6, 7, 8, 9], np.int64)
    passes: list[int] = []
    encode = network.encode
    monkeypatch.setattr(network, "encode", lambda ids, cache: passes.append(ids.shape[1]) or encode(ids, cache))
    drafts = []
    with torch.no_grad():
        for n_guesses in (6, 0):
            monkeypatch.setattr("midspan.engine.filling.ngrams.GUESS", n_guesses)
            cache = network.new_cache()
            network.encode(torch.tensor([prefix]), cache)
            passes.clear()
            nothing = torch.empty(0, dtype=torch.int64)
            seen = NGrams(file_ids)
            start = Start(cache, prefix)
            drafts.append(greedy(Writing(network, start, seen, nothing, frozenset(), 20, lambda: False)))
            drafts.append(len(passes))
    assert drafts[0] == drafts[2]
    assert drafts[1] < drafts[3] == 20


def test_evidence_counts_what_the_n_grams_would_write(network: Network, writing: Writing) -> None:
    prefix = list(writing.start.prefix_ids)
    seen = NGrams(np.array([*prefix, 5, 6, 7, -1, *prefix], np.int64))
    beyond = NGrams(np.array([5, 6, 8, 9, -1], np.int64))
    with torch.no_grad():
        for gap in ([5, 6], [9, 6]):
            ids, right = [*gap, 8, 9], []
            ((ends, mean),) = evidence(network, writing.start, [gap], ids[2:], seen, beyond)
            alone = (-surprise(network, writing.start.cache, prefix, ids)).exp().tolist()
            for place, (id_, p) in enumerate(zip(ids, alone, strict=True)):
                known = (seen if place < len(gap) else beyond).after([*prefix, *ids[:place]])
                right.append(math.log(p * (1 - known.weight) + known.weight * known.share(id_)))
            assert (ends, mean) == pytest.approx((sum(right[2:]), sum(right[:3]) / 3), rel=1e-4)
    assert seen.after(prefix).share(5) == pytest.approx(1) and seen.after(prefix).share(9) == 0


def test_what_is_told_changes_what_is_said_but_not_where(network: Network) -> None:
    prefix, right = list(range(10, 22)), [30, 31, 32]
    with torch.no_grad():
        cache = network.new_cache()
        network.encode(torch.tensor([prefix]), cache)
        own = told(network, cache, prefix, right, 32)
        assert (own.length, own.position, cache.length) == (len(prefix) + 3, len(prefix), len(prefix))
        said = surprise(network, own, prefix, [5, 6, 7])
        assert not torch.allclose(said, surprise(network, cache, prefix, [5, 6, 7]), atol=1e-3)
        assert not torch.allclose(said, surprise(network, told(network, cache, prefix, [33], 32), prefix, [5, 6, 7]))
        # The suffix is seen by what comes behind it alone, wherever that stands.
        before = torch.cat([own.read(0)[0][:, :, : len(prefix) - 1]])
        torch.testing.assert_close(before, cache.read(0)[0][:, :, : len(prefix) - 1])
