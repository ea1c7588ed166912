"""How likely a candidate is: shares of one whole, what they are made of, how they are learnt and kept."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from midspan.engine.errors import EngineError
from midspan.engine.filling.gate import GATE, GUESS, Gate, Scorer
from midspan.engine.filling.signs import ENDS, FEATURES, INSIDE, LAST, SITES, Signs, features
from midspan.engine.filling.words import NEW, NOTHING, USED, Words
from midspan.engine.training.fit_gate import Judged, fit


def sign(text: str = "x", right: float = -4.0, source: str = "causal", word: str = NOTHING) -> Signs:
    return Signs(frozenset({source}), right=right, mean=-1.0, n_tokens=4, text=text, word=word)


def scorer(seed: int = 0, hidden: int = 5) -> Scorer:
    rng = np.random.default_rng(seed)
    shape = (hidden, len(FEATURES))
    return Scorer(*(rng.normal(scale=0.3, size=size) for size in (len(FEATURES), shape, hidden)))


# --- shares


@given(st.lists(st.tuples(st.text("ab ", max_size=4), st.floats(-60, 0)), max_size=6), st.randoms())
def test_probabilities_leave_room_for_none_of_them_and_know_no_order(
    found: list[tuple[str, float]], rng: random.Random
) -> None:
    gate = Gate({site: scorer(seed) for seed, site in enumerate(SITES)})
    signs = [sign(text, right) for text, right in found]
    for site in SITES:
        shares = gate.probabilities(signs, site)
        assert len(shares) == len(signs) and all(share > 0 for share in shares) and sum(shares) < 1
        order = rng.sample(range(len(signs)), len(signs))
        mixed = gate.probabilities([signs[i] for i in order], site)
        assert mixed == pytest.approx([shares[i] for i in order])


def test_better_evidence_on_the_right_never_lowers_a_candidate() -> None:
    rival = sign("y", right=-9.0, source="canvas")
    seen = [GUESS.probabilities([sign(right=right, source="copy"), rival], ENDS)[0] for right in range(-40, 0, 4)]
    assert seen == sorted(seen) and seen[0] < seen[-1]


# --- signs


def test_a_row_says_which_other_candidates_go_on_with_a_text() -> None:
    rows = [dict(zip(FEATURES, row, strict=True)) for row in features([sign(text) for text in ("a.b", "a", "a.c", "")])]
    assert [round(np.expm1(row["begun_by"])) for row in rows] == [0, 2, 0, 0]
    assert [round(np.expm1(row["goes_on"])) for row in rows] == [1, 0, 1, 0]
    assert [row["empty"] for row in rows] == [0, 0, 0, 1]
    assert {round(np.exp(row["rivals"])) for row in rows} == {4}


@pytest.mark.parametrize(
    ("text", "first", "last"), [("ab", "word", "word"), (" a", "space", "word"), ("(é ", "", "space"), ("", "", "")]
)
def test_a_row_says_what_a_text_begins_and_ends_with(text: str, first: str, last: str) -> None:
    row = dict(zip(FEATURES, features([sign(text)])[0], strict=True))
    assert [row["word_first"], row["space_first"]] == [first == "word", first == "space"]
    assert [row["word_last"], row["space_last"]] == [last == "word", last == "space"]


@pytest.mark.parametrize(
    ("prefix", "text", "suffix", "becomes"),
    [
        ("return ", "con", "cat(a)\nconcat = 1\n", USED),
        ("concat = 1\nreturn con", "", "cat(a)", NOTHING),  # without a text nothing becomes of it
        ("concat = 1\nreturn co", "n", "cat(a)", USED),
        ("return ", "len", "int(x)\n", NEW),
        ("lenints(x)\nreturn ", "len", "int(x)\n", NEW),  # a part of another word is none
        ("return ", "len(", "int(x)\n", NOTHING),
        ("x = ", "1", "0\n", USED),
        ("", "é", "té = 1; été\n", USED),
        ("a", "b", " c", NOTHING),
        ("a", "b", "", NOTHING),
    ],
)
def test_a_text_may_run_into_the_word_behind_it(prefix: str, text: str, suffix: str, becomes: str) -> None:
    assert Words.around(prefix, suffix, ()).becomes(text) == becomes


def test_a_word_of_another_file_is_used() -> None:
    assert Words.around("return ", "cat(a)", ("def concat(): ...",)).becomes("con") == USED


# --- learning


def gaps(seed: int, n: int) -> list[Judged]:
    """Of five candidates one or none is right: the one that either a copy or the canvas proposed, but not both."""
    rng = np.random.default_rng(seed)
    copy, canvas = FEATURES.index("copy"), FEATURES.index("canvas")
    found: list[Judged] = []
    for _ in range(n):
        rows = np.zeros((5, len(FEATURES)))
        rows[:, 0] = 1
        rows[:, 3] = rng.normal(size=5)
        odd = int(rng.integers(10))
        for i in range(5):
            rows[i, copy] = rng.integers(2)
            rows[i, canvas] = rows[i, copy] if i != odd else 1 - rows[i, copy]
        found.append((rows.tolist(), [i == odd for i in range(5)]))
    return found


def test_a_fit_learns_which_candidate_is_right_or_that_none_is() -> None:
    fitted = fit(gaps(0, 400))
    best, hits, sure = [], 0, []
    for rows, right in gaps(1, 400):
        shares = fitted.shares(np.array(rows))
        best.append(shares.max())
        hits += bool(right[int(shares.argmax())])
        sure.append(shares.sum() > 0.5)
    assert hits / 400 == pytest.approx(0.5, abs=0.08) and np.mean(best) == pytest.approx(hits / 400, abs=0.08)
    assert np.mean([is_sure == any(right) for is_sure, (_, right) in zip(sure, gaps(1, 400), strict=True)]) > 0.95


def test_a_fit_is_the_same_every_time_and_kept_in_a_file(tmp_path: Path) -> None:
    found = [*gaps(0, 20), ([], [])]
    one, other = fit(found), fit(found)
    assert one.content() == other.content() != fit(found, seed=1).content()
    others = {LAST: scorer(2), INSIDE: scorer(3)}
    content = {"features": FEATURES, ENDS: one.content()} | {site: other.content() for site, other in others.items()}
    (tmp_path / GATE).write_text(json.dumps(content))
    loaded = Gate.load(tmp_path)
    rows = np.array(found[0][0])
    for site, scores in {ENDS: one, **others}.items():
        assert loaded.scorers[site].shares(rows) == pytest.approx(scores.shares(rows), abs=1e-3)
    assert Gate.load(tmp_path / "elsewhere") is GUESS


def broken() -> list[Any]:
    whole = {"features": FEATURES} | {site: scorer().content() for site in SITES}
    ends = whole[ENDS]
    return [
        [],
        whole | {"features": FEATURES[1:]},
        {name: whole[name] for name in ("features", ENDS, INSIDE)},
        whole | {ENDS: {**ends, "linear": ends["linear"][1:]}},
        whole | {ENDS: {**ends, "hidden": ends["hidden"][1:]}},
        whole | {ENDS: {**ends, "out": None}},
        whole | {ENDS: {**ends, "out": [float("nan")] * len(ends["out"])}},
    ]


@pytest.mark.parametrize("content", broken())
def test_a_file_that_is_no_gate_is_one_clear_error(tmp_path: Path, content: Any) -> None:
    (tmp_path / GATE).write_text(json.dumps(content))
    with pytest.raises(EngineError, match=r"not a fitted gate|no JSON object"):
        Gate.load(tmp_path)
