"""The pure parts of the pipeline."""

from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midspan.engine import Candidate, Infill, InfillRequest
from midspan.grammars import Syntax, choose_span
from midspan.lsp.complete import Limits, Outcome, Snapshot, _Place, complete, follow
from midspan.lsp.lines import line_ending

from .given import Given

code = st.lists(st.sampled_from(["x", "= ", "(", ")", "\n", "    ", "def f():", "'é'", "😀", "\r\n"]), max_size=20).map(
    "".join
)


@settings(deadline=None)
@given(code, code)
def test_syntax_follows_the_text(before: str, after: str) -> None:
    syntax = follow(Syntax.parse(before, "python"), after, "python")
    assert syntax.text == after
    assert syntax.tree is not None
    assert str(syntax.tree.root_node) == str(Syntax.parse(after, "python").tree.root_node)  # type: ignore[union-attr]


def test_an_unchanged_text_is_not_parsed_again() -> None:
    syntax = Syntax.parse("x = 1\n", "python")
    assert follow(syntax, "x = 1\n", "python") is syntax


def test_a_snapshot_reads_as_if_the_chosen_item_were_accepted() -> None:
    snapshot = Snapshot("u", 1, "python", "a.appe()\n", 2, 6, "append")
    assert snapshot.text == "a.append()\n"
    assert snapshot.offset == 8


@pytest.mark.parametrize(
    ("text", "ending"),
    [("", "\n"), ("a", "\n"), ("a\nb\r\n", "\n"), ("a\r\nb\n", "\r\n"), ("a\rb", "\r"), ("\na", "\n")],
)
def test_new_lines_end_as_the_document_s_do(text: str, ending: str) -> None:
    assert line_ending(text) == ending


class Proposing:
    """An engine whose candidates are given: the pipeline's choice among them is what is looked at."""

    name = "proposing"

    def __init__(self, *texts: str) -> None:
        self.candidates = tuple(
            Candidate(text, (), frozenset({"copy"}), probability=0.9 - 0.2 * place) for place, text in enumerate(texts)
        )

    def infill(self, request: InfillRequest) -> Infill:
        best = self.candidates[0] if self.candidates else None
        text, sure = (best.text, best.probability) if best else ("", 0.0)
        return Infill(text, (), (), 1, "converged", {}, sure, "copy", self.candidates)


def outcome(text: str, *candidates: str, min_confidence: float = 0.0, most: int = 1) -> Outcome:
    offset = text.index("║")
    text = text.replace("║", "")
    snapshot = Snapshot("u", 1, "python", text, offset, offset)
    limits = Limits(32, min_confidence, 0, float("inf"), lambda: False, most)
    return complete(snapshot, Syntax.parse(text, "python"), Proposing(*candidates), limits)  # type: ignore[arg-type]


def shown(text: str, *candidates: str, min_confidence: float = 0.0) -> str:
    found = outcome(text, *candidates, min_confidence=min_confidence)
    return found.suggestion.text if found.suggestion else f"({found.reason})"


def test_the_first_candidate_that_parses_is_shown() -> None:
    assert shown("x = ║\n", "f(a", "f(a)", "b") == "f(a)"
    assert shown("x = ║\n", "f(a", "g[") == "(breaks the syntax)"


def test_an_error_elsewhere_in_the_file_silences_nothing() -> None:
    assert shown("def broken(:\n\nx = ║\n", "1") == "1"


def test_when_nothing_is_most_likely_missing_nothing_is_shown() -> None:
    assert shown("x = 1║\n", "", " + 1") == "(nothing is missing)"
    assert shown("x = ║\n", "f(", "", "b") == "(breaks the syntax)"


def test_what_is_too_unsure_is_not_shown() -> None:
    assert shown("x = ║\n", "1", min_confidence=0.95) == "(not confident)"
    assert shown("x = ║\n", "f(", "1", min_confidence=0.8) == "(breaks the syntax)"
    assert shown("x = ║\n") == "(no time)"


