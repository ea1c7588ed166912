"""The pure parts of the pipeline."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midspan.grammars import Syntax
from midspan.lsp.complete import Snapshot, follow, line_ending

code = st.lists(st.sampled_from(["x", "= ", "(", ")", "\n", "    ", "def f():", "'é'", "😀", "\r\n"]), max_size=20).map(
    "".join
)


@settings(deadline=None)
@given(code, code)
def test_syntax_follows_the_text(before: str, after: str) -> None:
    syntax = follow(Syntax.parse(before, "python"), after, "python")
    assert syntax.text == after
    assert syntax.tree is not None
    assert str(syntax.tree.root_node) == str(Syntax.parse(after, "python").tree.root_node)  # type: ignore[union-attr]


def test_an_unchanged_text_is_not_parsed_again() -> None:
    syntax = Syntax.parse("x = 1\n", "python")
    assert follow(syntax, "x = 1\n", "python") is syntax


def test_a_snapshot_reads_as_if_the_chosen_item_were_accepted() -> None:
    snapshot = Snapshot("u", 1, "python", "a.appe()\n", 2, 6, "append")
    assert snapshot.text == "a.append()\n"
    assert snapshot.offset == 8


@pytest.mark.parametrize(
    ("text", "ending"),
    [("", "\n"), ("a", "\n"), ("a\nb\r\n", "\n"), ("a\r\nb\n", "\r\n"), ("a\rb", "\r"), ("\na", "\n")],
)
def test_new_lines_end_as_the_document_s_do(text: str, ending: str) -> None:
    assert line_ending(text) == ending
