"""The canvas: what can change, what cannot, and how it shrinks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midspan.engine.canvas import Canvas, bucket, surplus


def canvas_of(n_gap: int, n_pinned: int, size: int | None = None) -> Canvas:
    return Canvas.start(torch.arange(n_gap), 100 + torch.arange(n_pinned), size)


def bools(text: str) -> torch.Tensor:
    """ "#.#" -> [True, False, True]."""
    return torch.tensor([c == "#" for c in text])


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_no_sequence_of_steps_touches_what_is_pinned_or_committed(data: st.DataObject) -> None:
    n_gap, n_pinned = data.draw(st.integers(1, 12)), data.draw(st.integers(0, 8))
    canvas = canvas_of(n_gap, n_pinned)
    settled: list[int] = []  # tokens committed so far, in order of their slots
    for step in range(data.draw(st.integers(1, 6))):
        slots = canvas.slots()
        if len(slots) == 0:
            break
        committed = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(slots), max_size=len(slots))))
        tokens = 1000 * (step + 1) + slots
        canvas = canvas.written(
            slots, tokens=tokens, guess=tokens + 500, entropy=torch.ones(len(slots)), committed=committed
        )
        free = canvas.free
        keep = torch.tensor([not f or data.draw(st.booleans()) for f in free.tolist()])
        canvas = canvas.contracted(keep)
        ids = canvas.ids.tolist()
        assert ids[len(ids) - n_pinned :] == [100 + i for i in range(n_pinned)]
        settled = canvas.gap[~canvas.free].tolist()
        assert settled == canvas.guess[~canvas.free].tolist()
        assert all(token < 1000 * (step + 2) and token % 1000 < 500 for token in settled)
    later = canvas.written(
        canvas.slots(),
        tokens=canvas.slots() * 0,
        guess=canvas.slots() * 0,
        entropy=torch.zeros(len(canvas.slots())),
        committed=None,
    )
    assert later.gap[~later.free].tolist() == settled


def test_the_suffix_moves_left_when_a_slot_is_removed() -> None:
    canvas = canvas_of(4, 2).contracted(bools("#..#"))
    assert canvas.ids.tolist() == [0, 3, 100, 101]


def test_a_shrinking_gap_lets_in_more_of_the_suffix() -> None:
    canvas = canvas_of(4, 10, size=6)
    assert canvas.ids.tolist() == [0, 1, 2, 3, 100, 101]
    assert canvas.contracted(bools("##..")).ids.tolist() == [0, 1, 100, 101, 102, 103]


def test_a_text_to_be_rewritten_is_committed_until_it_is_renoised() -> None:
    canvas = Canvas.holding(torch.arange(5), 100 + torch.arange(2))
    assert len(canvas.slots()) == 0 and canvas.ids.tolist() == [0, 1, 2, 3, 4, 100, 101]
    freed = canvas.renoised(bools("#..#."), torch.tensor([50, 51]), bools("##..."))
    assert freed.slots().tolist() == [0, 3] and freed.gap.tolist() == [50, 1, 2, 51, 4]
    assert freed.again.tolist() == [True, False, False, True, False]
    assert freed.shunned.tolist() == [0, -1, -1, -1, -1]  # what stays may not be shunned
    assert canvas.gap.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("at", [0, 2, 4])
def test_slots_put_in_are_free_and_push_the_rest_right(at: int) -> None:
    canvas = Canvas.holding(torch.arange(4), 100 + torch.arange(3), size=7).widened(at, torch.tensor([50, 51]))
    assert canvas.slots().tolist() == [at, at + 1]
    assert canvas.gap.tolist() == [*range(at), 50, 51, *range(at, 4)]
    assert canvas.ids.tolist() == [*canvas.gap.tolist(), 100]  # as much of the suffix as still fits


def test_a_gap_larger_than_the_canvas_is_refused() -> None:
    with pytest.raises(AssertionError):
        canvas_of(9, 2, size=8)


@pytest.mark.parametrize(("wanted", "expected"), [(0, 8), (1, 8), (8, 8), (9, 16), (32, 32), (500, 32)])
def test_the_gap_gets_the_smallest_size_that_holds_it(wanted: int, expected: int) -> None:
    assert bucket((8, 16, 32), wanted) == expected


@pytest.mark.parametrize(
    ("looks_deleted", "accepted", "removed"),
    [
        ("...###", "...#..", "...###"),  # the run that reaches the end goes from its first accepted slot
        ("...###", "....#.", "....##"),  # ... and the undecided slot before it stays
        ("...###", "......", "......"),
        ("######", "#.....", "######"),  # nothing is missing here
        (".##..#", ".#....", ".#...."),  # a run inside the gap gives only what was accepted
        (".##..#", ".#...#", ".#...#"),
        ("......", "..#...", "..#..."),  # sampled against the likeliest token
    ],
)
def test_surplus_slots_leave_together(looks_deleted: str, accepted: str, removed: str) -> None:
    assert surplus(bools(accepted), bools(looks_deleted)).tolist() == bools(removed).tolist()
