"""A missing line is seen from both sides: what the code around it uses, repeats or leaves open says how it begins."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midspan.engine.filling.openings.kinds import KINDS, fitting, openings
from midspan.engine.filling.openings.shape import Surroundings


def proposed(text: str, *library: str) -> list[tuple[str, str]]:
    """Kind and text, or the whole line, of the openings for the gap at ║."""
    prefix, suffix = text.split("║")
    return [(opening.kind, opening.line or opening.text) for opening in openings(prefix, suffix, library)]


# --- imports


def test_a_name_that_is_used_and_not_declared_is_imported_from_where_its_neighbours_are() -> None:
    text = "from a import one\n║\nfrom b import zero\n\n\ndef f(x):\n    return zero(one(other(x)))\n"
    assert proposed(text)[0] == ("import", "from a import other")
    assert proposed(text.replace("other(x)", "x")) == []


def test_other_files_say_where_a_name_comes_from() -> None:
    text = "import re\n║\n\n\ndef f(x):\n    y = Path(x)\n    return re.sub(y)\n"
    assert proposed(text, "from pathlib import Path\n", "from c import d\n")[0] == (
        "import",
        "from pathlib import Path",
    )
    assert ("import", "import typing as t") in proposed(text.replace("Path", "t.cast"), "import typing as t\n")


def test_what_is_proposed_is_the_same_in_every_process() -> None:
    """Which of two equally frequent imports comes first must not hang on how this process hashes strings."""
    library = "".join(f"import urllib.{name}\n" for name in ("parse", "error", "request", "response", "robotparser"))
    call = f"openings('import sys\\n', '\\n\\n\\nurllib.x(sys)\\n', ({library!r}, 'import urllib\\n'))"
    program = f"from midspan.engine.filling.openings.kinds import openings; print({call})"
    said = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in "1234"
    }
    assert len(said) == 1 and b"urllib.parse" in said.pop()


def test_a_name_that_things_are_taken_from_is_a_module() -> None:
    assert proposed("import os\n║\n\n\ndef f(x):\n    return sys.path\n") == [("import", "import sys")]


@pytest.mark.parametrize(
    "use",
    [
        "def other(x):\n    pass\n",
        "other = 1\nprint(other)\n",
        "def f(a, other=((), ())):\n    return other\n",
        "def f(a):\n    return a.other\n",
        "def f(a):\n    return one(other=a)\n",
        "def f(a):\n    return [other for other in a]\n",
        "from c import (\n    other,\n)\nother()\n",
        "# other\nx = 'other'\n",
        "x = rb'' + f\"\"\n",
    ],
)
def test_what_is_declared_or_no_name_is_not_imported(use: str) -> None:
    assert proposed(f"from a import one\n║\n\n{use}one()\n") == []


def test_imports_of_javascript_come_from_other_files() -> None:
    text = "import { a } from './a'\n║\n\nexport function f(x) {\n  return a(b(x))\n}\n"
    assert proposed(text, "import { b } from './b'\n") == [("import", "import { b } from './b'")]


# --- what a function is given, what a class keeps


def test_a_name_that_only_the_body_uses_is_a_parameter() -> None:
    text = "def f(\n    one,\n    ║\n    three,\n):\n    return two + one + three\n"
    assert proposed(text) == [("parameter", "two")]
    assert proposed(text.replace("    ║", "║")) == [("parameter", "    two")]
    assert proposed("two = 2\n" + text) == []


def test_a_parameter_that_the_body_does_not_mention_is_kept_as_its_neighbour_is() -> None:
    text = "def __init__(self, one, two=None, six=0):\n    self.one = one\n    ║\n    return six\n"
    assert ("kept", "self.two = two") in proposed(text)
    call = "def f(one: int, two: int = 2):\n    return g(\n        one=one,\n        ║\n    )\n"
    assert proposed(call) == [("kept", "two=two,")]
    assert proposed(call.replace("return", "two()\n    return")) == []


def test_an_attribute_that_is_read_and_never_set_is_set() -> None:
    head = "class A:\n    def f(self):\n        self.one = 1\n        ║\n\n"
    text = head + "    def g(self):\n        return self.one + self.two\n"
    assert proposed(text) == [("attribute", "self.two")]
    assert proposed(text.replace("self.two", "self.f()")) == []
    assert proposed(text.replace("class A:\n", "class A:\n    two = 2\n")) == []


def test_what_is_called_and_nowhere_defined_is_defined() -> None:
    text = "class A:\n    def f(self):\n        return self.g(1)\n\n    ║\n        return x\n"
    assert proposed(text) == [("definition", "def g(")]
    assert proposed(text.replace("return self", "return await self")) == [("definition", "async def g(")]
    assert proposed("def f(x):\n    return g(x)\n\n\n║\n    return 1\n") == [("definition", "def g(")]
    assert proposed("def f(x):\n    return Kind.one\n\n\n║\n    one = 1\n") == [("definition", "class Kind")]


# --- what stands next to it


def test_a_line_between_two_that_differ_in_a_name_has_the_name_between_those() -> None:
    header = "def f(one: int, two: str = '', three: int = 0):\n"
    call = "    go(\n        one=one,\n        ║\n        three=three,\n    )\n"
    assert proposed(header + call)[0] == ("series", "two=two,")
    fields = "class A:\n    one: int\n    two: int\n    six: int\n\n"
    assert ("series", "g(self.two)") not in proposed(fields + "def f(a):\n    g(a.one)\n    ║\n    g(a.six)\n")
    assert ("series", "two: str") in proposed(fields + "class B:\n    one: str\n    ║\n    six: str\n")


@pytest.mark.parametrize(
    ("above", "below", "kind"),
    [
        ("    if x:\n        a()\n", "        b()\n", ["else:", "elif"]),
        ("    a()\n", "        b()\n    except ValueError:\n        c()\n", ["try:", "if"]),
        ("    try:\n        a()\n", "        b()\n", ["except"]),
        ("    a()\n", "        b()\n    else:\n        c()\n", ["if"]),
        ("    try:\n        a()\n", "        b()\n    else:\n        c()\n", ["except"]),
        ("    if x:\n        a()\n", "        b()\n    else:\n        c()\n", ["elif", "if"]),
    ],
)
def test_blocks_before_and_behind_say_what_opens_one(above: str, below: str, kind: list[str]) -> None:
    found = proposed(f"def f(x, a, b, c):\n{above}    ║\n{below}")
    assert [text for who, text in found if who == "block"] == kind


def test_no_block_is_opened_where_the_next_line_does_not_stand_further_in() -> None:
    assert proposed("def f(x):\n    if x:\n        a()\n    ║\n    b()\n") == []


def test_a_mark_without_its_pair_is_written() -> None:
    assert proposed('def f():\n    """Says\n    what.\n    ║\n    return 1\n') == [("quote", '"""')]
    assert proposed('def f():\n    """Says\n    what.\n║\n    return 1\n') == [("quote", '    """')]
    assert proposed('def f():\n    ║\n    what.\n    """\n    return 1\n') == [("quote", '"""')]
    assert proposed('def f():\n║\n    what.\n    """\n    return 1\n') == [("quote", '    """')]
    assert proposed('def f():\n    """Says\n    ║\n    what.\n    """\n    return 1\n') == []


def test_a_mark_that_is_left_open_elsewhere_is_not_closed_here() -> None:
    below = 'def g():\n    """Says\n    what.\n\n    return 1\n'
    assert proposed("def f():\n    a = 1\n    ║\n    return a\n\n\n" + below) == []
    assert not around("def f():\n    a = 1\n    ║\n    return a\n\n\n" + below).misfit("b = 1")
    assert proposed(below + "\n\ndef f():\n    a = 1\n    ║\n    return a\n") == []


