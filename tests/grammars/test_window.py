"""A large text whose tree takes longer than a request should wait: what is read around the cursor instead."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midspan.grammars import Syntax, choose_span, new_errors, syntax
from midspan.grammars.outline import outline
from midspan.grammars.syntax import SMALL
from midspan.grammars.window import LIMIT, near
from tree_sitter import Tree

from .documents import CODE, TEXTS, edits
from .test_syntax import assert_equals_a_fresh_parse

METHOD = "    def f(self, a):\n        if a:\n            return g(a)\n        return [a]\n\n"
LARGE = ("class A:\n" + METHOD * 10 + "\n") * 60


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syntax, "STANDING_SECONDS", -1.0)


def typed_into(text: str, at: int, typed: str, language_id: str = "python") -> Syntax:
    """Letter by letter, with no look at any tree but the first."""
    opened = Syntax.parse(text, language_id)
    assert opened.tree is not None
    for n, letter in enumerate(typed):
        opened = opened.edited(at + n, at + n, letter)
    return opened


@pytest.mark.parametrize("typed", ["b(", "x = [1, (2", 'x = """', "b({", "\n        b(\n            c, ["])
@pytest.mark.usefixtures("impatient")
def test_what_typing_leaves_open_costs_a_request_the_statements_around_it(typed: str):
    at = LARGE.index("return [a]", len(LARGE) // 4)
    text = typed_into(LARGE, at, typed)
    at += len(typed)
    place = near(text, at)
    assert len(place.syntax.text) < 2 * LIMIT
    assert place.syntax.text[at - place.shift :].startswith("return [a]")
    choose_span(text, at)
    for fill in ("c)", "c)]", "c"):
        new_errors(text, text.edited(at, at, fill), at, at + len(fill))
    assert "tree" not in vars(text), "nobody has parsed the file for it"
    assert_equals_a_fresh_parse(text)


@pytest.mark.usefixtures("impatient")
def test_an_outline_does_not_wait_for_it_either():
    text = typed_into(LARGE, LARGE.index("return [a]"), "größe = b(\n        ")
    names = [one.name for one in outline(text.standing).definitions]
    assert "tree" not in vars(text)
    assert names == [one.name for one in outline(Syntax.parse(LARGE, "python")).definitions]
    assert all(text.text[one.start :].startswith(("class A", "def f")) for one in outline(text.standing).definitions)


@pytest.mark.usefixtures("impatient")
def test_there_a_broken_fill_is_found_and_a_sound_one_is_none():
    at = LARGE.index("return [a]", len(LARGE) // 4)
    text = typed_into(LARGE, at, "b(\n        ")
    at += 2

    def broken(fill: str) -> bool:
        return bool(new_errors(text, text.edited(at, at, fill), at, at + len(fill)))

    assert not broken("c)")
    assert not broken("c, [1])")
    assert broken("c, [1)")
    assert broken("c))")
    assert broken("c)\n    return = 1")


def test_a_tree_that_did_not_catch_up_is_not_waited_for_until_one_does(monkeypatch: pytest.MonkeyPatch):
    allowed: list[float | None] = []
    run = syntax._run

    def recorded(*parse: Any) -> Tree | None:
        allowed.append(parse[3] if len(parse) > 3 else None)
        return run(*parse)

    monkeypatch.setattr(syntax, "STANDING_SECONDS", -1.0)
    monkeypatch.setattr(syntax, "LATER_SECONDS", -2.0)
    monkeypatch.setattr(syntax, "_run", recorded)
    at = len(LARGE) // 2

    def attempts(text: Syntax) -> int:
        allowed.clear()
        assert text.standing is not text
        return len(allowed)

    text = typed_into(LARGE, at, "b")
    assert attempts(text) == 1
    text.catch_up(lambda: True)  # called away: that says nothing of the tree
    text = text.edited(at, at, "b")
    assert attempts(text) == 1
    text.catch_up()
    text = text.edited(at, at, "b")
    assert attempts(text) == 0
    monkeypatch.setattr(syntax, "LATER_SECONDS", 60.0)
    text.catch_up()
    assert attempts(text.edited(at, at, "b")) == 1


@pytest.mark.parametrize("language_id", ["python", "typescript", "c", "yaml"])
@settings(max_examples=10)
@given(st.data())
def test_any_edits_and_any_cursor(language_id: str, data: st.DataObject):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(syntax, "STANDING_SECONDS", -1.0)
        patch.setattr(syntax, "REPARSE_SECONDS", 60.0)
        code = CODE[language_id]
        text = Syntax.parse(code * (1 + SMALL // len(code)), language_id)
        assert text.tree is not None
        offset = data.draw(st.integers(0, len(text.text)))
        for _ in range(data.draw(st.integers(1, 4))):
            beside = data.draw(edits(code))
            start = min(len(text.text), max(0, offset + beside[0] - len(code) // 2))
            text = text.edited(start, min(len(text.text), start + beside[1] - beside[0]), beside[2])
        offset = min(offset, len(text.text))
        span = choose_span(text, offset)
        stop = span.end if span else offset
        fill = data.draw(TEXTS)
        new_errors(text, text.edited(offset, stop, fill), offset, offset + len(fill))
        assert span is None or offset == span.start <= span.end <= len(text.text)
        assert_equals_a_fresh_parse(text)
