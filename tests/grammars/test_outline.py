"""What a document defines and imports, in every main language, whole or broken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midspan.grammars import Syntax
from midspan.grammars.languages import LANGUAGES
from midspan.grammars.outline import outline, signature, words_near
from midspan.grammars.tags import TAGS
from tree_sitter import Query

SECTIONS = re.split(r"^#### (\w+)\n", (Path(__file__).parent / "outlines.txt").read_text(encoding="utf-8"), flags=re.M)
CASES = {language: tuple(case.split("----\n")) for language, case in zip(SECTIONS[1::2], SECTIONS[2::2], strict=True)}


def told(source: str, language: str) -> str:
    """Imports, by their first line, and signatures, as the cases write them."""
    syntax = Syntax.parse(source, language)
    found = outline(syntax)
    imports = ["import " + syntax.text[start:end].split("\n")[0] for start, end in found.imports]
    signatures = [signature(syntax, one) for one in found.definitions if not one.local]
    return "\n".join([*imports, *signatures]) + "\n"


@pytest.mark.parametrize("language", CASES)
def test_signatures_say_how_to_use_what_is_defined(language: str) -> None:
    if LANGUAGES[language].grammar() is None:
        pytest.skip("no grammar for it here")
    source, expected = CASES[language]
    assert told(source, language) == expected


@pytest.mark.parametrize("language", TAGS)
def test_every_query_fits_its_grammar(language: str) -> None:
    grammar = LANGUAGES[language].grammar()
    if grammar is None:
        pytest.skip("no grammar for it here")
    Query(grammar, TAGS[language])


@pytest.mark.parametrize("language", ["python", "typescript", "rust", "go", "java", "c"])
def test_what_is_broken_hides_only_itself(language: str) -> None:
    source, _ = CASES[language]
    names = {one.name for one in outline(Syntax.parse(source, language)).definitions}
    broken = {one.name for one in outline(Syntax.parse(source + "\n(((\n", language)).definitions}
    assert len(broken & names) >= len(names) - 1


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(CASES)), st.integers(0, 600), st.integers(0, 40), st.text("(){}\n é😀\"':", max_size=6))
def test_ranges_are_those_of_the_text_whatever_it_is(language: str, start: int, length: int, new: str) -> None:
    source, _ = CASES[language]
    syntax = Syntax.parse("é😀\n" + source[:start] + new + source[start + length :], language)
    found = outline(syntax)
    assert outline(syntax) is found
    for one in found.definitions:
        assert 0 <= one.start <= one.body <= one.end <= len(syntax.text)
        assert one.name in syntax.text[one.start : one.end]
        assert signature(syntax, one)
    assert all(0 <= start <= end <= len(syntax.text) for start, end in found.imports)


@pytest.mark.parametrize("language", ["plaintext", "json", "markdown", "no-such-language"])
def test_what_has_no_definitions_has_an_empty_outline(language: str) -> None:
    assert outline(Syntax.parse("def f(): pass\n", language)).definitions == ()


def test_functions_in_functions_are_nobody_else_s() -> None:
    found = outline(Syntax.parse("def f():\n    def g(): pass\nclass C:\n    def h(self): pass\n", "python"))
    assert [(one.name, one.depth, one.local) for one in found.definitions] == [
        ("f", 0, False),
        ("g", 1, True),
        ("C", 0, False),
        ("h", 1, False),
    ]
    assert [one.name for one in found.named("h")] == ["h"] and list(found.named("g")) == []


def test_names_near_a_place_come_nearest_first_and_without_the_line_being_typed() -> None:
    text = "far()\nabove(x)\ntyped.half\nbelow\n"
    assert words_near(text, text.index("half") + 2, 1) == ["above", "x", "below"]
    assert words_near(text, text.index("half"), 9)[-1] == "far"
    assert words_near("", 0, 3) == []
