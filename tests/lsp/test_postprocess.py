"""What of an engine's text is shown, given what stands around it.

In the cases ║ is the cursor, which the fill is inserted at, and «…» what it replaces.
"""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midspan.lsp.postprocess import FILTERS, Surroundings, postprocess

words = st.text(alphabet="ab1 \n\t()[]{}'\":,.=#\ufffd", max_size=12)


def surroundings(place: str, *, single_line: bool = True) -> Surroundings:
    before, after = place.split("║")
    line, _, following = after.partition("\n")
    replaced = re.match("«(.*)»", line)
    return Surroundings(
        before=before.rpartition("\n")[2],
        replaced=replaced[1] if replaced else "",
        rest=line[replaced.end() :] if replaced else line,
        following="\n" + following,
        single_line=single_line,
    )


@pytest.mark.parametrize(
    ("place", "fill", "shown"),
    [
        ("x = ║", "1", "1"),
        # one line
        ("x = ║", "1\ny = 2", "1"),
        ("x = ║", "\ny = 2", "blank"),
        # what is not text
        ("x = ║", "na\ufffdme", "na"),
        ("x = ║", "a\x00b", "a"),
        ("x = ║", "\ufffd", "blank"),
        # the rest of the line
        ("f(║)", "a, b)", "a, b"),
        ("f(║):", "a, b):", "a, b"),
        ("f(║)", "g(a)", "g(a)"),
        ("f(║)", "g(a))", "g(a)"),
        ("a[║]", "b[0]", "b[0]"),
        ('print("║")', 'hello"', "hello"),
        ('print("║")', 'hello")', "hello"),
        ('f(║")', "'a' + \"b\"", "'a' + \"b\""),
        ("if ║:", "ready:", "ready"),
        ("x = ║ + 1", "2 + 1", "2"),
        ("x = ║ + 1", "f(a) + 1", "f(a)"),
        ("f(║)", ")", "blank"),
        ("f(║)", "()", "()"),
        # the lines below
        ("x = 1\n║\ny = 2", "y = 2", "repeated_lines"),
        ("x = 1\n    ║\n\n    y = 2", "y = 2", "repeated_lines"),
        ("f = {\n    ║\n}", "}", "}"),
        # blanks
        ("x = ║", "1  \t", "1"),
        ("x = ║+ 1", "2 ", "2 "),
        ("x = ║", "   ", "blank"),
        ("x = ║", "", "blank"),
        # nothing new
        ("x = ║«value»", "value", "unchanged"),
        ("x = ║«val»", "value", "value"),
    ],
)
def test_shown(place: str, fill: str, shown: str) -> None:
    text, reason = postprocess(fill, surroundings(place))
    assert (text or reason) == shown
    assert bool(text) != bool(reason)


def test_lines_of_a_block_that_stand_below_are_dropped() -> None:
    around = surroundings("def f():\n    ║\n    return x\n", single_line=False)
    assert postprocess("x = 1  \n    y = 2\n    return x", around) == ("x = 1\n    y = 2", "")
    assert postprocess("return x", around) == (None, "repeated_lines")


@given(words, words, words, words, st.booleans())
def test_filters_only_ever_take_away(before: str, rest: str, following: str, fill: str, single_line: bool) -> None:
    around = Surroundings(before.replace("\n", ""), "", rest.replace("\n", ""), "\n" + following, single_line)
    for step in FILTERS:
        kept = step(fill, around)
        assert kept is None or len(kept) <= len(fill)
    text, _ = postprocess(fill, around)
    assert text is None or (text.strip() and not (single_line and "\n" in text) and "\ufffd" not in text)
