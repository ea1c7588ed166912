"""Which span the user gets at a cursor: the cases of `cases/*.txt`, and what holds for every text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midspan.grammars import Syntax, choose_span, syntax
from midspan.grammars.syntax import SMALL

from tests.fixture import parse, show

from .cases import Case, span_cases
from .documents import CODE, documents

CASES = span_cases()
TEN = ["python", "javascript", "typescript", "typescriptreact", "rust", "go", "java", "c", "cpp", "csharp"]


@pytest.mark.parametrize("language_id", TEN)
def test_each_of_the_ten_main_languages_has_twenty_cases(language_id: str):
    stories = [case.story for case in CASES if case.language_id == language_id]
    assert len(stories) == len(set(stories)) >= 20


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.language_id}: {case.story}")
def test_case(case: Case):
    text, cursor = case.fixture.text, case.fixture.start
    span = choose_span(Syntax.parse(text, case.language_id), cursor)
    if case.kind == "nothing":
        assert span is None, f"nothing should be offered, but {span}"
        return
    assert span is not None, "a span should be offered"
    assert (span.kind, span.max_tokens, case.role and span.role) == (case.kind, case.max_tokens, case.role)
    assert show(text, span.start, span.end) == show(text, cursor, case.fixture.end)
    assert span.single_line == (span.kind != "block")
    if span.kind in ("line", "block"):
        assert span.indent == case.indent


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.language_id}: {case.story}")
def test_a_case_reads_the_same_with_windows_line_ends(case: Case):
    text, cursor = case.fixture.text, case.fixture.start
    before = choose_span(Syntax.parse(text, case.language_id), cursor)
    cursor += text.count("\n", 0, cursor)
    after = choose_span(Syntax.parse(text.replace("\n", "\r\n"), case.language_id), cursor)
    if before is None or after is None:
        assert before is after
    else:
        assert (before.kind, before.max_tokens, before.indent) == (after.kind, after.max_tokens, after.indent)
        assert before.end - before.start == after.end - after.start


@pytest.mark.parametrize("case", [case for case in CASES if case.language_id in TEN], ids=lambda case: case.story)
def test_a_case_typed_into_a_large_file_reads_the_same_when_its_tree_is_not_waited_for(
    case: Case, monkeypatch: pytest.MonkeyPatch
):
    for limit in ("SETTLING_SECONDS", "REPARSE_SECONDS"):
        monkeypatch.setattr(syntax, limit, 60.0)  # not how fast this machine is
    code = CODE[case.language_id]
    far = code * (SMALL // len(code) // 2 + 1)
    opened = Syntax.parse(far + "\n" + far, case.language_id)
    assert opened.tree is not None
    at = len(far)
    for piece in case.fixture.text[: case.fixture.start], case.fixture.text[case.fixture.start :]:
        opened = opened.edited(at, at, piece)
        at += len(piece)
    at -= len(piece)
    expected = choose_span(Syntax.parse(opened.text, case.language_id), at)
    monkeypatch.setattr(syntax, "STANDING_SECONDS", -1.0)
    assert opened.standing is not opened
    assert choose_span(opened, at) == expected


@pytest.mark.parametrize("case", [case for case in CASES if case.kind != "nothing"], ids=lambda case: case.story)
def test_a_language_whose_grammar_is_missing_still_gets_spans(case: Case):
    span = choose_span(Syntax.parse(case.fixture.text, "no-such-language"), case.fixture.start)
    assert span is None or span.start == case.fixture.start


@pytest.mark.parametrize(
    ("language_id", "source", "kind"),
    [
        ("python", "x = 1  # counts ║", "comment"),
        ("python", "x = 1  # counts ║the lines", "comment"),
        ("python", 'name = "ada║"', "string"),
        ("python", 'def f():\n    """First.\n\n    ║\n    """', "string"),
        ("python", 'name = "ada║', "string"),
        ("rust", "/// Adds two ║\nfn add() {}", "comment"),
        ("c", "/* returns ║ */ int a;", "comment"),
    ],
)
def test_prose_is_filled_when_it_is_asked_for(language_id: str, source: str, kind: str):
    fixture = parse(source)
    syntax = Syntax.parse(fixture.text, language_id)
    assert choose_span(syntax, fixture.start) is None
    span = choose_span(syntax, fixture.start, prose=True)
    assert span is not None
    assert (span.kind, span.single_line) == (kind, True)
    assert show(fixture.text, span.start, span.end) == source


@pytest.mark.parametrize(
    ("language_id", "source", "role", "forbidden"),
    [
        ("python", "x = 1  # counts ║", "comment", ""),
        ("python", 'name = "ada║"', "string", '"'),
        ("python", "name = f'ada║'", "string", "'"),
        ("python", 'def f():\n    """First ║\n    """', "docstring", '"""'),
        ("rust", "/// Adds two ║\nfn add() {}", "docstring", ""),
        ("javascript", "/** Adds ║ */", "docstring", "*/"),
        ("c", "/* returns ║ */ int a;", "comment", "*/"),
        ("javascript", "const a = `ada ║`;", "string", "`"),
        ("lua", "--[[ the cursor ║ ]]", "comment", "]]"),
    ],
)
def test_prose_says_what_would_end_it(language_id: str, source: str, role: str, forbidden: str):
    fixture = parse(source)
    span = choose_span(Syntax.parse(fixture.text, language_id), fixture.start, prose=True)
    assert span is not None
    assert (span.role, span.forbidden) == (role, ("\n", "\r", *([forbidden] if forbidden else [])))


