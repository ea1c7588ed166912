"""The search for texts that lead into the suffix."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from midspan.engine import Engine, InfillRequest
from midspan.engine.filling import beams
from midspan.engine.filling.beams import WIDE, Breadth, Right, Spelling, meeting
from midspan.engine.filling.drafts import Start, Writing
from midspan.engine.filling.ngrams import NGrams
from midspan.engine.network import Network

PREFIX = list(range(20, 32))
IDS = {"a": 5, "b": 6, "c": 7, "ab": 8, "bc": 9, "\n": 10}
MOST_TOKENS = 3


@pytest.fixture
def network(tiny_network) -> Network:
    return tiny_network("small")


@pytest.fixture
def writing(network: Network) -> Writing:
    with torch.no_grad():
        cache = network.new_cache()
        network.encode(torch.tensor([PREFIX]), cache)
    others = [id_ for id_ in range(network.config.vocab_size) if id_ not in IDS.values() or id_ == IDS["\n"]]
    seen = NGrams(np.array([*PREFIX, IDS["ab"], IDS["c"], -1], np.int64))
    return Writing(network, Start(cache, PREFIX), seen, torch.tensor(others), frozenset(), 9, lambda: False)


def spelling(network: Network) -> Spelling:
    texts = [""] * network.config.vocab_size
    for text, id_ in IDS.items():
        texts[id_] = text
    known = [text or "?" for text in texts]
    return Spelling(
        texts, lambda typed: torch.tensor([not (one.startswith(typed) or typed.startswith(one)) for one in known])
    )


def by_brute_force(writing: Writing, typed: str, right: str) -> list[str]:
    """All texts that the search could find, the likeliest first, each by a cold pass over every way to spell it."""
    found: dict[str, float] = {}
    for n_tokens in range(MOST_TOKENS + 1):
        for pieces in product([text for text in IDS if text != "\n"], repeat=n_tokens):
            whole, ids = "".join(pieces), [IDS[piece] for piece in pieces]
            hidden = writing.network.encode(torch.tensor([[*PREFIX, *ids]]), writing.network.new_cache())[0]
            probs = torch.softmax(writing.network.logits(hidden[len(PREFIX) - 1 :]), dim=1)
            steps = [writing.mixed(probs[place], ids[:place]).log() for place in range(n_tokens + 1)]
            score = sum(float(steps[place][id_]) for place, id_ in enumerate(ids))
            for n_over in range(len(pieces[-1]) if pieces else 1):
                text, over = whole[: len(whole) - n_over], whole[len(whole) - n_over :]
                if text.startswith(typed) and right.startswith(over) and n_over < len(right):
                    end = float(steps[-1][IDS[right[n_over]]])
                    found[text] = max(score + end, found.get(text, -torch.inf))
    return [text[len(typed) :] for text in sorted(found, key=lambda text: -found[text])]


@pytest.mark.parametrize(("typed", "right"), [("", "\n"), ("", "bca"), ("ab", "c"), ("a", "ba")])
def test_the_likeliest_texts_are_found(
    network: Network, writing: Writing, typed: str, right: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beams, "MOST_TOKENS", MOST_TOKENS)
    breadth = Breadth(200, math.inf, 8)
    begun = Writing(**{**vars(writing), "start": Start(writing.start.cache, PREFIX, typed)})
    ahead = Right(right, lambda n_over: IDS[right[n_over]], right == "\n")
    with torch.no_grad():
        expected = by_brute_force(writing, typed, right)
        found = meeting(begun, spelling(network), ahead, breadth)
        assert found == expected[:8] and len(found) == 8
        assert right != "bca" or found[0] == "a", "the token that reaches over the edge"
        assert meeting(begun, spelling(network), ahead, breadth) == found  # and the cache is as it was
        assert writing.start.cache.length == len(PREFIX)
        assert meeting(begun, spelling(network), ahead, replace(breadth, margin=0.0)) == expected[:1]
        assert meeting(begun, spelling(network), ahead, replace(breadth, most=3)) == expected[:3]


def test_a_search_that_is_given_up_finds_nothing(network: Network, writing: Writing) -> None:
    lost = Writing(**{**vars(writing), "give_up": lambda: True})
    assert meeting(lost, spelling(network), Right("\n", lambda n_over: IDS["\n"], True), WIDE) == []


@pytest.fixture(scope="module")
def bundled() -> Engine:
    return Engine.load()


def test_a_word_of_several_tokens_is_searched_for_from_its_beginning(bundled: Engine) -> None:
    frame = bundled._prompt.frame("def unique(string):\n    return len(set(stri", ".lower()))\n")
    assert (*frame.begun, frame.typed) == ("str", "i")
    frame = bundled._prompt.frame("def unique(string):\n    return len(set(", "string.lower()))\n")
    assert frame.begun == ()


@pytest.mark.parametrize(
    ("prefix", "suffix", "text"),
    [
        ("def unique(string):\n    return len(set(stri", ".lower()))\n", "ng"),
        ("def total(numbers):\n    for index, numb", " in enumerate(numbers):\n        print(index, number)\n", "er"),
        ("def total(numbers):\n    for index, number in enu", "bers):\n        print(index, number)\n", "merate(num"),
        (
            "def total(number):\n    result = 0\n    while number:\n        result += number % 10\n",
            "    return result\n",
            "",
        ),
    ],
)
def test_a_gap_may_begin_and_end_inside_of_words(bundled: Engine, prefix: str, suffix: str, text: str) -> None:
    found = bundled.infill(InfillRequest(prefix, suffix, several=True)).candidates
    assert text in {one.text for one in found if "causal" in one.sources}


def test_while_typing_it_is_searched_for_where_the_line_goes_on(bundled: Engine) -> None:
    request = InfillRequest("def show(names):\n    return ','", "s)\n")
    greedily = replace(request, method=replace(bundled.method, search="never"))
    texts = [{one.text for one in bundled.infill(asked).candidates} for asked in (greedily, request)]
    assert ".join(name" in texts[1] - texts[0]
    at_the_end = InfillRequest("def total(numbers):\n    return ", "\n\n\nprint(total([1, 2]))\n")
    texts = [
        {one.text for one in bundled.infill(replace(at_the_end, several=wide)).candidates} for wide in (False, True)
    ]
    assert len(texts[0]) < len(texts[1])
