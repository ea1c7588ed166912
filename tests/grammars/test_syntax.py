"""Parsing, incremental parsing and positions."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midspan.grammars import Syntax, language_for
from midspan.grammars import syntax as syntax_module
from midspan.grammars.languages import LANGUAGES, Language
from midspan.grammars.offsets import STRIDE, Offsets, encode
from tree_sitter import Parser, Tree

from .documents import CODE, TEXTS, documents, edits


def point(data: bytes, byte: int) -> tuple[int, int]:
    return data.count(b"\n", 0, byte), byte - data.rfind(b"\n", 0, byte) - 1


def shape(tree: Tree | None) -> list[tuple]:
    """Every node: depth, kind, whether ERROR and MISSING, first and last byte and their places."""
    assert tree is not None
    nodes: list[tuple] = []
    cursor = tree.walk()
    while True:
        node = cursor.node
        assert node is not None
        place = (node.start_byte, node.end_byte, node.start_point, node.end_point)
        nodes.append((cursor.depth, node.type, node.is_error, node.is_missing, *place))
        if cursor.goto_first_child() or cursor.goto_next_sibling():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return nodes


def assert_equals_a_fresh_parse(syntax: Syntax) -> None:
    language, grammar = syntax.language, syntax.language.grammar()
    assert syntax.data == (encode(syntax.text) if grammar else b"")
    if grammar is None or syntax.tree is None:
        assert grammar is syntax.tree or language.hazard  # after a hazard no parse is tried for a while
        return
    fresh = Parser(grammar).parse(syntax.data)
    for _, _, _, _, first, last, first_point, last_point in shape(syntax.tree):
        assert (first_point, last_point) == (point(syntax.data, first), point(syntax.data, last))
    if fresh.root_node.has_error:
        # Recovery may settle on another of several bad trees when it starts from an old one.
        assert syntax.tree.root_node.has_error
        assert shape(syntax.tree)[0] == shape(fresh)[0]
    else:
        assert shape(syntax.tree) == shape(fresh)


@pytest.mark.parametrize("language_id", sorted(LANGUAGES))
def test_every_row_of_the_table_has_its_grammar_and_names_only_nodes_of_it(language_id: str):
    language = language_for(language_id)
    grammar = language.grammar()
    assert grammar is not None
    named = language.statements | language.blocks | language.strings | language.comments | language.embedded
    assert [name for name in sorted(named) if grammar.id_for_node_kind(name, True) is None] == []


@pytest.mark.parametrize("language_id", sorted(CODE))
def test_whole_code_has_no_flaws(language_id: str):
    assert Syntax.parse(CODE[language_id], language_id).flaws == ()


def test_a_missing_wheel_means_no_tree(monkeypatch: pytest.MonkeyPatch):
    row = language_for("python")
    monkeypatch.setitem(LANGUAGES, "python", type(row)("python", "tree_sitter_that_is_not_installed"))
    assert Syntax.parse("x = 1\n", "python").tree is None


def test_a_language_id_is_found_in_any_case_and_an_unknown_one_has_no_tree():
    assert language_for("Python") is language_for("python")
    assert Syntax.parse("x = 1\n", "no-such-language").edited(0, 1, "y").tree is None


def test_a_text_above_the_cap_has_no_tree_until_it_shrinks():
    text = "x = 1\n" * (syntax_module.MAX_BYTES // 6 + 1)
    large = Syntax.parse(text, "python")
    assert large.tree is None
    assert large.edited(0, 0, "y").tree is None
    small = large.edited(6, len(text), "")
    assert small.text == "x = 1\n"
    assert shape(small.tree) == shape(Syntax.parse("x = 1\n", "python").tree)
    assert small.edited(0, 0, text).tree is None


def test_a_parse_that_takes_too_long_is_given_up_and_tried_again_later(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(syntax_module, "PARSE_SECONDS", 0.0)
    syntax = Syntax.parse("x = 1\n" * 1000, "python")
    assert syntax.tree is None
    monkeypatch.undo()
    n_edits = 0
    while syntax.tree is None and n_edits < 100:
        syntax = syntax.edited(0, 0, "y")
        n_edits += 1
    assert 1 < n_edits < 100
    assert shape(syntax.tree) == shape(Syntax.parse(syntax.text, "python").tree)


def test_text_that_would_take_minutes_to_parse_is_given_up():
    # The time Python's scanner takes for continued lines grows with their square.
    assert Syntax.parse("\\\n" * 40_000, "python").tree is None


def test_an_edit_outside_the_text_is_refused():
    syntax = Syntax.parse("abc", "python")
    for start, end in [(-1, 0), (0, 4), (2, 1)]:
        with pytest.raises(ValueError, match="outside a text of 3"):
            syntax.edited(start, end, "x")


def test_an_edit_leaves_the_version_before_as_it_was():
    before = Syntax.parse(CODE["python"], "python")
    shape_before = shape(before.tree)
    after = before.edited(10, 20, "😀(((")
    assert after.tree is not None
    assert (before.text, shape(before.tree)) == (CODE["python"], shape_before)
    assert before == Syntax.parse(CODE["python"], "python") != after


def test_a_burst_of_edits_is_parsed_once_from_the_tree_before_it(monkeypatch: pytest.MonkeyPatch):
    started_from: list[Tree | None] = []
    run = syntax_module._run

    def recorded(language: Language, data: bytes, old: Tree | None) -> Tree | None:
        started_from.append(old)
        return run(language, data, old)

    monkeypatch.setattr(syntax_module, "_run", recorded)
    syntax = Syntax.parse(CODE["python"], "python")
    assert syntax.flaws == ()
    for letter in "abc":
        syntax = syntax.edited(len(syntax.text), len(syntax.text), letter)
    assert syntax.flaws == ()
    assert [old is not None for old in started_from] == [False, True]


@pytest.mark.parametrize("language_id", sorted(CODE))
@settings(max_examples=30)
@given(st.data())
def test_typing_at_the_end_of_words_equals_a_fresh_parse(language_id: str, data: st.DataObject):
    syntax = Syntax.parse(CODE[language_id], language_id)
    ends = [match.end() for match in re.finditer(r"\w+", syntax.text)]
    cursor = data.draw(st.sampled_from(ends))
    for _ in range(data.draw(st.integers(1, 6))):
        _ = data.draw(st.booleans()) and syntax.tree
        new = data.draw(st.sampled_from([*"xyé_1 .,()=#", "\\", '"', "\r", "name(a)", ": ", "\n", "\n        x"]))
        syntax = syntax.edited(cursor, cursor, new)
        cursor += len(new)
    assert_equals_a_fresh_parse(syntax)


NESTED = """\
class A:
    def f(self):
        for a in b:
            if a:
                return 1  # one

            # two
    async def g(self):
        try:
            x = [1,
                 2]
        except E:
            pass