# --- whether a text can stand there


def around(text: str) -> Surroundings:
    return Surroundings.of(*text.split("║"))


def test_what_the_next_line_does_not_allow_is_a_misfit() -> None:
    deeper = around("def f(x):\n    ║\n        return x\n")
    assert deeper.misfit("x = 1") and not deeper.misfit("if x:") and not deeper.misfit("go(")
    assert not deeper.misfit("if x:  # why")
    level = around("def f(x):\n    ║\n    return x\n")
    assert level.misfit("if x:") and not level.misfit("x = 1") and not level.misfit("")
    begun = around("def f(x):\n    if ║\n        return x\n")
    assert begun.misfit("x") and not begun.misfit("x:")
    assert not around("def f(x):\n    if ║:\n        return x\n").misfit("x")


def test_a_mark_that_stays_without_its_pair_is_a_misfit() -> None:
    inside = around('def f():\n    """Says\n    ║\n    return 1\n')
    assert inside.misfit("more.") and not inside.misfit('"""') and not inside.misfit('more."""')
    split = around('def f():\n    "║\n    what.\n    """\n')
    assert not split.misfit('""Says') and split.misfit("Says")


def test_repeating_a_neighbour_is_seen() -> None:
    both = around("a = 1\n║\n\nb = 2\n")
    assert both.repeats("a = 1") and both.repeats(" b = 2") and not both.repeats("c = 3")
    assert around("a = 1\na = ║\n").repeats("1")


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("def f(x):\n    ║\n    return x\n", False),
        ("def f(x):\n    ║\n\n\ndef g():\n", True),
        ("def f(x):\n    y = ║\n\n\ndef g():\n", True),
        ("def f(x):\n    y = x\n║\n\n\ndef g():\n", True),
        ("def f(x):\n    y = x\n║\n    return y\n", False),
        ("def f(x):\n    y = x\n\n\n║\n\n\ndef g():\n", False),
        ("def f(x):\n║\n\n\ndef g():\n", True),
        ("def f(x):\n    if x:\n║\n    return y\n", True),
        ("def f(x):\n    if x:\n║\n        return y\n", False),
        ("if (x) {\n  ║\n}\n", True),
        ("a = 1\n║\nb = 2\n", False),
        ("a = 1\n║", True),
        ("a = 1\nb║\n\n", True),
    ],
)
def test_the_last_line_of_a_block_is_seen(text: str, last: bool) -> None:
    assert around(text).last == last


