"""What of an engine's text is shown, given what stands around it.

A case is a fixture whose ├…┤ is what is shown, and what the engine wrote; without ├…┤ nothing is, and the reason is
named. `block` and its indentation mean a span of several lines.
"""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from midspan.lsp.filters import postprocess as postprocess_module
from midspan.lsp.filters.postprocess import FILTERS, Surroundings, postprocess

from tests.fixture import Fixture, parse

words = st.text(alphabet="ab1 \n\t()[]{}'\":,.=#`\ufffd", max_size=12)
texts = st.lists(st.sampled_from(["a", "if x:", "f(", ")", "}", "\n", "    ", "\t", "  ", "```", "end", " = 1"])).map(
    "".join
)


def surroundings(
    fixture: Fixture, *, indent: str | None = None, block: bool = False, forbidden: tuple[str, ...] = ()
) -> Surroundings:
    above, _, before = fixture.prefix.rpartition("\n")
    rest, _, following = fixture.suffix.partition("\n")
    return Surroundings(
        before=before,
        replaced=fixture.text[fixture.start : fixture.end],
        rest=rest,
        following="\n" + following,
        single_line=not block,
        above=above,
        indent=indent,
        forbidden=forbidden,
    )


def shown(around: Surroundings, fill: str) -> str:
    text, reason = postprocess(fill, around)
    assert bool(text) != bool(reason)
    return text or reason


ONE_LINE = [
    ("x = ║├1┤", "1"),
    ("x = ║├1┤", "1\ny = 2"),
    # what is not text
    ("x = ║├na┤", "na\ufffdme"),
    ("x = ║├a┤", "a\x00b"),
    # a fence
    ("x = ║├1┤", "```python\n1\n```\nThat is all."),
    ("║├x = 1┤", "```\nx = 1\n```"),
    ("║├x = 1┤", "x = 1\n```\n"),
    # what is typed already
    ("print(║├a)┤", "print(a)"),
    ("    return ║├a┤", "    return a"),
    ("x = os.pa║├th.join(a)┤", "path.join(a)"),
    ("x = f(║├f(a)┤)", "f(a)"),
    ("x = a║├aa┤", "aa"),
    # the rest of the line
    ("f(║├a, b┤)", "a, b)"),
    ("f(║├a, b┤):", "a, b):"),
    ("f(║├g(a)┤)", "g(a)"),
    ("f(║├g(a)┤)", "g(a))"),
    ("a[║├b[0]┤]", "b[0]"),
    ('print("║├hello┤")', 'hello"'),
    ('print("║├hello┤")', 'hello")'),
    ('f(║├\'a\' + "b"┤")', "'a' + \"b\""),
    ("if ║├ready┤:", "ready:"),
    ("x = ║├2┤ + 1", "2 + 1"),
    ("x = ║├f(a)┤ + 1", "f(a) + 1"),
    ("f(║├()┤)", "()"),
    ("if (║├a┤) {", "a) { return 1; }"),
    # the lines below
    ("f = {\n    ║├}┤\n}", "}"),
    ("f(\n    a,\n    ║├b┤\n)", "b)"),
    ("f(\n    a,\n    ║├g(b)┤\n)", "g(b)"),
    ("f(g(\n    ║├b┤\n))", "b))"),
    ("a = 1\n║├b = 2┤\na = 1", "b = 2"),
    # the lines above: a word that was begun may end as the line above does
    ("assert a\nassert ║├a┤", "a"),
    ("[0, 0],\n║├[0, 0],┤\n", "[0, 0],"),
    # blanks
    ("x = ║├1┤", "1  \t"),
    ("x = ║├2 ┤+ 1", "2 "),
    # new after all
    ("x = ║├value┤val╣", "value"),
]

