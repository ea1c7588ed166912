"""When the server waits for the next key: simulated typists, no clock."""

from hypothesis import given
from hypothesis import strategies as st
from midspan.lsp.rhythm import PAUSE, Pace, Rhythm

MOST = 0.1


def started(keys: list[float], answering: float, most: float = MOST) -> list[float]:
    """When answers are begun: each key asks, and a key that comes while another's request waits calls it off."""
    rhythm, begun = Rhythm(), []
    for at, following in zip(keys, [*keys[1:], float("inf")], strict=True):
        rhythm.key(at)
        begin = at + rhythm.wait(at, answering, most)
        if begin < following:
            begun.append(begin)
    return begun


def steady(gap: float, n: int = 40) -> list[float]:
    return [gap * number for number in range(n)]


def test_the_first_key_after_a_pause_is_answered_at_once() -> None:
    rhythm = Rhythm()
    for at in (0.0, 0.05, 0.1, 5.0):
        rhythm.key(at)
    assert rhythm.wait(5.0, answering=1.0, most=MOST) == 0.0
    assert Rhythm().wait(0.0, answering=1.0, most=MOST) == 0.0


def test_who_types_slower_than_the_answers_come_never_waits() -> None:
    assert started(steady(0.15), answering=0.09) == steady(0.15)


def test_who_types_faster_is_not_answered_in_vain() -> None:
    begun = started(steady(0.05), answering=0.09)
    assert len(begun) <= 3, "the first keys, before there is a rhythm, and the last"
    assert begun[-1] > steady(0.05)[-1], "the last key is answered"


def test_no_bound_no_wait() -> None:
    assert started(steady(0.05), answering=0.09, most=0.0) == steady(0.05)


@given(st.lists(st.floats(0.001, 2.0), min_size=1, max_size=50), st.floats(0, 3), st.floats(0, 1))
def test_the_wait_is_bounded_and_the_last_key_is_always_answered(
    gaps: list[float], answering: float, most: float
) -> None:
    rhythm, now = Rhythm(), 0.0
    for gap in gaps:
        now += gap
        rhythm.key(now)
        wait = rhythm.wait(now, answering, most)
        assert 0.0 <= wait <= most
        if gap > PAUSE + 1e-6:
            assert wait == 0.0
    assert started([sum(gaps[: n + 1]) for n in range(len(gaps))], answering, most)[-1] >= now - 1e-9


def test_the_pace_follows_the_machine() -> None:
    pace = Pace()
    pace.took(0.1)
    assert pace.seconds == 0.1
    for _ in range(20):
        pace.took(0.4)
    assert 0.35 < pace.seconds <= 0.4
    pace.took(1e9)
    assert pace.seconds < 1.0


def test_a_machine_that_finishes_no_answer_learns_to_wait() -> None:
    """Keys every 60 ms, answers that would take 400: from what was thrown away alone."""
    rhythm, pace, wasted = Rhythm(), Pace(), []
    keys = steady(0.06)
    for at in keys:
        rhythm.key(at)
        wait = rhythm.wait(at, pace.seconds, MOST)
        if (spent := 0.06 - wait) > 0:
            wasted.append(at)
            pace.gave_up(spent)
    assert len(wasted) <= 5
    assert rhythm.wait(keys[-1], pace.seconds, MOST) > 0


def test_a_short_interruption_says_nothing_about_a_known_pace() -> None:
    pace = Pace()
    pace.took(0.1)
    pace.gave_up(0.01)
    assert pace.seconds == 0.1
