"""The fixture notation itself."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.fixture import parse, show

PLAIN = st.text(st.characters(exclude_characters="║├┤╣", codec="utf-8"))


def test_the_cursor_alone_replaces_nothing():
    fixture = parse("ab║cd")
    assert (fixture.text, fixture.start, fixture.end, fixture.insertion) == ("abcd", 2, 2, None)


def test_an_insertion_is_not_part_of_the_text():
    fixture = parse("add(║├a, ┤b)")
    assert (fixture.text, fixture.start, fixture.end) == ("add(b)", 4, 4)
    assert fixture.insertion == "a, "
    assert fixture.filled == "add(a, b)"


def test_what_is_replaced_is_part_of_the_text():
    fixture = parse("print(val║├ue)┤_x)╣  # end")
    assert (fixture.text, fixture.start, fixture.end) == ("print(val_x)  # end", 9, 12)
    assert (fixture.prefix, fixture.suffix, fixture.filled) == ("print(val", "  # end", "print(value)  # end")


def test_an_empty_insertion_is_not_the_same_as_none():
    assert parse("a║├┤b").insertion == ""


def test_positions_count_code_points():
    assert parse("s = '😀║'").start == 6


def test_other_files_stand_beside_the_one_with_the_cursor():
    fixture = parse("""
        //- src/shape.py
        def area(w, h):
            return w * h
        //- src/main.py
        area(║├2, 3┤)
        //- empty.py
        """)
    assert (fixture.path, fixture.text) == ("src/main.py", "area()\n")
    assert fixture.files == {"src/shape.py": "def area(w, h):\n    return w * h\n", "empty.py": ""}


def test_an_indented_block_loses_the_indentation_its_lines_share():
    assert (
        parse("""
        def f():
            ║

        f()
        """).text
        == "def f():\n    \n\nf()\n"
    )


def test_a_one_line_source_keeps_every_blank():
    assert parse("    x = ║ ").text == "    x =  "


@pytest.mark.parametrize(
    "source",
    [
        "no cursor",
        "two ║ cursors ║",
        "a ├fill┤ without a cursor",
        "a cursor ║ apart from its ├fill┤",
        "an open ║├fill",
        "a closed ║fill┤",
        "an end ╣ before the cursor ║",
        "two ends ║ a ╣ b ╣",
        "//- a.py\na ║\n//- b.py\nb ║\n",
        "text before\n//- a.py\na ║\n",
    ],
)
def test_a_source_that_is_no_fixture_is_refused(source: str):
    with pytest.raises(ValueError, match=r"fixture|marks|stands before"):
        parse(source)


@given(PLAIN, PLAIN, PLAIN)
def test_show_writes_what_parse_reads(prefix: str, replaced: str, suffix: str):
    # A leading line break would ask for the indentation to be taken away.
    text = "#" + prefix + replaced + suffix
    assume("//-" not in text)
    start = 1 + len(prefix)
    fixture = parse(show(text, start, start + len(replaced)))
    assert (fixture.text, fixture.start, fixture.end) == (text, start, start + len(replaced))