NOTHING = [
    ("x = ║", "\ny = 2", "blank"),
    ("x = ║", "\ufffd", "blank"),
    ("x = ║", "   ", "blank"),
    ("x = ║", "", "blank"),
    ("f(║)", ")", "blank"),
    ("x = ║", "```\n```", "blank"),
    ("x = 1\n║\ny = 2", "y = 2", "repeated_lines"),
    ("x = 1\n    ║\n\n    y = 2", "y = 2", "repeated_lines"),
    ("print(║)\nprint(a)", "a", "repeated_lines"),
    ("    pad()\n    ║\n", "pad()", "repeated_neighbours"),
    ("x = ║value╣", "value", "unchanged"),
]


@pytest.mark.parametrize(("place", "fill"), ONE_LINE)
def test_one_line(place: str, fill: str) -> None:
    fixture = parse(place)
    assert shown(surroundings(fixture), fill) == fixture.insertion


@pytest.mark.parametrize(("place", "fill", "reason"), NOTHING)
def test_nothing(place: str, fill: str, reason: str) -> None:
    assert shown(surroundings(parse(place)), fill) == reason


BLOCKS = [
    # story, indent, fixture, fill
    ("trailing blank lines go", "    ", "def f():\n    ║├x = 1\n    return x┤\n", "x = 1\n    return x\n\n\n"),
    ("blanks at the ends of lines go", "    ", "def f():\n    ║├x = 1\n    y = 2┤\n", "x = 1  \n    y = 2\t"),
    ("leading blank lines go", "    ", "def f():\n    ║├x = 1┤\n", "\n\n    x = 1\n"),
    ("a blank line within stays", "    ", "def f():\n    ║├x = 1\n\n    y = 2┤\n", "x = 1\n\n    y = 2\n"),
    # where the first line begins
    ("at the margin the indentation is added", "    ", "def f():\n║├    x = 1┤\n", "x = 1"),
    ("or is there", "    ", "def f():\n║├    x = 1\n    y = 2┤\n", "    x = 1\n    y = 2"),
    ("a text without any moves as a whole", "    ", "def f():\n║├    if x:\n        y()┤\n", "if x:\n    y()"),
    ("what was typed is not typed again", "    ", "def f():\n    ║├x = 1┤\n", "    x = 1"),
    (
        "what was indented twice moves back",
        "    ",
        "def f():\n    ║├if x:\n        y()\n    z()┤\n",
        "    if x:\n            y()\n        z()",
    ),
    (
        "what ends the block stays where it was written",
        "        ",
        "def f(a):\n    if a:\n        b()\n║├    else:\n        c()┤\n",
        "    else:\n        c()",
    ),
    ("a margin of no block above is mended", "    ", "def f(a):\n    b()\n║├    c()┤\n", "  c()"),
    ("in the tabs of the block it is in", "\t", "def f():\n\ta()\n║├\tb()┤\n", " " * 8 + "b()"),
    (
        "or of the one it goes back to",
        "\t\t",
        "def f(a):\n\tif a:\n\t\tb()\n║├\telse:\n\t\tc()┤\n",
        " " * 8 + "else:\n" + " " * 16 + "c()",
    ),
    ("on an empty line the block above goes on", "", "def f(a):\n    b()\n║├    return a┤\n", "    return a"),
    # the file's own indentation
    ("tabs, as the file has", "\t", "func f() {\n\tg()\n\t║├if x {\n\t\ty()\n\t}┤\n}", "if x {\n\t    y()\n\t}"),
    (
        "tabs for a text of spaces",
        "\t",
        "func f() {\n\tg()\n\t║├if x {\n\t\ty()\n\t}┤\n}",
        "if x {\n        y()\n    }",
    ),
    (
        "spaces for a text of tabs",
        "    ",
        "def f():\n    g()\n    ║├if x:\n        y()\n    z()┤\n",
        "if x:\n    \ty()\n\tz()",
    ),
    (
        "two columns for a text of four",
        "  ",
        "function f() {\n  g();\n  ║├if (x) {\n    y();\n  }┤\n}",
        "if (x) {\n      y();\n  }",
    ),
    (
        "four columns for a text of two",
        "    ",
        "def f():\n    g()\n    ║├if x:\n        for y in x:\n            y()\n    z()┤\n",
        "if x:\n      for y in x:\n        y()\n    z()",
    ),
    (
        "what is aligned stays aligned",
        "    ",
        "def f():\n    g()\n    ║├x = foo(a,\n            b)┤\n",
        "x = foo(a,\n            b)",
    ),
    # the end of the block
    ("a dedent ends it", "    ", "def f():\n    ║├return 1┤\n", "return 1\n\n\ndef g():\n    return 2\n"),
    ("also in braces", "  ", "function f() {\n  ║├return 1;┤\n}", "return 1;\n}\n\nfunction g() {\n  return 2;\n}"),
    (
        "a branch's end is not the block's",
        "    ",
        "def f():\n    ║├if x:\n        y()\n    z()┤\n",
        "if x:\n        y()\n    z()",
    ),
    (
        "a string's lines may begin anywhere",
        "    ",
        'def f():\n    ║├x = """\nyes\n"""\n    y()┤\n',
        'x = """\nyes\n"""\n    y()\nz()',
    ),
    (
        "so may the preprocessor's",
        "    ",
        "int f() {\n    ║├a();\n#ifdef B\n    b();\n#endif┤\n}",
        "a();\n#ifdef B\n    b();\n#endif",
    ),
    # the lines below
    ("the next line ends it", "    ", "def f():\n    ║├x = 1┤\n    return x\n", "x = 1\n    return x\n    y = 2"),
    (
        "the same words in a branch are no repetition",
        "    ",
        "def f():\n    ║├if a:\n        return x┤\n    return x\n",
        "if a:\n        return x\n    return x",
    ),
    (
        "an end of its own stays",
        "  ",
        "def f\n  ║├if a\n    b\n  end┤\nend\n",
        "if a\n    b\n  end",
    ),
    ("the block's own end does not", "  ", "def f\n  ║├b┤\nend\n", "b\nend"),
    ("nor its bracket", "    ", "f({\n    ║├a: 1,\n    b: 2,┤\n})", "a: 1,\n    b: 2,\n    })"),
    # tabs here and spaces there: a line deeper than its own begins as its own does
    (
        "a block of spaces in a file of tabs goes on in tabs from where it stands",
        "    ",
        "class A:\n\tx = 1\n\ty = 2\n\tz = 3\n\ndef f():\n    ║├if x:\n    \ty()\n    z()┤\n",
        "if x:\n        y()\n    z()",
    ),
    (
        "a block of tabs in a file of spaces stays as it is written",
        "\t",
        "def g():\n    x = 1\n    y = 2\n    z = 3\n\ndef f():\n\t║├if x:\n\t\ty()\n\tz()┤\n",
        "if x:\n\t\ty()\n\tz()",
    ),
    # over and over
    ("a loop of the model", "    ", "def f():\n    ║├x()\n    y()┤\n", "x()\n    y()\n    y()\n    y()\n    y()"),
]


