"""Copies say what a reader of the file would guess: the same line continued, the line that followed last time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midspan.engine.filling.copies import COPY, LIBRARY, SHORTEST_MATCH, Library, copies

from tests.fixture import parse


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


def borrowed(source: str) -> list[str]:
    """Drafts for the gap at ║ out of the other files of a fixture."""
    fixture = parse(source)
    return [draft.text for draft in Library(fixture.files.values()).copies(fixture.prefix, fixture.suffix)]


def test_another_file_continues_a_line_as_it_does_there() -> None:
    found = borrowed("""
        //- near.py
        parser.add_argument("--seed", type=int)
        //- here.py
        def options(parser):
            parser.add_argu║├ment("--seed", type=int)┤
        """)
    assert found == ['ment("--seed", type=int)']


def test_another_file_says_what_stands_between_the_same_lines() -> None:
    found = borrowed("""
        //- near.py
        def a():
            lock.acquire()
            use(lock)
            lock.release()
        //- here.py
        def b():
            lock.acquire()
            ║
            lock.release()
        """)
    assert found == ["use(lock)"]


def test_two_files_are_not_one() -> None:
    """The last line of one file and the first of the next are no neighbours."""
    assert Library(("first()", "second()")).copies("first()\n", "\n") == []
    assert Library(("first()", "second()")).copies("x\n", "\nsecond()\n") == []


def test_of_two_files_the_one_of_more_worth_is_looked_at_first() -> None:
    many = "".join(f"other.call(value_{n})\n" for n in range(100))
    assert Library(("own.call(mine)\n", many)).copies("this.call(", "\n")[0].text == "mine)"


@given(
    st.lists(st.text("ab (\n", max_size=40), max_size=3), st.text("ab (\n", max_size=30), st.text("ab )\n", max_size=30)
)
def test_a_library_gives_what_the_same_text_in_the_file_would(texts: list[str], prefix: str, suffix: str) -> None:
    for draft in Library(texts).copies(prefix, suffix):
        assert any(draft.text.strip() in text for text in texts)
        assert "\n" not in draft.text and "\0" not in draft.text
        assert draft.match >= SHORTEST_MATCH and draft.source == LIBRARY
    assert all(draft.source == COPY for draft in copies(prefix, suffix))
