"""One gap's candidates: who proposed what, where a causal draft ends, how sure the canvas is, what a check changes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from midspan.engine import Engine, InfillRequest
from midspan.engine.denoise import Alphabet, Denoised
from midspan.engine.filling.drafts import surprise, told
from midspan.engine.filling.gap import OPEN_END, Candidate, Gap, calmness, merged
from midspan.engine.filling.gate import GATE
from midspan.engine.filling.ngrams import NGrams
from midspan.engine.filling.openings.shape import Surroundings
from midspan.engine.filling.proposals import BORDER, RIGHT_TOKENS, cuts, met, unopened, without_head
from midspan.engine.filling.signs import ENDS, FEATURES, INSIDE, LAST, SITES
from midspan.engine.filling.words import Words
from midspan.engine.prompts.framed import Framed
from midspan.engine.sampler import Noise
from midspan.engine.tokens import Tokens
from midspan.engine.training.tokenizer import train

from .test_engine import SAMPLE, comparable, write_checkpoint

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


# --- what is proposed


def test_a_line_that_declares_what_is_used_below_is_among_the_candidates(engine: Engine) -> None:
    request = InfillRequest("def f(xs):\n    n = 1\n", "\n    for x in xs:\n        out.append(x)\n")
    sources = {one.text: one.sources for one in engine.infill(request).candidates}
    assert sources["    out = []"] == {"opening"}
    written = [text for text, who in sources.items() if {"causal", "opening"} <= who]
    assert all(text.startswith("    out =") for text in written)
    begun = replace(request, prefix=request.prefix + "    ")
    assert "out = []" in {one.text for one in engine.infill(begun).candidates}


def test_an_opening_goes_on_as_lines_do_that_begin_alike(engine: Engine) -> None:
    above = "def g(\n    two: int = 2,\n):\n    return two\n\n\ndef f(\n    one,\n    "
    request = InfillRequest(above, "\n):\n    return one + two\n")
    sources = {one.text: one.sources for one in engine.infill(request).candidates}
    assert {"copy", "opening"} <= sources["two: int = 2,"]
    beside = InfillRequest(
        "import os\n", "\n\n\ndef f():\n    return Path(os.sep)\n", library=("from pathlib import Path\n",)
    )
    assert "from pathlib import Path" in {one.text for one in engine.infill(beside).candidates}


def test_what_cannot_stand_in_a_gap_is_told_to_the_gate(engine: Engine) -> None:
    request = InfillRequest("def f(x):\n    if x:\n        return 1\n    ", "\n        return 2\n")
    signs = {one.text: one.signs for one in engine.infill(request).candidates if one.signs}
    assert signs["else:"].opening == "block" and not signs["else:"].misfit
    gap = Surroundings.of(request.prefix, request.suffix)
    assert [one.misfit for one in signs.values()] == [gap.misfit(text) for text in signs]
    assert [one.repeats for one in signs.values()] == [gap.repeats(text) for text in signs]


@pytest.mark.parametrize(("typed", "begun"), [("", False), ("    ", False), ("    ret", True), ("    x = ", True)])
def test_whether_a_line_is_begun_or_leaves_its_block_is_told_to_the_gate(
    engine: Engine, typed: str, begun: bool
) -> None:
    above = "def g(x):\n    y = x + 1\n    return y\n\n\n"
    request = InfillRequest(above + "def f(x):\n    y = x + 1\n" + typed, "\n\n\nprint(f(1))\n")
    signs = {one.text: one.signs for one in engine.infill(request).candidates if one.signs}
    assert {one.begun for one in signs.values()} == {begun} and all(one.last for one in signs.values())
    gap = Surroundings.of(request.prefix, request.suffix)
    assert {text: one.leaves for text, one in signs.items()} == {text: gap.leaves(text) for text in signs}
    assert any(one.leaves for one in signs.values()) == (typed != "    x = ")


@pytest.mark.parametrize(
    ("site", "prefix", "suffix"),
    [
        (ENDS, "def f(x):\n    y = ", "\n    return y\n"),
        (LAST, "def f(x):\n    y = x\n    return ", "\n\n\nprint(f(1))\n"),
        (INSIDE, "def f(x):\n    return g(", ", x)\n"),
    ],
)
def test_each_site_has_a_scorer_of_its_own(
    tmp_path: Path, tiny_config: Callable[[str], dict[str, Any]], site: str, prefix: str, suffix: str
) -> None:
    directory = drafting(tmp_path, tiny_config)
    content: dict[str, Any] = {"features": FEATURES}
    for one in SITES:  # all candidates alike: as likely as not together, or hardly at all
        linear = [0.0 if one == site else -20.0, *[0.0] * (len(FEATURES) - 1)]
        content[one] = {"linear": linear, "hidden": [], "out": []}
    (directory / GATE).write_text(json.dumps(content))
    found = Engine.load(directory).infill(InfillRequest(prefix, suffix)).candidates
    assert found and sum(one.probability for one in found) >= 0.5


def test_what_a_text_makes_of_the_word_behind_it_is_told_to_the_gate(engine: Engine) -> None:
    request = InfillRequest("value = 1\nother = 2\nprint(va", "lue, other)\n", library=("values = value\n",))
    signs = {one.text: one.signs for one in engine.infill(request).candidates if one.signs}
    words = Words.around(request.prefix, request.suffix, request.library)
    assert {text: one.word for text, one in signs.items()} == {text: words.becomes(text) for text in signs}
    assert len(signs) > 1


@pytest.mark.parametrize(
    ("text", "suffix", "end"),
    [
        ("turn sum", "n sum(x)", 3),
        ("eturn", "rn x", 3),
        ("n ends in n", "n x", 8),
        ("turn", " x", 4),
        ("run", "ning", 3),
        ("", "x", 0),
    ],
)
def test_where_the_rest_of_a_word_is_written_again_is_found(text: str, suffix: str, end: int) -> None:
    assert met(text, suffix) == end


def test_a_gap_inside_of_a_word_may_end_where_the_word_goes_on(engine: Engine) -> None:
    request = InfillRequest("numbers.append(1)\nnumbers.app", "nd(2)\n")
    assert "e" in {one.text for one in engine.infill(request).candidates}


# --- a request's check


def test_the_suffix_is_no_evidence_for_itself() -> None:
    known = NGrams(without_head(np.array([1, 2, BORDER, *range(10, 40)])))
    head = list(range(10, 10 + RIGHT_TOKENS))
    assert not any(known.after(head[:n]).matched for n in range(len(head)))
    assert known.after([1]).ids.tolist() == [2] and known.after([30]).ids.tolist() == [31]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, tiny_config: Callable[[str], dict[str, Any]]) -> Engine:
    return Engine.load(drafting(tmp_path_factory.mktemp("checked"), tiny_config))


def drafting(folder: Path, tiny_config: Callable[[str], dict[str, Any]]) -> Path:
    """A checkpoint that drafts as well, with random weights."""
    directory = write_checkpoint(folder, tiny_config("mini"))
    manifest = json.loads((directory / "midspan.json").read_text())
    (directory / "midspan.json").write_text(json.dumps({**manifest, "drafts": True}))
    return directory


REQUEST = InfillRequest(SAMPLE + "total = sum(values)\ntotal = ", "\nreturn total\n")


def test_a_checkpoint_that_was_taught_so_is_told_of_the_suffix(
    tmp_path: Path, tiny_config: Callable[[str], dict[str, Any]]
) -> None:
    directory = write_checkpoint(tmp_path, tiny_config("mini"))
    manifest = json.loads((directory / "midspan.json").read_text())
    (directory / "midspan.json").write_text(json.dumps({**manifest, "drafts": True, "fim_tokens": 8}))
    engine = Engine.load(directory)
    network, tokens = engine._network, engine._tokens
    frame = engine._prompt.frame(REQUEST.prefix, REQUEST.suffix)
    right = [*tokens.encode(frame.kept), *frame.pinned_ids][:8]
    with torch.inference_mode():
        cache = network.new_cache()
        network.encode(torch.tensor([frame.prefix_ids]), cache)
        own = told(network, cache, frame.prefix_ids, right, max(manifest["gap_buckets"]))
        found = engine.infill(REQUEST).candidates
        for one in found:
            ids = tokens.encode(frame.typed + one.text) if frame.kept else list(one.ids)
            ends = -surprise(network, own, frame.prefix_ids, [*ids, manifest["delete_token_id"]])[-1]
            assert one.signs and one.signs.right == pytest.approx(ends.item(), rel=1e-3, abs=1e-3)
    assert found and engine.infill(REQUEST).candidates == found


def test_a_check_that_finds_nothing_changes_nothing(engine: Engine) -> None:
    seen: list[str] = []
    checked = engine.infill(replace(REQUEST, check=lambda text: seen.append(text) or []))
    plain = engine.infill(REQUEST)
    assert comparable(checked) == comparable(plain)
    assert seen == [plain.text]  # best first, and no more than needed
    assert "check" in checked.timings and "check" not in plain.timings


def test_what_passes_comes_before_what_does_not(engine: Engine) -> None:
    plain = engine.infill(REQUEST)
    texts = [one.text for one in plain.candidates]
    assert len(texts) > 2
    method = replace(engine.method, repair=False)
    for n in range(len(texts)):
        request = replace(REQUEST, method=method, check=lambda text, n=n: [(0, 1)] if text in texts[:n] else [])
        checked = engine.infill(request)
        assert [one.text for one in checked.candidates] == texts[n:] + texts[:n]
        assert checked.text == texts[n] and checked.steps == plain.steps
    nothing = engine.infill(replace(REQUEST, method=method, check=lambda text: [(0, len(text))]))
    assert [one.text for one in nothing.candidates] == texts


def test_what_fails_is_denoised_again_and_judged_with_the_others(engine: Engine) -> None:
    plain = engine.infill(REQUEST)
    refused = plain.text

    def check(text: str) -> list[tuple[int, int]]:
        return [(0, len(text))] if text == refused else []

    checked = engine.infill(replace(REQUEST, check=check))
    mended = [one for one in checked.candidates if "repair" in one.sources]
    assert len(mended) == 1 and not check(mended[0].text) and mended[0].signs is not None
    assert checked.steps > plain.steps
    assert checked.text != refused and checked.candidates[-1].text == refused
    assert comparable(engine.infill(replace(REQUEST, check=check))) == comparable(checked)


def test_a_fill_that_cannot_be_mended_ends_soon_and_is_still_told(engine: Engine) -> None:
    calls: list[str] = []
    checked = engine.infill(replace(REQUEST, check=lambda text: calls.append(text) or [(0, len(text))]))
    assert [one.text for one in checked.candidates] == [one.text for one in engine.infill(REQUEST).candidates]
    assert len(calls) == len(set(calls)) < 40


def test_without_patience_nothing_is_checked(engine: Engine) -> None:
    checked: list[str] = []
    request = replace(REQUEST, document="hurried", check=lambda text: checked.append(text) or [(0, 1)])
    assert engine.infill(replace(request, deadline=0.0)).candidates == ()
    assert checked == []


def test_a_check_sees_the_text_to_be_inserted_not_what_was_healed(engine: Engine) -> None:
    frame = Framed([2, 5], [7], typed="val", kept=")")
    gap = Gap("val", ")", frame, engine._network.new_cache(), 8, True, 0, check=lambda text: [(0, len(text)), (1, 1)])
    assert gap.suspects("value, 1)") == [(3, 8), (4, 4)]
    assert gap.suspects("other)") == [(0, 6)]
    assert replace(gap, check=None).suspects("value, 1)") == ()