def test_the_rest_of_the_line_comes_along() -> None:
    found = outcome("f(a, ║)  # why\n", "b")
    assert found.suggestion is not None
    assert (found.suggestion.text, found.suggestion.filled) == ("b)  # why", 1)
    assert (found.suggestion.start, found.suggestion.end) == (5, 13)


def test_alternatives_are_what_parses_each_once_and_best_first() -> None:
    found = outcome("x = ║\n", "f(a", "1", "f(a)", "1 ", "y", most=2)
    assert [one.text for one in found.suggestions] == ["1", "f(a)"]
    found = outcome("x = ║\n", "1", "", "1 ", "f(a)", most=3)
    assert [one.text for one in found.suggestions] == ["1", "f(a)"]
    assert [one.text for one in outcome("x = ║\n", "1", "2").suggestions] == ["1"]
    assert outcome("x = ║\n", "", "f(", most=3).reason == "nothing is missing"


@pytest.mark.parametrize(("most", "several"), [(1, False), (3, True)])
def test_only_who_wants_several_has_the_engine_look_for_several(
    most: int, several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    class Asked(Proposing):
        def infill(self, request: InfillRequest) -> Infill:
            asked.append(request.several)
            return super().infill(request)

    monkeypatch.setattr(f"{__name__}.Proposing", Asked)
    outcome("x = ║\n", "1", most=most)
    assert asked == [several]


def test_of_several_lines_those_that_parse_are_shown() -> None:
    assert shown("def f(a):\n    ║\n", "b = a\n    c = b +\n    )") == "b = a"
    assert shown("def f(a):\n    ║\n", "b = (\n    c = d") == "(breaks the syntax)"


def test_the_engine_is_told_which_part_of_a_fill_is_suspect() -> None:
    place = _place("x = f(║)\n")
    assert place.culprits("a)") == [], "what would not be shown is not suspect"
    assert place.culprits("g[a") != []
    for fill in ("a b", "f(((", "]", "\n", "def", "1 +", "😀", "x\ny", ""):
        for start, end in place.culprits(fill):
            assert 0 <= start <= end <= len(fill)


# -- a header and its body

LOOP = {"for ": "item in items:", "items:\n": "    print(item)\n    done()"}


def written(text: str, table: dict[str, str], min_confidence: float = 0.0) -> str:
    """The text with the suggestion accepted; the fills of the table are 0.9 likely."""
    offset = text.index("║")
    text = text.replace("║", "")
    snapshot, limits = Snapshot("u", 1, "python", text, offset, offset), Limits(64, min_confidence, 0, inf, bool)
    found = complete(snapshot, Syntax.parse(text, "python"), Given(table), limits).suggestion  # type: ignore[arg-type]
    return text[: found.start] + found.text + text[found.end :] if found else text


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("typed", ["for ", "for item in items:"])
def test_a_header_without_a_body_is_suggested_with_one(typed: str, ending: str) -> None:
    before, after = f"items = []{ending}", f"{ending}done(){ending}"
    body = f"{ending}    print(item){ending}    done()"
    assert written(before + typed + "║" + after, LOOP) == before + "for item in items:" + body + after


def test_a_header_whose_body_stands_below_is_suggested_alone() -> None:
    assert written("for ║\n    print(item)\n", LOOP) == "for item in items:\n    print(item)\n"


def test_a_header_is_suggested_alone_where_its_body_is_wrong_or_unsure() -> None:
    broken = LOOP | {"items:\n": "    print(item"}
    assert written("for ║\n", broken) == "for item in items:\n"
    assert "print" in written("for ║\n", LOOP, min_confidence=0.8)
    assert written("for ║\n", LOOP, min_confidence=0.85) == "for item in items:\n"


def test_what_is_suspect_in_a_body_is_counted_from_its_beginning() -> None:
    fill = "    print(item"
    found = _place("for item in items:║\n").culprits(fill)
    assert found == _place("for item in items:\n║\n").culprits(fill) != []
    assert all(0 <= first <= last <= len(fill) for first, last in found)


def _place(text: str) -> _Place:
    offset = text.index("║")
    text = text.replace("║", "")
    syntax = Syntax.parse(text, "python")
    span = choose_span(syntax, offset)
    assert span is not None
    return _Place(syntax, span)