@pytest.mark.parametrize(("story", "indent", "place", "fill"), BLOCKS, ids=[case[0] for case in BLOCKS])
def test_several_lines(story: str, indent: str, place: str, fill: str) -> None:
    fixture = parse(place)
    assert shown(surroundings(fixture, indent=indent, block=True), fill) == fixture.insertion, story


def every_case() -> list[tuple[Surroundings, str]]:
    one_line = [(surroundings(parse(place)), fill) for place, fill, *_ in (*ONE_LINE, *NOTHING)]
    blocks = [(surroundings(parse(place), indent=indent, block=True), fill) for _, indent, place, fill in BLOCKS]
    held = surroundings(parse('x = "║'), forbidden=("\n", '"'))
    again = surroundings(parse("def f():\n    a()\n    b()\n    ║\n"), indent="    ", block=True)
    return [*one_line, *blocks, (held, 'hello" + name'), (again, "a()\n    b()")]


@pytest.mark.parametrize("name", [step.__name__ for step in FILTERS])
def test_no_filter_can_be_left_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = every_case()
    kept = [postprocess(fill, around) for around, fill in cases]
    monkeypatch.setattr(postprocess_module, "FILTERS", tuple(step for step in FILTERS if step.__name__ != name))
    assert kept != [postprocess(fill, around) for around, fill in cases]


