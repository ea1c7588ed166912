"""A missing line often declares what the lines below it use: what only who sees both sides can propose."""

from __future__ import annotations

import pytest
from midspan.engine.filling.openings.kinds import openings
from midspan.engine.filling.openings.line import Opening
from midspan.engine.filling.openings.locals import LOCAL


def local(prefix: str, suffix: str) -> list[Opening]:
    return [opening for opening in openings(prefix, suffix) if opening.kind == LOCAL]


def proposed(text: str) -> list[str]:
    """Openings for the gap at ║ that declare a local name."""
    return [opening.text for opening in local(*text.split("║"))]


def test_a_name_that_only_the_lines_below_use_is_declared() -> None:
    assert proposed("def f(xs):\n    n = 0\n    ║\n    for x in xs:\n        out.append(x)\n") == ["out ="]


def test_a_line_above_a_deeper_one_goes_through_the_items_it_uses() -> None:
    assert proposed("def f(xs):\n    out = []\n    ║\n        out.append(item)\n") == ["for item in"]
    assert proposed("def f(xs):\n    out = []\n║\n        out.append(item)\n") == ["    for item in"]


def test_a_file_is_followed_in_how_it_declares() -> None:
    text = "function f(a) {{\n  {} one = 1;\n  ║\n  return one + two;\n}}\n"
    assert proposed(text.format("const")) == ["const two ="]
    assert proposed(text.format("var")) == ["var two ="]
    assert proposed("func f() {\n\tone := 1\n\t║\n\treturn one + two\n}\n") == ["two :="]
    loop = "for (const a of b) {\n  go(a);\n}\nfunction f(rows) {\n  let n = 0;\n  ║\n    n += row;\n  }\n}\n"
    assert proposed(loop) == ["for (const row of"]


def test_the_indentation_that_is_not_there_yet_comes_along() -> None:
    text = "def f():\n    one = 1\n{}║\n    return two\n"
    assert proposed(text.format("")) == ["    two ="]
    assert proposed(text.format("    ")) == ["two ="]


@pytest.mark.parametrize(
    "text",
    [
        "def f(two):\n    one = 1\n    ║\n    return two\n",  # a parameter
        "two = 2\ndef f():\n    one = 1\n    ║\n    return two\n",  # the module's
        "from a import (\n    two,\n)\ndef f():\n    one = 1\n    ║\n    return two\n",
        "def f():\n    one = 1\n    ║\n    two = 3\n    return two\n",  # declared below
        "def f():\n    one = 1\n    ║\n    for two in one:\n        go(two)\n",
        "def f():\n    one = 1\n    ║\n    return max(one, key=two)\n".replace(
            "key=two", "two=one"
        ),  # an argument's name
        "def f():\n    one = 1\n    ║\n    return sum(two + three for two, three in one)\n",
        "def f():\n    one = 1\n    ║\n    one.two += 1\n",  # an attribute
        "def f():\n    one = 1\n    ║\n    two(one)\n",  # a function: it is elsewhere
        "def f():\n    one = 1\n    ║\n    return Two.three\n",  # a class
        "def f():\n    one = 1\n    ║\n    # two\n    return 'two'\n",
        "def f():\n    one = 1\n    ║\n\ndef g():\n    return two\n",  # another function's
        "def f():\n    one = 1\n    one = ║\n    return two\n",  # the line is begun
        "def f():\n    one = 1\n    ║ # \n    return two\n",
        'def f():\n    """Says\n    ║\n    what two does.\n    """\n    one = 1\n',
        "/**\n * const one = 1\n ║\n * what two does.\n */\nvar one = 1\n",
        "def f():\n    g()\n    ║\n    return two\n",  # nothing shows how a name is declared here
        "║",
    ],
)
def test_what_is_declared_elsewhere_or_is_no_name_is_not_proposed(text: str) -> None:
    assert proposed(text) == []


@pytest.mark.parametrize(
    ("use", "value"),
    [
        ("two.append(one)", "[]"),
        ("two += 1", "0"),
        ("two += 'x'", '""'),
        ("two *= one", "1"),
        ("go(two)\n    two += 1", "0"),
        ("return two", None),
        ("return two == 1", None),
    ],
)
def test_a_use_says_what_a_name_begins_as(use: str, value: str | None) -> None:
    (opening,) = local("def f(one):\n    three = 1\n    ", f"\n    {use}\n")
    assert opening.line == (f"two = {value}" if value else "")
    (opening,) = local("function f(one) {\n  let three = 1;\n  ", f"\n  {use};\n}}\n".replace("append", "push"))
    assert opening.line == (f"let two = {value};" if value else "")


def test_a_local_of_another_function_is_no_local_of_this_one() -> None:
    text = "def a():\n    out = []\n    return out\n\ndef b(xs):\n    ║\n    for x in xs:\n        out.append(x)\n"
    assert proposed(text) == ["out ="]


def test_a_name_that_becomes_what_it_was_and_more_was_something_before() -> None:
    assert proposed("def f(x):\n    one = 1\n    ║\n    while x:\n        two = x + two\n") == ["two ="]


def test_words_of_a_docstring_are_no_names() -> None:
    assert proposed('def f(x):\n    """Adds to two."""\n    one = 1\n    ║\n    two += x\n') == ["two ="]


def test_what_other_functions_use_without_declaring_it_is_global() -> None:
    text = "function a() {\n  return $two + two;\n}\nfunction b() {\n  var one = 1;\n  ║\n  return two;\n}\n"
    assert proposed(text) == []


def test_what_changes_below_is_no_constant() -> None:
    text = "function f(a) {\n  const one = 1;\n  ║\n  return one + two;\n}\n"
    assert proposed(text.replace("return one + two", "two += one")) == ["let two ="]
    assert proposed(text) == ["const two ="]


def test_a_header_over_several_lines_belongs_to_its_function() -> None:
    one, two = "def a(\n    one,\n) -> int:\n    return one\n\n\n", "def b(\n    xs,\n) -> int:\n    one = 1\n"
    text = one + two + "    ║\n    return two\n"
    assert proposed(text) == ["two ="]
