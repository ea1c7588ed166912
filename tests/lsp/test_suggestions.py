"""What is left of a suggestion after some typing, and that accepting it is what accepting the whole would have been."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from midspan.lsp.cache.prefetch import accepted, next_line, on_the_way
from midspan.lsp.cache.suggestions import MOST, Place, Recent, left, remembered, unclosed
from midspan.lsp.complete import Outcome, Snapshot, Suggestion
from midspan.lsp.lines import line_end

KEY = "python"


def snapshot(marked: str) -> Snapshot:
    """A document with its cursor at ║."""
    offset = marked.index("║")
    return Snapshot("u", 1, "python", marked.replace("║", ""), offset, offset)


def shown(at: Snapshot, fill: str, confidence: float = 0.5) -> Outcome:
    """An answer that fills `fill` in at the cursor and keeps the rest of the line."""
    end = line_end(at.document, at.end)
    text = at.chosen + fill + at.document[at.end : end]
    return Outcome(
        "shown", (Suggestion(at.start, end, text, len(at.chosen) + len(fill)),), confidence=confidence, model="m"
    )


def after_accepting(at: Snapshot, suggestion: Suggestion) -> str:
    return at.document[: suggestion.start] + suggestion.text + at.document[suggestion.end :]


def recall(marked: str, fill: str, now: str, **how: float) -> str | None:
    """What is offered at `now` after `fill` was offered at `marked`, as the document with it accepted."""
    recent, at = Recent(), snapshot(marked)
    recent.add(remembered(KEY, at, shown(at, fill), False))
    place = snapshot(now)
    found = recent.answer(KEY, place, **{"least": 0.15, **how})
    if found is None or found.suggestion is None:
        return None
    return after_accepting(place, found.suggestion)


@pytest.mark.parametrize(
    ("marked", "fill", "now"),
    [
        ("x = ║\n", "f(a)", "x = f║\n"),
        ("x = ║\n", "f(a)", "x = f(a║\n"),
        ("x = ║\n", "f(a)", "x = ║\n"),  # back where it was made
        ("f(║)  # why\n", "a, b", "f(a,║)  # why\n"),
        ("x = ║\n", "f(a)", "x = f(║)\n"),  # the editor closed the bracket
        ("x = ║\n", "f(a[0])", "x = f(a[║])\n"),
        ("g(║)\n", "f(a)", "g(f(║))\n"),
        ("x = ║\n", 'f("a")', 'x = f("║")\n'),
        ("x = ║\n", 'f("a")', 'x = f("a"║)\n'),  # and typing the quote went over the one that was there
        ("if a:\n    ║\n", "b()\n    c()", "if a:\n    b()\n    c║\n"),
        ("if a:\n    ║\n", "b()\n    c()", "if a:\n    b()\n    ║\n"),
        ("print(val║ue)\n", "ues[0]", "print(valu║ue)\n"),
    ],
)
def test_typing_what_it_says_keeps_it(marked: str, fill: str, now: str) -> None:
    at = snapshot(marked)
    whole = after_accepting(at, shown(at, fill).suggestions[0])
    assert recall(marked, fill, now) == whole


@pytest.mark.parametrize(
    ("marked", "fill", "now"),
    [
        ("x = ║\n", "f(a)", "x = g║\n"),  # something else was typed
        ("x = ║\n", "f(a)", "x = f(a)║\n"),  # nothing is left
        ("x = ║\n", "f(a)", "y = f║\n"),  # the text before has changed
        ("x = ║\n", "f(a)", "x = f║  # why\n"),  # the rest of the line has
        ("x = ║\ny\n", "f(a)", "x = f║\nz\n"),  # the text after has
        ("x = ║\n", "f(a)", "x = f║)\n"),  # a bracket nothing typed has opened
        ("x = ║\n", "f(a)", "x = f(║]\n"),
        ("x = ║\n", "f(a)", "x = f(║))\n"),
        ("x = ║\n", "f(a)", "x =║ f\n"),  # the cursor is elsewhere
        ("x = ║\n", "f(a)", "\nx = f║\n"),
    ],
)
def test_everything_else_asks_again(marked: str, fill: str, now: str) -> None:
    assert recall(marked, fill, now) is None


code = st.text(alphabet="ab ()[]{}\"'\n.😀", max_size=12)


@given(code, code, code, code, st.integers(0, 12), st.integers(0, 63))
def test_what_was_typed_of_it_never_hides_it(
    before: str, rest: str, after: str, fill: str, n: int, skipped: int
) -> None:
    rest, after = rest.replace("\n", ""), "\n" + after
    assume(fill)
    n = min(n % len(fill), (fill + "\n").index("\n"))
    closed = [char for place, char in enumerate(unclosed(fill[:n])) if not skipped >> place & 1]
    at = snapshot(before + "║" + rest + after)
    [one] = remembered(KEY, at, shown(at, fill), False)
    typed = before + fill[:n]
    place = Place.at(typed + "".join(closed) + rest + after, len(typed))
    assert left(one, place) is not None


@given(code, code, code, code, st.integers(0, 30), code, st.integers(0, 4), st.integers(0, 40))
def test_whatever_the_text_has_become_an_answer_is_right(
    before: str, rest: str, after: str, fill: str, at_: int, inserted: str, deleted: int, cursor: int
) -> None:
    """Soundness: accepting what is left gives what accepting all of it would have given, or nothing is offered."""
    assume(fill)
    at = snapshot(before + "║" + rest.replace("\n", "") + "\n" + after)
    answer = shown(at, fill)
    [one] = remembered(KEY, at, answer, False)
    text = at.document[:at_] + inserted + at.document[at_ + deleted :]
    for offset in {min(cursor, len(text)), min(at_ + len(inserted), len(text))}:
        recent = Recent()
        recent.add((one,))
        place = replace(at, document=text, start=offset, end=offset)
        found = recent.answer(KEY, place, 0.0)
        if found is not None:
            [suggestion] = found.suggestions
            assert after_accepting(place, suggestion) == after_accepting(at, answer.suggestions[0])
            assert suggestion.end == line_end(text, offset)
            assert suggestion.start == offset and suggestion.filled > 0


def test_the_item_chosen_in_the_menu_counts_as_typed() -> None:
    recent = Recent()
    menu = replace(snapshot("a.║\n"), start=2, end=2, chosen="append")
    recent.add(remembered(KEY, menu, shown(menu, "(x)"), False))
    typed = recent.answer(KEY, snapshot("a.append║\n"), 0.0)
    assert typed is not None and typed.suggestions[0].text == "(x)"
    plain = snapshot("a.║\n")
    recent.clear()
    recent.add(remembered(KEY, plain, shown(plain, "append(x)"), False))
    chosen = recent.answer(KEY, replace(plain, chosen="append"), 0.0)
    assert chosen is not None
    assert chosen.suggestions[0] == Suggestion(2, 2, "append(x)", 9)
    assert recent.answer(KEY, replace(plain, chosen="insert"), 0.0) is None


def test_what_nobody_asked_for_has_to_be_likely_until_some_of_it_is_typed() -> None:
    assert recall("x = ║\n", "f(a)", "x = ║\n", least=0.9) is None
    assert recall("x = ║\n", "f(a)", "x = f║\n", least=0.9) is not None


def test_asking_for_alternatives_is_not_answered_by_the_one_that_was_shown() -> None:
    recent, at = Recent(), snapshot("x = ║\n")
    recent.add(remembered(KEY, at, shown(at, "a"), False))
    assert recent.answer(KEY, at, 0.0, invoked=True, most=3) is None
    several = Outcome("shown", tuple(shown(at, text).suggestions[0] for text in ("a", "b", "c")))
    recent.add(remembered(KEY, at, several, True))
    again = recent.answer(KEY, at, 0.0, invoked=True, most=3)
    assert again is not None and [one.text for one in again.suggestions] == ["a", "b", "c"]


def test_another_model_language_or_setting_is_another_question() -> None:
    recent, at = Recent(), snapshot("x = ║\n")
    recent.add(remembered(KEY, at, shown(at, "a"), False))
    assert recent.answer("rust", at, 0.0) is None


def test_the_store_is_bounded_and_the_youngest_wins() -> None:
    recent, at = Recent(), snapshot("x = ║\n")
    for number in range(2 * MOST):
        recent.add(remembered(KEY, at, shown(at, f"f({number})"), False))
    assert len(recent) == MOST
    answer = recent.answer(KEY, at, 0.0)
    assert answer is not None and answer.suggestions[0].text == f"f({2 * MOST - 1})"


# -- what is asked next


def test_acceptance_and_the_line_after_it() -> None:
    at = snapshot("if a:\n    f(║)\nz\n")
    there = accepted(at, shown(at, "b").suggestions[0])
    assert (there.document, there.start) == ("if a:\n    f(b)\nz\n", 14)
    line = next_line(there)
    assert line is not None
    assert (line.document, line.start) == ("if a:\n    f(b)\n    \nz\n", 19)
    assert next_line(snapshot("f(║)\n")) is None
    assert next_line(snapshot("if a:║\n")) is None, "the editor will indent more"
    crlf = next_line(snapshot("a\r\nb║\r\n"))
    assert crlf is not None and crlf.document == "a\r\nb\r\n\r\n"


@pytest.mark.parametrize(
    ("now", "towards"),
    [
        ("x = f\n", True),
        ("x = f()\n", True),
        ("x = f(a)\n", True),
        ("x = \n", True),
        ("x = g\n", False),
        ("x = f(a)b\n", False),
        ("y = f(a)\n", False),
        ("x =\n", False),
    ],
)
def test_which_changes_lead_to_the_acceptance(now: str, towards: bool) -> None:
    at = snapshot("x = ║\n")
    [one] = remembered(KEY, at, shown(at, "f(a)"), False)
    assert on_the_way(one, at.offset, at.text, now) == towards
