"""What a selection grows to. In each pair ║…╣ is what the user selected, and then what is rewritten."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midspan.grammars import Syntax, choose_selection

from tests.fixture import parse, show

from .documents import edits
from .samples import SAMPLES

CASES = [
    # language, what the user sees, kind, selected, rewritten
    ("python", "half a name is the name", "expression", "total = va║lu╣e + 1\n", "total = ║value╣ + 1\n"),
    ("python", "an operand stays one", "expression", "x = a + ║b * c╣\n", "x = a + ║b * c╣\n"),
    ("python", "half a product is the product", "expression", "x = a + b ║* c╣\n", "x = a + ║b * c╣\n"),
    ("python", "one argument", "expression", "f(first, ║sec╣ond, third)\n", "f(first, ║second╣, third)\n"),
    ("python", "two arguments of three", "list", "f(fir║st, sec╣ond, third)\n", "f(║first, second╣, third)\n"),
    ("python", "with its bracket, the whole list", "expression", "f║(first╣, second)\n", "f║(first, second)╣\n"),
    ("python", "a whole statement", "statements", "║x = f(a)╣\ny = 2\n", "║x = f(a)╣\ny = 2\n"),
    ("python", "the line break stays", "statements", "║x = f(a)\n╣y = 2\n", "║x = f(a)╣\ny = 2\n"),
    (
        "python",
        "two statements out of three, the indentation stays",
        "statements",
        "def f():\n    a = 1\n║    b = 2\n    c =╣ 3\n    d = 4\n",
        "def f():\n    a = 1\n    ║b = 2\n    c = 3╣\n    d = 4\n",
    ),
    (
        "python",
        "a header takes its body along",
        "statements",
        "a = 1\nfor x in ║y:\n    use(x)╣\n    more(x)\nb = 2\n",
        "a = 1\n║for x in y:\n    use(x)\n    more(x)╣\nb = 2\n",
    ),
    (
        "python",
        "over the end of a block, the block and what follows",
        "statements",
        "if a:\n    b = ║1\nc = 2╣\nd = 3\n",
        "║if a:\n    b = 1\nc = 2╣\nd = 3\n",
    ),
    (
        "python",
        "arguments on lines of their own",
        "list",
        "f(\n    fi║rst,\n    sec╣ond,\n    third,\n)\n",
        "f(\n    ║first,\n    second╣,\n    third,\n)\n",
    ),
    (
        "python",
        "nothing selected: the statement",
        "statements",
        "def f():\n    x = ║g(a)\n",
        "def f():\n    ║x = g(a)╣\n",
    ),
    ("python", "in its indentation", "statements", "def f():\n  ║  return 1\n", "def f():\n    ║return 1╣\n"),
    ("python", "at its end", "statements", "def f():\n    return 1║\n", "def f():\n    ║return 1╣\n"),
    ("python", "on a blank line there is nothing", "lines", "a = 1\n║\nb = 2\n", "a = 1\n║\nb = 2\n"),
    ("python", "words of a string are the string", "string", 'x = "the ║first╣ one"\n', 'x = ║"the first one"╣\n'),
    ("python", "a comment", "comment", "x = 1  # the ║first╣ one\n", "x = 1  ║# the first one╣\n"),
    (
        "python",
        "broken code is lines",
        "lines",
        "def f(:\n    x = = ║1\n    y╣ = 2\n",
        "def f(:\n    ║x = = 1\n    y = 2╣\n",
    ),
    (
        "python",
        "code broken elsewhere is whole here",
        "statements",
        "def g(:\n    pass\n\n\ndef f():\n    a = ║1\n    b╣ = 2\n    c = 3\n",
        "def g(:\n    pass\n\n\ndef f():\n    ║a = 1\n    b = 2╣\n    c = 3\n",
    ),
    ("javascript", "a call in a chain", "expression", "a.map(║f╣).filter(g);\n", "a.map(║f╣).filter(g);\n"),
    (
        "javascript",
        "statements in a callback",
        "statements",
        "on(() => {\n  a();\n  b║();\n  c()╣;\n  d();\n});\n",
        "on(() => {\n  a();\n  ║b();\n  c();╣\n  d();\n});\n",
    ),
    (
        "javascript",
        "properties of an object",
        "list",
        "const o = {\n  a: 1,\n  b║: 2,\n  c: 3╣,\n  d: 4,\n};\n",
        "const o = {\n  a: 1,\n  ║b: 2,\n  c: 3╣,\n  d: 4,\n};\n",
    ),
    (
        "typescript",
        "members of an interface",
        "statements",
        "interface P {\n  x: ║number;\n  y: num╣ber;\n  z: number;\n}\n",
        "interface P {\n  ║x: number;\n  y: number;╣\n  z: number;\n}\n",
    ),
    (
        "rust",
        "an arm is not its neighbours",
        "statements",
        "fn f() {\n    match n {\n        0 => ║a(),\n        1 => b╣(),\n        _ => c(),\n    }\n}\n",
        "fn f() {\n    match n {\n        ║0 => a(),\n        1 => b(),╣\n        _ => c(),\n    }\n}\n",
    ),
    (
        "go",
        "a result",
        "expression",
        "package a\n\nfunc f() int {\n\treturn ║a +╣ b\n}\n",
        "package a\n\nfunc f() int {\n\treturn ║a + b╣\n}\n",
    ),
    (
        "java",
        "nothing selected in a method",
        "statements",
        "class A {\n    void f() {\n        run(║a);\n        stop();\n    }\n}\n",
        "class A {\n    void f() {\n        ║run(a);╣\n        stop();\n    }\n}\n",
    ),
    (
        "c",
        "a parameter",
        "expression",
        "int f(int ║a╣, int b) { return a; }\n",
        "int f(int ║a╣, int b) { return a; }\n",
    ),
    (
        "c",
        "two statements on one line",
        "statements",
        "void f(void) { a(); ║b(); c╣(); d(); }\n",
        "void f(void) { a(); ║b(); c();╣ d(); }\n",
    ),
    (
        "csharp",
        "a whole member",
        "statements",
        "class A {\n    int x;\n    int ║F() {\n╣        return 1;\n    }\n    int y;\n}\n",
        "class A {\n    int x;\n    ║int F() {\n        return 1;\n    }╣\n    int y;\n}\n",
    ),
    ("no-such-language", "whole words", "expression", "my $to║tal = pri╣ce;\n", "my ║$total = price╣;\n"),
    ("no-such-language", "whole lines", "lines", "a\n  b ║c\n  d╣ e\nf\n", "a\n  ║b c\n  d e╣\nf\n"),
]


@pytest.mark.parametrize(("language", "story", "kind", "selected", "rewritten"), CASES, ids=lambda value: value[:40])
def test_case(language: str, story: str, kind: str, selected: str, rewritten: str):
    fixture = parse(selected)
    found = choose_selection(Syntax.parse(fixture.text, language), fixture.start, fixture.end)
    assert (show(fixture.text, found.start, found.end), found.kind) == (rewritten, kind), story


@pytest.mark.parametrize(("language", "story", "kind", "selected", "rewritten"), CASES, ids=lambda value: value[:40])
def test_a_case_reads_the_same_backwards_and_with_windows_line_ends(
    language: str, story: str, kind: str, selected: str, rewritten: str
):
    fixture = parse(selected.replace("\n", "\r\n"))
    found = choose_selection(Syntax.parse(fixture.text, language), fixture.end, fixture.start)
    assert (show(fixture.text, found.start, found.end), found.kind) == (rewritten.replace("\n", "\r\n"), kind), story


def test_the_indentation_is_that_of_the_line_it_begins_on():
    fixture = parse("def f():\n\tx = 1\n║\ty = 2\n\tz╣ = 3\n")
    found = choose_selection(Syntax.parse(fixture.text, "python"), fixture.start, fixture.end)
    assert found.indent == "\t"


def test_a_surrogate_pair_and_a_line_break_are_not_cut():
    text = "x = '\ud83d\ude00'\r\ny = 1\r\n"
    syntax = Syntax.parse(text, "no-such-language")
    found = choose_selection(syntax, 6, 9)
    assert (found.start, found.end) == (5, 8)


@settings(max_examples=200)
@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_any_selection_grows_and_begins_and_ends_with_code(language: str, data: st.DataObject):
    syntax = Syntax.parse(SAMPLES[language], language)
    for _ in range(data.draw(st.integers(0, 2))):
        syntax = syntax.edited(*data.draw(edits(syntax.text)))
    text = syntax.text
    start, end = data.draw(st.integers(-2, len(text) + 2)), data.draw(st.integers(-2, len(text) + 2))
    found = choose_selection(syntax, start, end)
    assert 0 <= found.start <= found.end <= len(text)
    low, high = sorted((min(max(start, 0), len(text)), min(max(end, 0), len(text))))
    selected = text[low:high]
    if selected.strip():
        assert found.start <= low + len(selected) - len(selected.lstrip())
        assert found.end >= low + len(selected.rstrip())
    rewritten = text[found.start : found.end]
    assert rewritten == rewritten.strip()
    for at in (found.start, found.end):
        assert text[max(0, at - 1) : at + 1] != "\r\n"
        assert not re.fullmatch("[\ud800-\udbff][\udc00-\udfff]", text[max(0, at - 1) : at + 1])
    assert not found.indent.strip(" \t")