@a
def h(): return "s"

y = h(1)
"""


@settings(max_examples=200)
@given(st.data(), st.sampled_from(["\n", "\r\n"]))
def test_python_typed_at_the_ends_of_its_lines_equals_a_fresh_parse(data: st.DataObject, ending: str):
    syntax = Syntax.parse(NESTED.replace("\n", ending) * 2, "python")
    for _ in range(data.draw(st.integers(1, 4))):
        _ = data.draw(st.booleans()) and syntax.tree
        ends = [match.start() for match in re.finditer(r"\r?\n", syntax.text)]
        at = data.draw(st.sampled_from(ends))
        back = data.draw(st.sampled_from([0, 0, 0, 1, 3, 12]))
        new = data.draw(
            st.sampled_from(["v", ")", "x()", " + 1", f"{ending}        v", f"{ending}    ", "", ":", "é", "# c"])
        )
        start = max(0, at - back)
        syntax = syntax.edited(start, at, new)
    assert_equals_a_fresh_parse(syntax)


class CountingParser:
    """Counts the bytes a parse asks for."""

    asked = 0

    def __init__(self, grammar: Any) -> None:
        self._parser = Parser(grammar)

    def parse(self, read: Any, **options: Any) -> Tree:
        def counted(byte: int, place: Any) -> bytes:
            CountingParser.asked += 256
            return read(byte, place)[:256]

        return self._parser.parse(counted, **options)


@pytest.mark.parametrize("typed", ["v", ")", "\n        v", "\n", " + 1"])
def test_typing_at_the_end_of_a_block_reads_a_small_part_of_the_file_again(typed: str, monkeypatch: pytest.MonkeyPatch):
    method = "    def f(self, a):\n        if a:\n            return g(a)\n        return [a]\n\n"
    text = ("class A:\n" + method * 10 + "\n") * 60
    syntax = Syntax.parse(text, "python")
    assert syntax.flaws == ()
    at = text.index("return [a]", len(text) // 4) + len("return [a]")
    typing = syntax.edited(at, at, typed)
    monkeypatch.setattr(syntax_module, "Parser", CountingParser)
    CountingParser.asked = 0
    assert typing.tree is not None
    assert CountingParser.asked < len(text) // 5


@pytest.mark.parametrize("language", ["python", "typescript", "rust", "yaml"])
def test_the_tree_that_an_edit_starts_from_is_the_parser_s_own(language: str):
    text = CODE[language] * (1 + syntax_module.SMALL // len(CODE[language]))
    syntax = Syntax.parse(text, language)
    _ = syntax.tree
    grammar = syntax.language.grammar()
    assert grammar is not None and len(syntax.data) > syntax_module.SMALL
    edited = syntax.edited(len(text), len(text), "")
    assert shape(edited.earlier) == shape(edited.tree) == shape(Parser(grammar).parse(syntax.data))


@settings(max_examples=300)
@given(st.data(), documents(), st.booleans())
def test_an_incremental_tree_equals_a_fresh_parse(data: st.DataObject, document: tuple[str, str], looks: bool):
    language_id, text = document
    syntax = Syntax.parse(text, language_id)
    _ = syntax.tree
    for _ in range(data.draw(st.integers(1, 4))):
        if looks:
            _ = syntax.tree  # each version is parsed, or only the last of a burst of edits
        start, end, new = data.draw(edits(syntax.text))
        expected = syntax.text[:start] + new + syntax.text[end:]
        syntax = syntax.edited(start, end, new)
        assert syntax.text == expected
    assert_equals_a_fresh_parse(syntax)


@given(TEXTS, TEXTS)
def test_encoding_pieces_equals_encoding_the_whole(left: str, right: str):
    data = encode(left + right)
    assert encode(left) + encode(right) == data
    assert data.decode() == re.sub("[\ud800-\udfff]", "\ufffd", left + right)


@given(st.data())
def test_offsets_convert_both_ways_after_edits(data: st.DataObject):
    # Long runs, so that marks lie before, inside and behind the edits.
    runs = st.lists(st.sampled_from(["a" * STRIDE, "é" * (STRIDE + 7), "😀" * 900, "\ud800", "x\n"]), max_size=5)
    text = data.draw(runs.map("".join))
    offsets = Offsets.of(text, encode(text))
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, len(text)))
        new = data.draw(runs.map("".join))
        text, old = text[:start] + new + text[end:], text
        offsets = offsets.edited(text, encode(text), start, end, new)
        assert old[:start] == text[:start]
    for point in {0, len(text), *(data.draw(st.integers(0, len(text))) for _ in range(4))}:
        byte = len(encode(text[:point]))
        assert offsets.byte(point) == byte
        assert offsets.point(byte) == point
        if point < len(text):
            inside = byte + len(encode(text[point])) - 1
            assert offsets.point(inside) == point
    assert offsets.byte(-5) == offsets.point(-5) == 0
    assert (offsets.byte(len(text) + 5), offsets.point(len(offsets.data) + 5)) == (len(offsets.data), len(text))
