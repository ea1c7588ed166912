"""What is blamed for a fill that broke the code. ‹…› marks what is suspect, ‹› a place where something is missing."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midspan.grammars import Syntax, new_errors
from midspan.grammars.repair import culprits

from tests.fixture import parse

from .documents import TEXTS, documents, edits

BLAMED = [
    ("python", "x = ║├max‹(›a, b‹›┤\n"),
    ("python", "x = ║├max(a)‹)›┤\n"),
    ("python", "x = foo(║├a, ‹(›b‹›┤)\n"),
    ("python", "x = foo(║├a‹)›, b┤)\n"),
    ("python", 'x = ║├‹"›abc‹›┤\ny = 1\n'),
    ("python", "def f():\n    ║├x = 1\n‹      ›y = 2┤\n    return x\n"),
    ("python", "def f():\n    if x:\n        ║├y = 1\n‹   ›z = 2┤\n    return x\n"),
    ("python", "def f():\n    ║├if x:\n‹    ›y = 2┤\n    return x\n"),
    ("python", "def f():\n    ║├y = 2\n    if x:‹›┤\n    return x\n"),
    ("python", "x = a ║├‹+›‹›┤\n"),
    ("python", "😀 = 1\n数 = ║├max‹(›é, b‹›┤\n"),
    ("javascript", "foo(║├a, b‹(›‹›┤);\n"),
    ("javascript", "function f() {\n  ║├if (a) ‹{›‹›┤\n}\n"),
    ("rust", "fn main() {\n    let a = ║├1‹›┤\n}\n"),
    ("java", "class A {\n    int f() {\n        ║├return 1‹›┤\n    }\n}\n"),
    ("c", "int f(void) {\n    ║├int a = 1‹›┤\n    return a;\n}\n"),
    ("cpp", "class A {\n    ║├int x‹(›;‹›┤\n};\n"),
    ("json", '{"a": ║├‹[›1, 2‹›┤}\n'),
    ("no-such-language", "print (║├a, ‹(›b‹›┤)\n"),
    ("no-such-language", "print ((a)\nsay (║├b‹]›┤)\n"),
]

# Where a parser gives up differs between grammars and their versions: the mark must be among what is blamed, no more.
TOUCHED = [
    ("python", "x = ║├‹=› 1┤\n"),
    ("python", "x = [1, ║├‹for› a┤]\n"),
    ("python", "x = ║├‹if›┤\n"),
    ("python", 'def f():\n    ║├‹print "a"›┤\n'),
    ("python", "def f():\n    ║├f() ‹=› 1┤\n"),
    ("python", "f(║├a=1, ‹b›┤)\n"),
    ("javascript", "const a = ║├b ‹+ ;›┤\n"),
    ("rust", "fn main() {\n    ║├‹let let a› = 1;┤\n}\n"),
    ("typescript", "let a: ║├‹= 1›┤;\n"),
    ("go", "func f() {\n\t║├‹a := (›1┤\n}\n"),
    ("json", '{"a": ║├[‹1 2›]┤}\n'),
]


def blame(source: str, language_id: str) -> str:
    fixture = parse(re.sub("[‹›]", "", source))
    before = Syntax.parse(fixture.text, language_id)
    fill = fixture.insertion or ""
    after = before.edited(fixture.start, fixture.end, fill)
    for start, end in reversed(culprits(before, after, fixture.start, fixture.start + len(fill))):
        fill = f"{fill[:start]}‹{fill[start:end]}›{fill[end:]}"
    return fill


@pytest.mark.parametrize(("language_id", "source"), BLAMED)
def test_what_is_blamed(language_id: str, source: str):
    marked = re.search("├(.*)┤", source, re.DOTALL)
    assert marked
    assert blame(source, language_id) == marked[1]


@pytest.mark.parametrize(("language_id", "source"), BLAMED)
def test_the_same_far_down_in_a_large_file(language_id: str, source: str):
    lead = {"python": "def g():\n    return [1]\n\n\n", "javascript": "g([1]);\n", "json": ""}.get(language_id, "")
    marked = re.search("├(.*)┤", source, re.DOTALL)
    assert marked
    if lead:
        assert blame(lead * 400 + source + lead * 400, language_id) == marked[1]


@pytest.mark.parametrize(("language_id", "source"), TOUCHED)
def test_what_is_among_the_blamed(language_id: str, source: str):
    fixture = parse(re.sub("[‹›]", "", source))
    marked = re.search("├(.*)‹(.*)›", source, re.DOTALL)
    assert marked
    low, high = len(marked[1]), len(marked[1]) + len(marked[2])
    before, fill = Syntax.parse(fixture.text, language_id), fixture.insertion or ""
    after = before.edited(fixture.start, fixture.end, fill)
    found = culprits(before, after, fixture.start, fixture.start + len(fill))
    assert any(start <= high and end >= low for start, end in found)


def test_a_sound_fill_has_no_culprits():
    assert blame("x = ║├max(a, b)┤\n", "python") == "max(a, b)"


@given(documents(), st.data(), TEXTS)
def test_culprits_are_ranges_of_the_fill_and_there_are_some_exactly_when_it_is_broken(
    document: tuple[str, str], data: st.DataObject, fill: str
):
    language_id, text = document
    before = Syntax.parse(text, language_id)
    start, end, _ = data.draw(edits(text))
    after = before.edited(start, end, fill)
    stop = start + len(fill)
    found = culprits(before, after, start, stop)
    assert bool(found) == bool(new_errors(before, after, start, stop))
    assert all(0 <= first <= last <= len(fill) for first, last in found)
    assert found == sorted(set(found))
    assert all(one[1] <= other[0] for one, other in pairwise(found))
