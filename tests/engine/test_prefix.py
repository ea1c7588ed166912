"""The prefix: a window that holds still, and keys and values that are reused without a trace."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midspan.engine.network import Network
from midspan.engine.prefix import CHUNKS, LEAST, LONG, PrefixStore, anchored_start

CODE = "\n".join(
    f"""import module{i}


def mean{i}(values, default):
    total = 0.0
    for value in values:
        total += value * {i}
    return total / len(values) if values else default


class Window{i}:
    def __init__(self, size, step=1):
        self.size = size + {i}
        self.step = step
"""
    for i in range(20)
)


def n_tokens(line: str) -> int:
    """Words, with the space before them, and single other characters: no line's count depends on its neighbours."""
    return len(re.findall(r" ?\w+|\s+?|.", line))


def test_while_typing_the_window_rarely_moves(budget: int = 400) -> None:
    moves, before = 0, 0
    for end in range(1, len(CODE)):
        start = anchored_start(CODE[:end], budget, n_tokens)
        moves += start != before
        before = start
        assert start == 0 or CODE[start - 1] == "\n"
        if end % 7 == 0:
            assert n_tokens(CODE[start:end]) <= budget
            assert start == 0 or n_tokens(CODE[start:end]) >= (LEAST - 0.1) * budget
    assert 0 < moves <= 4 * n_tokens(CODE) / ((1 - LEAST) * budget)


def test_a_line_edited_far_above_does_not_move_the_window() -> None:
    text = CODE * 3
    start = anchored_start(text, 400, n_tokens)
    edited = text.replace("import module0", "from module0 import nan", 1)
    assert edited[anchored_start(edited, 400, n_tokens) :] == text[start:]


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab( \n\r é日", max_size=2000), st.integers(16, 400))
def test_any_text_has_a_window_within_the_budget(text: str, budget: int) -> None:
    start = anchored_start(text, budget, n_tokens)
    assert 0 <= start <= len(text)
    if n_tokens(text) <= budget // 2:
        assert start == 0
    last_piece = len(text) - LONG
    assert n_tokens(text[start:]) <= budget or start >= last_piece


def test_a_line_without_end_has_a_window_that_holds_still() -> None:
    text = "abc(x) + " * 3000
    starts = [anchored_start(text[:end], 200, n_tokens) for end in range(len(text) - 300, len(text))]
    assert len(set(starts)) <= 5
    assert len(text) - max(starts) < 1000


def keys(network: Network, cache: Any) -> list[torch.Tensor]:
    return [torch.stack(cache.read(layer)) for layer in range(network.config.num_hidden_layers)]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_no_history_of_edits_shows_in_the_cache(tiny_network: Callable[[str], Network], data: st.DataObject) -> None:
    network = tiny_network("mini")
    store = PrefixStore(network)
    ids = [2]
    token = st.integers(5, 96)
    with torch.inference_mode():
        for _ in range(data.draw(st.integers(1, 6))):
            cut = data.draw(st.integers(0, len(ids)))
            ids = (
                ids[:cut]
                + data.draw(st.lists(token, max_size=40)) * data.draw(st.sampled_from((1, 2, 9)))  # some of each chunk
                + ids[data.draw(st.integers(cut, len(ids))) :]
            )
            ids = ids or [2]
            polls = iter([False] * data.draw(st.integers(0, 4)) + [True] * 9)
            store.encode("a", ids, lambda polls=polls: next(polls))  # given up somewhere, or not
            warm = store.encode("a", ids)
            cold = PrefixStore(network).encode("a", ids)
            assert warm is not None and cold is not None and warm.length == cold.length == len(ids)
            for ours, theirs in zip(keys(network, warm), keys(network, cold), strict=True):
                assert torch.equal(ours, theirs)
        plain = network.new_cache()
        network.encode(torch.tensor([ids]), plain)
        canvas = torch.tensor([[3] * 8])
        warm = store.encode("a", ids)
        assert warm is not None
        torch.testing.assert_close(
            network.logits(network.denoise(canvas, warm)),
            network.logits(network.denoise(canvas, plain)),
            rtol=1e-4,
            atol=1e-3,
        )


class Counting:
    """A network that counts the tokens it encodes."""

    def __init__(self, network: Network) -> None:
        self.network, self.encoded, self.device = network, 0, network.device

    def new_cache(self) -> Any:
        return self.network.new_cache()

    def encode(self, ids: torch.Tensor, cache: Any) -> None:
        self.encoded += ids.shape[1]
        self.network.encode(ids, cache)


def test_a_keystroke_encodes_no_more_than_a_chunk(tiny_network: Callable[[str], Network]) -> None:
    network: Any = Counting(tiny_network("mini"))
    store = PrefixStore(network)
    ids = [2 + i % 90 for i in range(CHUNKS[0] + 5 * CHUNKS[-1] // 2)]
    store.encode("a", ids)
    for step, changed in enumerate(([*ids, 9], [*ids, 9, 9], ids, ids[:-3])):
        before = network.encoded
        store.encode("a", changed)
        assert network.encoded - before <= CHUNKS[-1], step
    before = network.encoded
    store.encode("a", ids[:-3])
    assert network.encoded == before  # the same prefix again costs nothing


def test_documents_are_kept_until_the_budget_is_spent(tiny_network: Callable[[str], Network]) -> None:
    network: Any = Counting(tiny_network("mini"))
    one = tiny_network("mini").new_cache()
    with torch.inference_mode():
        tiny_network("mini").encode(torch.tensor([[2, 3]]), one)
    ids = list(range(2, 90))

    def encoded_again(store: PrefixStore, document: str) -> bool:
        before = network.encoded
        store.encode(document, ids)
        return network.encoded > before

    store = PrefixStore(network, byte_budget=2 * one.nbytes)
    for document in "abac":
        store.encode(document, ids)
    assert not encoded_again(store, "a")
    assert not encoded_again(store, "c")
    assert encoded_again(store, "b")  # the one unused for longest went
    poor = PrefixStore(network, byte_budget=1)
    poor.encode("a", ids)
    assert not encoded_again(poor, "a")
    assert encoded_again(poor, "b") and encoded_again(poor, "a")
