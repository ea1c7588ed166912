"""One gap's candidates: who proposed what, where a causal draft ends, and how sure the canvas is."""

from __future__ import annotations

import math

import pytest
from midspan.engine.denoise import Alphabet, Denoised
from midspan.engine.fill import OPEN_END, Candidate, calmness, cuts, merged, unopened
from midspan.engine.gate import FEATURES, GUESS, Gate, Signs, features
from midspan.engine.sampler import Noise
from midspan.engine.tokens import Tokens
from midspan.engine.training.tokenizer import train

DELETES = Alphabet(Noise(100, 3), delete_token_id=4)


def test_calmness_is_the_mean_of_the_tokens_and_the_decision_to_end() -> None:
    def sure(entropies: tuple[float, ...], end: float | None) -> float:
        return calmness(Denoised(tuple(range(len(entropies))), entropies, end, 3, "converged"), DELETES)

    assert sure((0.0, 0.0), 0.0) == 1.0
    assert sure((0.2, 0.4), 0.6) == pytest.approx(math.exp(-0.4))
    assert sure((), 0.3) == pytest.approx(math.exp(-0.3))
    assert sure((0.0,), None) == pytest.approx(math.exp(-OPEN_END / 2))  # full to the last slot


def test_one_text_from_two_sources_is_one_candidate() -> None:
    copy = Candidate("a", (1,), frozenset({"copy"}), match=9)
    canvas = Candidate("a", (2,), frozenset({"canvas"}))
    other = Candidate("b", (3,), frozenset({"causal"}))
    assert merged([copy, other, canvas]) == [Candidate("a", (1,), frozenset({"copy", "canvas"}), match=9), other]


@pytest.mark.parametrize(
    ("written", "suffix", "ends"),
    [
        ("a, b)", "\nx", ["a, b)"]),
        ("a, b)", ")\nx", ["a, b)", "a, b"]),
        ("f(a), b)", ") + 1", ["f(a), b)", "f(a", "f(a), b"]),
        ("", ")", [""]),
    ],
)
def test_inside_a_line_a_causal_draft_may_end_where_the_rest_begins(written: str, suffix: str, ends: list[str]) -> None:
    tokens = Tokens(train(iter(["f(a), b) + 1\n"]), 300), frozenset(range(32)), 300)
    ids = [id_ for char in written for id_ in tokens.encode(char)]
    assert [tokens.decode(ids[:n]) for n in cuts(tokens, ids, suffix, single_line=True)] == ends


@pytest.mark.parametrize(("text", "end"), [("a, b", 4), ("f(a), b) as", 7), (")", 0), ("", 0), ("a[(b)]}", 6)])
def test_the_bracket_around_a_gap_is_found(text: str, end: int) -> None:
    assert unopened(text) == end


def test_over_several_lines_a_causal_draft_ends_with_a_line() -> None:
    tokens = Tokens(train(iter(["a = 1\nb = 2\n\n"]), 300), frozenset(range(32)), 300)
    ids = [id_ for char in "\na\nb b\nc" for id_ in tokens.encode(char)]
    assert [tokens.decode(ids[:n]) for n in cuts(tokens, ids, "", single_line=False)] == ["\na", "\na\nb b"]


def test_better_evidence_on_the_right_never_lowers_a_candidate() -> None:
    gate = Gate.from_weights(GUESS)
    rival = Signs(frozenset({"canvas"}), right=-9.0, mean=-1.0, n_tokens=4)
    seen = [
        gate.probabilities([Signs(frozenset({"copy"}), right=right, mean=-1.0, n_tokens=4), rival])[0]
        for right in range(-40, 0, 4)
    ]
    assert seen == sorted(seen) and seen[0] < seen[-1]
    assert all(len(row) == len(FEATURES) for row in features([rival]))
