"""Whether a fill broke the code, in whole files and in broken ones."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midspan import grammars
from midspan.grammars import Syntax, choose_span, new_errors
from midspan.grammars.check import SyntaxError_
from midspan.grammars.compare import compare
from midspan.grammars.window import LIMIT, window

from tests.fixture import Fixture, parse

from .cases import Case, span_cases
from .documents import CODE, TEXTS, documents, edits


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
    ("javascript", "let a = f(║├b;┤\nlet c = 1;\n"),  # ends the statement that was still open
    ("cpp", "int f() {\n  if (x) {\n    ║├f(a);┤0') g();\n    else { b(); }\n  }\n}\n"),
    ("csharp", "class A {\n    void F(int x, int y║├) y┤ x ^= y; y ^= x; }\n    void G() { }\n}\n"),
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


# tree-sitter lets all of these pass.
REFUSED = [
    "def f(a):\n    ║├x = 1\n      y = 2┤\n    return x\n",
    "def f(a):\n    if a:\n        ║├x = 1\n   y = 2┤\n    return x\n",
    "def f(a):\n    ║├for x in a:\n    y = 2┤\n    return x\n",
    "def f(a):\n    ║├y = 2\n    if a:┤\n    return y\n",
    "def f(a):\n    ║├    x = 1┤\n    return a\n",
    'def f(a):\n    ║├print "x"┤\n',
    "def f(a):\n    return f(a=1, ║├a┤)\n",
    "def f(a):\n    return f(a=1, ║├a=2┤)\n",
    "def f(a):\n    ║├a, b += 1┤\n",
    "def f(a=1, ║├b┤):\n    pass\n",
    "def f(a, ║├a┤):\n    pass\n",
    "x = 1\n║├return x┤\n",
    "class A:\n    ║├return 1┤\n    x = 2\n",
    "def f(a):\n    ║├break┤\n",
    "for x in y:\n    ║├x := 1┤\n",
    "def f(a):\n    return ║├0777┤\n",
    "async def f(a):\n    def g():\n        ║├await a┤\n",
]

ACCEPTED = [
    "def f(a):\n    ║├if a:┤\n    return 1\n",  # a header may wait for its body
    "def f(a):\n    ║├if a:  # why┤\n    return 1\n",
    "def f(a):\n    ║├# a comment┤\n    return 1\n",
    "def f(a):\n    x = 1\n    def g():\n        ║├nonlocal x┤\n        x = 2\n",
    "async def f(a):\n    for b in a:\n        ║├await b┤\n",
    "def f(a):\n    while a:\n        if a:\n            ║├break┤\n",
    "def f(a):\n    ║├return a┤\n",
    "def f(a):\n    match a:\n        case 1:\n            ║├return a┤\n",
    "def f(a):\n    try:\n        ║├return a┤\n    finally:\n        pass\n",
    "def f(a):\n    if a:\n        ║├return a\n    else:\n        pass┤\n",
    'def f(a):\n    x = "\\d"\n    return ║├a is 1┤\n',  # warnings are not errors
    "def f(a):\n  print 1\n  return ║├a┤\n",  # was refused before
    "def f(a):\n\tif a:\n\t\t║├return a┤\n",
    "class A:\n    def f(a):\n        return 1\n\n    ║├def g(self): return 1┤\n\n\nx = 1\n",
]

FAR = "class Far:\n" + "    def g(self, a):\n        return [a]\n\n" * 200 + "\n"


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("around", ["", FAR], ids=["alone", "in a large file"])
@pytest.mark.parametrize("source", REFUSED)
def test_what_python_refuses_is_an_error_though_tree_sitter_lets_it_pass(source: str, around: str, ending: str):
    source = (around + source + "\n\n" + around).replace("\n", ending)
    found = errors_of(parse(source), "python")
    assert [error.kind for error in found] == ["refused"]
    assert 0 <= found[0].start <= found[0].end <= len(parse(source).filled)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("around", ["", FAR], ids=["alone", "in a large file"])
@pytest.mark.parametrize("source", ACCEPTED)
def test_what_python_accepts_is_none(source: str, around: str, ending: str):
    assert errors_of(parse((around + source + "\n\n" + around).replace("\n", ending)), "python") == []


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize(("margin", "found"), [("    ", ["refused"]), ("        ", [])])
def test_an_edit_may_reach_over_its_line_s_break(ending: str, margin: str, found: list[str]):
    text = "def f(a):\n    y = a\n    for x in a:\n        y = x\n    return a\n".replace("\n", ending)
    fill = f"for z in a:\n{margin}y = z\n".replace("\n", ending)
    before, start = Syntax.parse(text, "python"), text.index("for")
    after = before.edited(start, text.index("    return"), fill)
    assert [error.kind for error in new_errors(before, after, start, start + len(fill))] == found


LOOP = "async def f(a):\n    while a:\n", "        x = g(a)\n"
BODY = "def f(a):\n    if a:\n", "        x = g(a)\n"
CLASS = "class A:\n", "    x = 1\n"


@pytest.mark.parametrize(
    ("block", "fill", "sound"),
    [
        *[(LOOP, fill, True) for fill in ("break", "await a", "return a", "if a:\n            break", "# no code")],
        *[(BODY, fill, fill == "return a") for fill in ("break", "await a", "return a")],
        *[(CLASS, fill, fill == "y = 2") for fill in ("break", "await a", "return a", "y = 2", "  y = 2")],
        (BODY, "return a\n    else:\n        pass", True),  # a clause of the header far above
        (BODY, "x = 2\n    return a", False),
    ],
)
def test_deep_inside_of_a_long_block_its_headers_count(block: tuple[str, str], fill: str, sound: bool):
    header, line = block
    source = header + line * 400 + line[: -len(line.lstrip())] + f"║├{fill}┤\n" + line * 400
    assert (errors_of(parse(source), "python") == []) == sound


FILLS = st.sampled_from(
    [
        *[
            "x",
            "f(a)",
            "f(a",
            "a)",
            "[1, 2",
            "return a",
            "x = = 1",
            "if a:",
            "else:",
            "a +",
            "'s",
            "lambda: 1",
            "def g():",
        ],
        *[
            "x = 1\n        y = 2",
            "if a:\n            b",
            "for a in b:\n        c",
            "return\n\ndef g():\n    pass",
            "# c",
        ],
    ]
)


@given(st.data(), FILLS)
def test_the_statements_around_an_edit_say_what_the_whole_file_says(data: st.DataObject, fill: str):
    text = (CODE["python"] + "\n\n" + FAR) * 3
    whole = Syntax.parse(text, "python")
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.sampled_from([start, text.find("\n", start) if "\n" in text[start:] else start]))
    near = window(whole, start, end)
    assert near is not None and len(near.syntax.text) < 2 * LIMIT
    after = whole.edited(start, end, fill)
    cut = near.syntax.edited(start - near.shift, end - near.shift, fill)
    place = start - near.shift, end - near.shift, start - near.shift + len(fill)
    assert bool(compare(near.syntax, cut, *place)) == bool(compare(whole, after, start, end, start + len(fill)))


# What opens a deep block, a statement of it, what closes it.
DEEP = {
    "javascript": (
        "class A {\n  async g(x) {\n    if (x) {\n",
        "      f(await x, [1, 2], () => { return 3; });\n",
        "    }\n  }\n}\n",
    ),
    "typescript": (
        "namespace N {\n  class A {\n    g(x: T): void {\n",
        "      const a: T[] = f(x, [1, 2]);\n",
        "    }\n  }\n}\n",
    ),
    "rust": (
        "impl A {\n    fn g(&self) {\n        match x {\n",
        "            1 => { f(a, [1, 2]); }\n",
        "        }\n    }\n}\n",
    ),
    "go": ("func f() {\n\tfor {\n\t\tif x {\n", "\t\t\ta = f(x, []int{1, 2})\n", "\t\t}\n\t}\n}\n"),
    "java": (
        "class A {\n    void g() {\n        while (x) {\n",
        "            a = f(x, b[1]);\n",
        "        }\n    }\n}\n",
    ),
    "c": (
        "#ifdef A\nint g(int x) {\n    do {\n",
        "        a = f(x, b[1]);\n",
        "    } while (x);\n}\n#endif\n",
    ),
    "cpp": (
        "namespace n {\nclass A : B {\n  int g() {\n",
        "    auto a = f(x, {1, 2}, [&] { return 3; });\n",
        "  }\n};\n}\n",
    ),
    "csharp": (
        "namespace N\n{\n    class A\n    {\n        void G()\n        {\n",
        "            a = f(x, b[1]);\n",
        "        }\n    }\n}\n",
    ),
    "css": ("@media a {\n  @media b {\n", "    a, b > c { color: red; }\n", "  }\n}\n"),
}
BRACED_FILLS = st.sampled_from(
    [
        *["x", "f(a)", "f(a", "a)", "[1, 2", "x = = 1;", "a +", "x;", "}", "{", "{}", "} {", ");", ") {", "// c"],
        *["/* c", "x;\n}", "if (a) {", "if (a) {\n  b;\n}", "} else {", "});\n", "'", '"s', "x; }\n  y; {"],
        *["case 1:", "return"],
    ]
)


@pytest.mark.parametrize("language_id", sorted(DEEP))
@settings(max_examples=30)
@given(st.data(), BRACED_FILLS)
def test_what_is_cut_out_of_a_file_of_braces_says_what_the_whole_file_says(
    language_id: str, data: st.DataObject, fill: str
):
    opening, line, closing = DEEP[language_id]
    text = CODE[language_id] + (opening + line * 150 + closing) * 2
    whole = Syntax.parse(text, language_id)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.sampled_from([start, text.find("\n", start) if "\n" in text[start:] else start]))
    near = window(whole, start, end)
    if near is None or choose_span(whole, start) is None:
        return  # in a string: what an edit opens there, a string far below may close
    assert len(near.syntax.text) < 2 * LIMIT
    after = whole.edited(start, end, fill)
    cut = near.syntax.edited(start - near.shift, end - near.shift, fill)
    place = start - near.shift, end - near.shift, start - near.shift + len(fill)
    assert bool(compare(near.syntax, cut, *place)) == bool(compare(whole, after, start, end, start + len(fill)))


def test_what_a_header_is_replaced_by_is_judged_with_the_block_below_it():
    opening, line, closing = DEEP["csharp"]
    text = opening + line * 150 + closing
    # `x { void G() … }` is no property; cut out without the method it would be one.
    assert errors_of(parse(text.replace("class A", "║├x┤class A╣")), "csharp")


@pytest.mark.parametrize("language_id", sorted(DEEP))
def test_deep_inside_of_a_file_of_braces_a_small_part_of_it_is_looked_at(language_id: str):
    opening, line, closing = DEEP[language_id]
    text = CODE[language_id] + opening + line * 400 + closing + CODE[language_id]
    for at in (len(text) // 3, len(text) // 2):
        start = text.index("\n", at)
        near = window(Syntax.parse(text, language_id), start, start)
        assert near is not None and len(near.syntax.text) < 2 * LIMIT


@pytest.mark.parametrize("path", sorted(Path(grammars.__file__).parent.glob("*.py")), ids=lambda path: path.name)
def test_what_stands_in_a_real_file_is_never_refused(path: Path):
    text, rng = path.read_text(encoding="utf-8"), random.Random(0)
    for _ in range(12):
        cursor = rng.randrange(len(text))
        end = text.find("\n", cursor) if "\n" in text[cursor:] else len(text)
        before = Syntax.parse(text[:cursor] + text[end:], "python")
        span = choose_span(before, cursor)
        if span is not None and span.end == cursor:
            after = before.edited(cursor, cursor, text[cursor:end])
            assert new_errors(before, after, cursor, end) == [], text[cursor:end]


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
        found = new_errors(before, after, first, first + len(new))
        assert all(error.kind == "refused" for error in found)


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
    broken = [error for error in found if error.kind != "refused"]
    assert bool(broken) == (after.tree is None or bool(after.flaws))
