"""Drafts and canvases side by side: the same fills as one after the other, and nothing left running."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count

import pytest
import torch
from midspan.engine import Engine, InfillRequest
from midspan.engine.denoise import CANCELLED
from midspan.engine.filling.lane import Lane

LINES = (
    "import json\n",
    "def load(path):\n",
    "    with open(path) as file:\n",
    "        return json.load(file)\n",
    "def save(path, value):\n",
    "    with open(path, 'w') as file:\n",
    "        json.dump(value, file)\n",
)
TEXT = "".join(LINES)


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[Engine, Engine]]:
    """The bundled model with one thread and with two."""
    n_threads = torch.get_num_threads()
    yield Engine.load(threads=1), Engine.load(threads=2)
    torch.set_num_threads(n_threads)


def requests() -> Iterator[InfillRequest]:
    at = 0
    for line in LINES:
        begun, end = at + len(line) // 2, at + len(line) - 1
        at += len(line)
        yield InfillRequest(TEXT[:begun], TEXT[end:], single_line=True)
        yield InfillRequest(TEXT[:begun], TEXT[end - 2 :], single_line=True)
        yield InfillRequest(TEXT[: end + 1], TEXT[end + 1 :], max_tokens=16, single_line=False, several=True)


def test_two_threads_give_the_same_fills_as_one(engines: tuple[Engine, Engine]) -> None:
    one, two = engines
    assert one._filler._lane is None and two._filler._lane is not None
    for request in requests():
        apart, beside = one.infill(request), two.infill(request)
        assert {c.text: c.sources for c in beside.candidates} == {c.text: c.sources for c in apart.candidates}
        assert (beside.steps, beside.stop) == (apart.steps, apart.stop)
        # In bfloat16 what is weighed together differs in its rounding.
        known = {c.text: c.probability for c in apart.candidates}
        assert all(abs(c.probability - known[c.text]) < 0.03 for c in beside.candidates)


def test_threads_are_for_the_products_of_a_network_that_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    n_threads = torch.get_num_threads()
    try:
        Engine.load(threads=2)
        assert torch.get_num_threads() == 1
        monkeypatch.setattr("midspan.engine.kernels.native.MOST_WEIGHTS", 1000)
        assert Engine.load(threads=2)._filler._lane is None
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(n_threads)


@pytest.mark.parametrize("n_steps", [0, 1])
def test_a_fill_that_is_cancelled_while_both_work_ends(engines: tuple[Engine, Engine], n_steps: int) -> None:
    request, n_polled, over = next(requests()), count(), threading.Event()
    whole = engines[1].infill(request)

    def cancelled() -> bool:
        if threading.current_thread().name.startswith("midspan-lane") and next(n_polled) >= n_steps:
            over.set()
        return over.is_set()

    infill = engines[1].infill(InfillRequest(request.prefix, request.suffix, single_line=True, cancelled=cancelled))
    assert (infill.stop, infill.text, infill.candidates, infill.steps) == (CANCELLED, "", (), n_steps)
    assert engines[1].infill(request).candidates == whole.candidates


def test_what_fails_there_is_raised_here(engines: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object) -> None:
        raise ValueError("no canvas today")

    request, engine = next(requests()), engines[1]
    with monkeypatch.context() as patched:
        patched.setattr("midspan.engine.filling.lengths.fills", broken)
        with pytest.raises(ValueError, match="no canvas today"):
            engine.infill(request)
    assert engine.infill(request).candidates


def test_it_is_left_only_when_the_work_is_over() -> None:
    begun, may_end, done = threading.Event(), threading.Event(), []

    def work() -> int:
        begun.set()
        assert may_end.wait(10)
        done.append(torch.is_inference_mode_enabled())
        return 3

    lane = Lane()
    with pytest.raises(KeyError), lane.doing(work):  # the caller fails first
        assert begun.wait(10)
        threading.Timer(0.05, may_end.set).start()
        raise KeyError
    assert done == [True]
    with lane.doing(work) as result:
        assert result() == 3


def test_its_thread_ends_with_it() -> None:
    lane = Lane()
    with lane.doing(threading.current_thread) as running:
        thread = running()
    assert thread.is_alive()
    del lane
    thread.join(10)
    assert not thread.is_alive()
