"""Whether a fill broke the code, in whole files and in broken ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midspan.grammars import Syntax, choose_span, new_errors
from midspan.grammars.check import SyntaxError_

from tests.fixture import Fixture, parse

from .cases import Case, span_cases
from .documents import TEXTS, documents, edits


def errors_of(fixture: Fixture, language_id: str) -> list[SyntaxError_]:
    before = Syntax.parse(fixture.text, language_id)
    fill = fixture.insertion or ""
    after = before.edited(fixture.start, fixture.end, fill)
    return new_errors(before, after, fixture.start, fixture.start + len(fill))


@pytest.mark.parametrize(
    "case",
    [case for case in span_cases() if case.fixture.insertion is not None],
    ids=lambda case: f"{case.language_id}: {case.story}",
)
def test_the_expected_fill_of_a_span_case_breaks_nothing(case: Case):
    assert errors_of(case.fixture, case.language_id) == []


SOUND = [
    ("python", "x = ║├max(a, b)┤\n"),
    ("python", "x = foo(a║├, b)┤\ny = 1\n"),
    ("python", "for x in items:\n    ║├if x:┤\n"),  # a header may wait for its body
    ("python", "def broken(:\n    pass\n\n\ndef f(a):\n    return ║├a + 1┤\n"),
    ("python", "x = (1,\ny = ║├2┤\nz = 3\n"),
    ("python", "total = ║├1┤\n\n\nclass A(\n    def f(self: pass\n"),
    ("python", "x = ║├longer_than_before┤\ny = 2\nz = = 3\n"),
    ("javascript", "const a = ║├b + 1;┤\n"),
    ("javascript", "let a = f(║├b;┤\nlet c = 1;\n"),  # as open as it was
    ("javascript", "function f() { // begins\n  ║├run();┤\n"),
    ("javascript", "function f() {\n  if (a) {\n    ║├run();┤\n"),
    ("javascript", "let a = = 2;\nfunction f() {\n  return ║├a;┤\n}\n"),
    ("typescript", "let a: number = ║├1┤;\n"),
    ("rust", "fn main() {\n    let a = ║├1;┤\n}\n"),
    ("rust", "fn broken( {\n}\n\nfn main() {\n    let a = ║├vec![1];┤\n}\n"),
    ("go", "func f() {\n\ta := ║├1┤\n}\n"),
    ("java", "class A {\n    int f() {\n        return ║├1;┤\n    }\n}\n"),
    ("c", "int f(void) {\n    int a = ║├1;┤\n}\n"),
    ("cpp", "class A {\n    ║├int x;┤\n"),
    ("json", '{"a": ║├[1, 2]┤}\n'),
    ("no-such-language", "print (║├a, (b)┤)\n"),
    ("no-such-language", "print ((a)\nsay (║├b┤)\n"),
    ("no-such-language", "say (║├longer┤)\nprint a)\n"),
]

BROKEN = [
    ("python", "x = ║├max(a, b┤\n"),
    ("python", "x = ║├max(a))┤\n"),
    ("python", "x = foo(║├a, (b┤)\n"),
    ("python", "x = ║├= 1┤\n"),
    ("python", "def f():\n    ║├return return┤\n    x = 1\n"),
    ("python", 'x = ║├"abc┤\ny = 1\n'),
    ("python", "def broken(:\n    pass\n\n\ndef f(a):\n    return ║├a + (1┤\n"),
    ("python", "x = (1,\ny = ║├2)]┤\nz = 3\n"),
    (
        "python",
        'def f(a, b):\n    if x:\n        return foo(x, b=1)\n    else"a":\n        ║├.()return ┤pass\n\n\n'
        "class A:\n    def g(self): return self.x + 1\n",
    ),
    ("python", "x = 1\ny = f(a)\n = ║├]2┤\n"),
    ("javascript", "const a = ║├b + ;┤\n"),
    ("javascript", "function f() {\n  ║├if (a) {┤\n}\n"),
    ("javascript", "foo(║├a, b(┤\n"),
    ("typescript", "let a: ║├= 1┤;\n"),
    ("rust", "fn main() {\n    let a = ║├1┤\n}\n"),
    ("rust", "fn main() {\n    ║├let let a = 1;┤\n}\n"),
    ("go", "func f() {\n\t║├a := (1┤\n}\n"),
    ("java", "class A {\n    int f() {\n        ║├return 1┤\n    }\n}\n"),
    ("c", "int f(void) {\n    ║├int a = 1┤\n    return a;\n}\n"),
    ("cpp", "class A {\n    ║├int x(;┤\n};\n"),
    ("json", '{"a": ║├[1, 2┤}\n'),
    ("no-such-language", "print (║├a, (b┤)\n"),
    ("no-such-language", "print (║├a [b┤)\n"),
    ("no-such-language", 'say ║├"hello┤\n'),
    ("no-such-language", "print ((a)\nsay (║├b]┤)\n"),
]


@pytest.mark.parametrize(("language_id", "source"), SOUND)
def test_a_sound_fill_has_no_new_errors(language_id: str, source: str):
    assert errors_of(parse(source), language_id) == []


@pytest.mark.parametrize(("language_id", "source"), BROKEN)
def test_a_broken_fill_has_new_errors(language_id: str, source: str):
    fixture = parse(source)
    found = errors_of(fixture, language_id)
    assert found
    assert all(0 <= error.start <= error.end <= len(fixture.filled) for error in found)
    assert all(error.kind in ("error", "missing", "unbalanced") for error in found)


def test_an_error_is_placed_in_code_points():
    found = errors_of(parse("s = '😀数é'\nx = ║├= 1┤\n"), "python")
    assert any(error.start <= 14 <= error.end for error in found)


def test_a_fill_whose_parse_is_given_up_is_an_error_where_there_was_none():
    before = Syntax.parse("x = 1\n", "python")
    after = before.edited(6, 6, "\\\n" * 20_000)
    assert before.flaws == () and after.tree is None
    assert [error.kind for error in new_errors(before, after, 6, len(after.text))] == ["error"]


@given(documents())
def test_an_edit_that_changes_nothing_has_no_new_errors(document: tuple[str, str]):
    language_id, text = document
    syntax = Syntax.parse(text, language_id)
    assert new_errors(syntax, syntax, 0, len(text)) == []
    assert new_errors(syntax, syntax.edited(0, 0, ""), 0, 0) == []


@given(documents(), st.data())
def test_repairing_a_text_has_no_new_errors(document: tuple[str, str], data: st.DataObject):
    language_id, text = document
    whole = Syntax.parse(text, language_id)
    start, end, new = data.draw(edits(text))
    hurt = whole.edited(start, end, new)
    repaired = hurt.edited(start, start + len(new), text[start:end])
    if whole.tree is not None and not whole.flaws:
        assert new_errors(hurt, repaired, start, end) == []


@given(documents(), st.data(), st.integers(-3, 60), st.integers(-3, 60))
def test_any_text_edit_and_range_can_be_checked(document: tuple[str, str], data: st.DataObject, start: int, end: int):
    language_id, text = document
    before = Syntax.parse(text, language_id)
    first, last, new = data.draw(edits(text))
    after = before.edited(first, last, new)
    for low, high in [(first, first + len(new)), (start, end)]:
        for error in new_errors(before, after, low, high):
            assert 0 <= error.start <= error.end <= len(after.text)
    if before.tree is not None and after.tree is not None and not after.flaws:
        assert new_errors(before, after, first, first + len(new)) == []


@given(documents(), st.data(), TEXTS)
def test_a_fill_that_breaks_a_whole_text_is_always_found(document: tuple[str, str], data: st.DataObject, fill: str):
    language_id, text = document
    before = Syntax.parse(text, language_id)
    offset = data.draw(st.integers(0, len(text)))
    span = choose_span(before, offset)
    if before.tree is None or before.flaws or span is None:
        return
    after = before.edited(span.start, span.end, fill)
    found = new_errors(before, after, span.start, span.start + len(fill))
    assert bool(found) == (after.tree is None or bool(after.flaws))
