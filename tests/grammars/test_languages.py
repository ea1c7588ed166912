"""Every language has its grammar, or none and no harm; whatever is typed in whichever language, nothing raises."""

import re
import sys
from dataclasses import fields
from importlib.util import find_spec

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midspan.grammars import Syntax, bridge, choose_span, language_for
from midspan.grammars.bridge import load
from midspan.grammars.languages import LANGUAGES, LEXICAL, Language
from midspan.grammars.names import language_id

from .documents import TEXTS, edits
from .samples import SAMPLES

BRIDGED = sorted({row.id for row in LANGUAGES.values() if not row.wheel})
needs_bridge = pytest.mark.skipif(
    find_spec(bridge.PACKAGE) is None, reason="tree-sitter-languages is an optional extra"
)

# LSP 3.18, textDocument/TextDocumentItem, and what editors call the same languages.
IDS = """
abap bat bibtex c clojure coffeescript cpp csharp css d dart diff dockerfile elixir erlang fsharp git-commit git-rebase
go groovy handlebars haskell html ini jade java javascript javascriptreact json latex less lua makefile markdown
objective-c objective-cpp pascal perl perl6 php plaintext powershell pug python r razor ruby rust sass scala scss
shaderlab shellscript sql swift tex typescript typescriptreact vb xml xsl yaml
bash sh zsh cs tsx jsx jsonc cuda-cpp kotlin zig toml svelte vue terraform hcl julia ocaml elm fortran make proto cmake
nix
"""


def test_every_language_id_of_the_protocol_has_a_row():
    assert [name for name in IDS.split() if not language_for(name).known] == []
    assert language_for("Python") is language_for("python")
    assert not language_for("no-such-language").known


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("javascriptreact", "javascript"),
        ("tsx", "typescriptreact"),
        ("sh", "shellscript"),
        ("cs", "csharp"),
        ("objective-cpp", "objective-c"),
        ("jsonc", "json"),
        ("terraform", "hcl"),
    ],
)
def test_names_of_one_language_share_a_row(one: str, other: str):
    assert language_for(one) is language_for(other)


@pytest.mark.parametrize("language", sorted({row.id for row in (LANGUAGES | LEXICAL).values()}))
def test_a_row_is_sound(language: str):
    row = language_for(language)
    assert hash(row) == hash(row)
    assert all(isinstance(getattr(row, field.name), (str, bool, tuple, frozenset, type(None))) for field in fields(row))
    re.compile(row.header)
    for whole, broken in row.literals:
        re.compile(whole), re.compile(broken)
    assert not row.unit.strip(" \t")


@pytest.mark.parametrize("language", [name for name in sorted(SAMPLES) if name in LANGUAGES])
def test_whole_code_has_no_flaws(language: str):
    if not language_for(language).wheel and find_spec(bridge.PACKAGE) is None:
        pytest.skip("tree-sitter-languages is an optional extra")
    syntax = Syntax.parse(SAMPLES[language], language)
    assert syntax.tree is not None
    assert syntax.flaws == ()


@needs_bridge
@pytest.mark.parametrize("language", BRIDGED)
def test_the_long_tail_comes_through_the_bridge(language: str):
    row = language_for(language)
    grammar = row.grammar()
    assert grammar is not None
    named = row.statements | row.blocks | row.strings | row.comments | row.embedded
    assert [name for name in sorted(named) if grammar.id_for_node_kind(name, True) is None] == []


@needs_bridge
def test_the_bridge_does_not_import_the_package():
    assert load("", "perl") is not None
    assert bridge.PACKAGE not in sys.modules


@needs_bridge
def test_where_a_wheel_is_missing_the_bridge_steps_in():
    assert load("tree_sitter_that_is_not_installed", "python") is not None


@pytest.mark.parametrize(
    ("wheel", "bridged"),
    [
        ("tree_sitter_that_is_not_installed", ""),
        ("tree_sitter_python:no_such_function", ""),
        ("json", ""),
        ("json:dumps", ""),
        ("", "no_such_grammar"),
    ],
)
def test_a_grammar_that_cannot_be_loaded_is_no_grammar(wheel: str, bridged: str):
    assert load(wheel, bridged) is None


def test_without_the_extra_the_long_tail_is_read_as_text(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bridge, "_library", lambda: None)
    bridge._load.cache_clear()
    try:
        text = "sub add {\n    \n}\n"
        syntax = Syntax.parse(text, "perl")
        span = choose_span(syntax, 14)
        assert syntax.tree is None
        assert span is not None
        assert (span.kind, span.role, span.indent) == ("block", "function", "    ")
    finally:
        bridge._load.cache_clear()


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a/b/main.py", "", "python"),
        ("C:\\code\\Main.java", "", "java"),
        ("types.d.ts", "", "typescript"),
        ("View.TSX", "", "typescriptreact"),
        ("view.jsx", "", "javascriptreact"),
        ("Makefile", "", "makefile"),
        ("CMakeLists.txt", "", "cmake"),
        ("go.mod", "", "go.mod"),
        (".bashrc", "", "shellscript"),
        ("index.html.erb", "", "erb"),
        ("run", "#!/usr/bin/env -S python3.11 -u\nx", "python"),
        ("run", "#!/bin/bash\r\n", "shellscript"),
        ("run.rb", "#!/bin/bash\n", "ruby"),
        ("README", "text", "plaintext"),
        ("data.foo", "", "foo"),
        ("", "", "plaintext"),
    ],
)
def test_a_file_s_name_says_its_language(name: str, text: str, expected: str):
    assert language_id(name, text) == expected


@given(st.text(max_size=20), TEXTS)
def test_any_name_and_text_give_an_id(name: str, text: str):
    assert language_id(name, text)


@settings(max_examples=250)
@given(st.sampled_from(sorted(SAMPLES)), st.data(), st.booleans())
def test_random_edits_and_cursors_in_every_language(language: str, data: st.DataObject, prose: bool):
    syntax = Syntax.parse(SAMPLES[language], language)
    for _ in range(data.draw(st.integers(0, 2))):
        syntax = syntax.edited(*data.draw(edits(syntax.text)))
    text = syntax.text
    for offset in data.draw(st.lists(st.integers(0, len(text)), min_size=1, max_size=4)):
        span = choose_span(syntax, offset, prose=prose)
        if span is None:
            continue
        assert span.start == offset <= span.end <= len(text)
        assert not re.search(r"[\r\n]", text[span.start : span.end])
        assert text[offset - 1 : offset + 1] != "\r\n"
        assert not span.indent.strip(" \t")
        assert span.role
        assert span.single_line == ("\n" in span.forbidden)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("yaml", "- " * 300),
        ("yaml", "".join(" " * depth + "a:\n" for depth in range(300))),
        ("kotlin", '"${' * 1000),
        ("julia", '"$(' * 1000),
    ],
)
def test_text_that_kills_a_grammar_is_known(language: str, text: str):
    row = language_for(language)
    assert not row.survives(text.encode())
    assert not row.survives(("a: 1\n" + text + "\n").encode())
    assert row.survives(SAMPLES[language].encode())
    assert language_for("python").survives(text.encode())


def test_the_default_row_knows_nothing():
    row = Language("x")
    assert row.grammar() is None
    assert (row.known, row.line_comment, row.block_comment) == (False, "", None)
