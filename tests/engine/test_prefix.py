"""The prefix: a window that holds still, and keys and values that are reused without a trace."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
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


@pytest.mark.parametrize("above", ["from module0 import nan", "import a\nimport b\nimport module0", "", "\n"])
def test_an_edit_far_above_does_not_move_the_window(above: str) -> None:
    for text in (CODE[:-700], CODE[:-701], CODE):
        after = text.replace("import module0", above, 1)
        start = anchored_start(text, 400, n_tokens)
        assert after[anchored_start(after, 400, n_tokens) :] == text[start:]


class Reading(str):
    """A text that notes the furthest place from its end that is read."""

    __slots__ = ("furthest",)

    def rfind(self, sub: str, start: Any = 0, end: Any = None) -> int:
        at = super().rfind(sub, start, end)
        self.furthest = min(getattr(self, "furthest", len(self)), at)
        return at

    def count(self, *_: Any) -> int:
        raise AssertionError("counts through the whole text")


def test_no_more_than_the_window_is_read() -> None:
    for n_lines in (100, 100_000):
        text = Reading("    value = function(argument)\n" * n_lines)
        anchored_start(text, 400, n_tokens)
        assert len(text) - text.furthest < 2500


@pytest.mark.parametrize("line", ["    0x12, 0x34,\n", "x" * 70 + "\n", "}\n", "\n"])
def test_in_a_table_of_equal_lines_the_window_holds_still(line: str) -> None:
    text = line * 3000
    starts = [anchored_start(text[:end], 400, n_tokens) for end in range(len(text) - 40 * len(line), len(text))]
    assert len(set(starts)) <= 3 + 4 * n_tokens(line) * 40 / ((1 - LEAST) * 400)


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


class Failing:
    """A network that runs out of memory in the middle of its `n`-th chunk."""

    def __init__(self, network: Network, n: int) -> None:
        self.network, self.n, self.device = network, n, network.device

    def new_cache(self) -> Any:
        return self.network.new_cache()

    def encode(self, ids: torch.Tensor, cache: Any) -> None:
        self.n -= 1
        if self.n == 0:
            batch, heads, _, dim = cache.read(0)[0].shape
            junk = torch.full((batch, heads, 3, dim), 7.0)
            cache.append(0, junk, junk)  # written, and never counted
            raise torch.OutOfMemoryError
        self.network.encode(ids, cache)


def edited(data: st.DataObject, text: str) -> str:
    """The text after one edit: typing or deleting at its end, or cutting, pasting and replacing anywhere."""
    kind = data.draw(st.sampled_from(("type", "type", "delete", "replace", "cut", "paste")))
    if kind == "type":
        return text + data.draw(st.sampled_from(("x", "\n", "    return values", " = 1\n\n\ndef f(a):\n", "é日🙂")))
    if kind == "delete":
        return text[: max(0, len(text) - data.draw(st.integers(1, 30)))]
    start = data.draw(st.integers(0, len(text)))
    end = min(len(text), start + data.draw(st.integers(0, 400)))
    new = {"replace": "value", "cut": "", "paste": text[start:end] * 2}[kind]
    return text[:start] + new + text[end:]


@settings(max_examples=12)
@given(data=st.data())
def test_any_edits_of_any_documents_give_the_logits_of_a_cold_start(
    tiny_network: Callable[[str], Network], data: st.DataObject
) -> None:
    """Through the prompt: text in, logits of a canvas out; with documents evicted, requests given up at any chunk, and
    memory running out at any chunk."""
    network = tiny_network("mini")
    one = network.new_cache()
    with torch.inference_mode():
        network.encode(torch.tensor([[2] * 200]), one)
        store = PrefixStore(network, byte_budget=data.draw(st.sampled_from((0, 2 * one.nbytes, 2**30))))
        texts = {name: CODE[: data.draw(st.integers(0, 1500))] for name in "abc"}
        for _ in range(data.draw(st.integers(1, 6))):
            name = data.draw(st.sampled_from("abc"))
            texts[name] = edited(data, texts[name])
            start = anchored_start(texts[name], 300, n_tokens)
            ids = [2, *(5 + ord(char) % 90 for char in texts[name][start:][-300:])]
            match data.draw(st.sampled_from(("cancel", "memory", "", ""))):
                case "cancel":
                    polls = iter([False] * data.draw(st.integers(0, 5)) + [True] * 99)
                    store.encode(name, ids, lambda polls=polls: next(polls))
                case "memory":
                    store._network = Failing(network, data.draw(st.integers(1, 4)))  # type: ignore[assignment]
                    with suppress(torch.OutOfMemoryError):
                        store.encode(name, ids)
                    store._network = network
            assert len(store._documents) == 1 or store.nbytes <= store._byte_budget
            warm, cold = store.encode(name, ids), PrefixStore(network).encode(name, ids)
            assert warm is not None and cold is not None and warm.length == len(ids)
            canvas = torch.tensor([[3, 3, 3, 9, 8]])
            assert torch.equal(
                network.logits(network.denoise(canvas, warm)), network.logits(network.denoise(canvas, cold))
            )
            assert len(store._documents) == 1 or store.nbytes <= store._byte_budget


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


def test_requests_that_are_given_up_stay_within_the_budget(tiny_network: Callable[[str], Network]) -> None:
    store = PrefixStore(tiny_network("mini"), byte_budget=1)
    with torch.inference_mode():
        for document in "abcd":
            polls = iter([False, True])
            assert store.encode(document, list(range(2, 96)) * 4, lambda polls=polls: next(polls)) is None
            assert len(store._documents) == 1