def test_leaving_a_block_is_seen() -> None:
    gap = around("def f(x):\n    ║\n")
    assert gap.leaves("return x") and gap.leaves("break") and not gap.leaves("returned = x") and not gap.leaves("")
    begun = around("def f(x):\n    re║\n")
    assert begun.leaves("turn x") and not begun.leaves("return x")


def test_a_name_that_nothing_reads_is_seen_to_be_used() -> None:
    gap = around("def f(one, two):\n    three = one\n    ║\n    return one\n")
    assert gap.idle == {"two", "three"}
    assert gap.busies("go(two)") and not gap.busies("go(one)") and not gap.busies("a.two")
    assert around("def f(one, two):\n    three = ║\n    return three\n").idle == {"one", "two"}


# --- all of them


def test_an_opening_is_known_again_in_a_text() -> None:
    found = openings("def f(\n    one,\n    ", "\n):\n    return one + two\n")
    assert fitting(found, "two: int = 0,") == 0 == fitting(found, "two")
    assert fitting(found, "twofold: int") is None and fitting(found, "one") is None


code = st.lists(
    st.sampled_from(
        ["def f(a, b):", "class A:", "    self.a = a", "  if x:", "a, b = c", "import os", "(", '"""', "", "    "]
    )
    | st.text(max_size=20),
    max_size=12,
).map("\n".join)


@given(prefix=code, suffix=code, library=st.lists(code, max_size=2).map(tuple))
def test_any_text_is_read(prefix: str, suffix: str, library: tuple[str, ...]) -> None:
    for opening in openings(prefix, suffix, library):
        assert opening.kind in KINDS
        assert (opening.text or opening.line).strip() and "\n" not in opening.text + opening.line
        assert opening.fits(opening.line or opening.text)
    Surroundings.of(prefix, suffix).misfit(suffix)