def test_lines_that_are_all_above_or_below_already() -> None:
    around = surroundings(parse("def f():\n    a()\n    b()\n    ║\n    return x\n"), indent="    ", block=True)
    assert shown(around, "return x") == "repeated_lines"
    assert shown(around, "a()\n    b()") == "repeated_neighbours"
    assert shown(around, "b()\n    a()") == "b()\n    a()"


def test_what_may_not_appear_ends_the_text() -> None:
    inside = surroundings(parse('x = "║'), forbidden=("\n", '"'))
    assert shown(inside, 'hello" + name') == "hello"
    assert shown(surroundings(parse("/* ║ */"), forbidden=("*/",)), "the end */ int a;") == "the end "


def test_a_document_with_fences_keeps_them() -> None:
    around = surroundings(parse("```\nx\n```\n\n║\n"), indent="", block=True)
    assert shown(around, "```python\ny = 1\n```") == "```python\ny = 1\n```"


def test_the_order_matters_where_it_is_argued() -> None:
    names = [step.__name__ for step in FILTERS]
    assert names.index("own_indentation") < names.index("within_block")
    # Read before its tabs are the file's spaces, the second line would look as if it left the block.
    around = surroundings(parse("def f():\n    g()\n        ║\n"), indent="        ", block=True)
    assert shown(around, "x()\n\t\ty()") == "x()\n        y()"


@given(words, words, words, words, words, st.booleans())
def test_filters_of_one_line_only_ever_take_away(
    above: str, before: str, rest: str, following: str, fill: str, single_line: bool
) -> None:
    around = Surroundings(
        before.replace("\n", ""), "", rest.replace("\n", ""), "\n" + following, single_line, above=above
    )
    for step in FILTERS:
        kept = step(fill, around)
        assert kept is None or len(kept) <= len(fill) or step.__name__ == "own_indentation"
    text, _ = postprocess(fill, around)
    assert text is None or (text.strip() and not (single_line and "\n" in text) and "\ufffd" not in text)


def margin(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def columns(line: str) -> int:
    return len(margin(line).expandtabs())


@example("\taa", "  ", "", "\ta", 0)
@example("\taa", "\t", "", " " * 8 + "a", 0)
@example(" " * 8 + "aa", "  ", "", "\ta", 0)
@given(texts, st.sampled_from(["", "  ", "    ", "\t"]), texts, texts, st.integers(0, 4))
def test_a_block_never_leaves_its_margin_nor_says_the_next_line(
    above: str, indent: str, following: str, fill: str, typed: int
) -> None:
    around = Surroundings(indent[:typed], "", "", "\n" + following, single_line=False, above=above, indent=indent)
    text, _ = postprocess(fill, around)
    if text is None:
        return
    assert text == text.rstrip(" \t\n")
    first, *others = (around.before + text).split("\n")
    least = columns(indent)
    if not first.startswith(indent):  # it belongs to another block, one open above, and is written as that is
        least = columns(first)
        assert least != columns(indent)
        assert margin(first) in [margin(line) for line in above.split("\n") if line.strip()]
    quoted = any(quote in text for quote in ('"""', "'''", "`"))
    for line in others:
        assert quoted or not line.strip() or columns(line) >= least
    below = [line for line in following.split("\n") if line.strip()]
    if below and re.search("[a-z]", below[0]):
        assert below[0] not in (first, *others)