def test_a_line_break_is_forbidden_in_one_line_and_allowed_in_a_block():
    block = choose_span(Syntax.parse("def f():\n    ", "python"), 13)
    line = choose_span(Syntax.parse("x = ", "python"), 4)
    assert block is not None and line is not None
    assert (block.forbidden, line.forbidden) == ((), ("\n", "\r"))


def test_a_cursor_inside_a_line_break_or_a_surrogate_pair_gets_nothing():
    assert choose_span(Syntax.parse("a = 1\r\nb = 2\r\n", "python"), 6) is None
    assert choose_span(Syntax.parse("a = \ud83d\ude00", "python"), 5) is None


def test_a_carriage_return_alone_ends_a_line():
    text = "a = 1\r    b = \rc = 3\r"
    span = choose_span(Syntax.parse(text, "no-such-language"), 14)
    assert span is not None
    assert (span.kind, span.end, span.indent) == ("rest_of_line", 14, "    ")


@pytest.mark.parametrize(
    ("language_id", "source"),
    [
        ("python", "for item in items:║\n"),
        ("python", "def f(a):\n  while a:║\n  return a\n"),
        ("python", "if a:\n    b()\nelse:║\n"),
        ("python", "def f(\n    a,\n):║\n"),
        ("javascript", "for (const a of b) {║\n}\n"),
        ("javascript", "items.forEach((item) => {║\n});\n"),
        ("go", "func f() {║\n}\n"),
        ("c", "switch (a) {\n    case 1:║\n}\n"),
    ],
)
def test_at_the_end_of_a_header_without_a_body_the_body_is_begun(language_id: str, source: str):
    fixture = parse(source)
    span = choose_span(Syntax.parse(fixture.text, language_id), fixture.start)
    below = fixture.text[: fixture.start] + "\n" + fixture.text[fixture.start :]
    begun = choose_span(Syntax.parse(below, language_id), fixture.start + 1)
    assert span is not None and begun is not None
    assert (span.kind, span.lead, span.start, begun.lead) == ("block", "\n", fixture.start, "")
    assert (span.max_tokens, span.indent, span.role) == (begun.max_tokens, begun.indent, begun.role)


@pytest.mark.parametrize(
    ("language_id", "source"),
    [
        ("python", "for item in items:║\n    print(item)\n"),  # it has its body
        ("python", "if a: ║\n"),  # a body on the same line
        ("python", "names: list[str] = {║\n"),
        ("python", "pick = items[a:║\n"),
        ("python", "key = lambda a:║\n"),
        ("python", "count:║\n"),
        ("javascript", "const a = {║\n};\n"),
        ("javascript", "if (a) {║\n  b();\n}\n"),
        ("javascript", "if (a) {║}\n"),
        ("javascript", "const a = { b:║\n};\n"),
        ("yaml", "name:║\n"),
        ("ruby", "if ready║\n"),  # it may go on
        ("no-such-language", "Note:║\n"),
    ],
)
def test_no_body_is_begun_where_no_header_ends_or_it_has_one(language_id: str, source: str):
    fixture = parse(source)
    span = choose_span(Syntax.parse(fixture.text, language_id), fixture.start)
    assert span is None or (span.lead, span.single_line) == ("", True)


@given(documents(), st.data(), st.booleans())
def test_any_text_and_offset_gets_a_span_that_replaces_only_blanks_or_the_word_it_stands_in(
    document: tuple[str, str], data: st.DataObject, prose: bool
):
    language_id, text = document
    offset = data.draw(st.integers(-2, len(text) + 2))
    span = choose_span(Syntax.parse(text, language_id), offset, prose=prose)
    if span is None:
        return
    assert 0 <= span.start == offset <= span.end <= len(text)
    replaced = text[span.start : span.end]
    assert "\n" not in replaced and "\r" not in replaced
    assert re.fullmatch(r"[\w$]*\s*", replaced)
    if replaced.strip():
        assert re.fullmatch(r"[\w$]", text[offset - 1 : offset])
    assert not span.indent.strip(" \t")
    assert span.max_tokens in (16, 32, 64, 128)
    assert span.single_line or span.kind == "block"
