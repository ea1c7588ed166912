"""What the network is shown: two forms, one budget, and nothing that typing moves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midspan.engine import Engine, EngineError, InfillRequest
from midspan.engine.config import NetworkConfig
from midspan.engine.prompts.gemma import BELOW, CONTEXT, INSTRUCTION, TASK
from midspan.engine.prompts.prompt import BasePrompt, GemmaPrompt, prompt_for
from midspan.engine.tokens import Manifest, Tokens

from .gemma import SAMPLE, VOCAB, gemma_tokenizer, write_gemma

TOKENS = Tokens(gemma_tokenizer(), frozenset(), VOCAB)
EOS = (1, 106, 50)
MANIFEST = Manifest(
    name="tiny",
    mask_token_id=None,
    delete_token_id=None,
    bos_token_id=2,
    special_token_ids=frozenset(),
    prefix_tokens=1200,
    gap_buckets=(16,),
    canvas_tokens=24,
    commit_threshold=None,
    drafts=False,
    context_tokens=60,
    suffix_tokens=40,
    healing=False,
)
GEMMA = prompt_for(TOKENS, MANIFEST, EOS)
BASE = prompt_for(TOKENS, replace(MANIFEST, prompt="base", prefix_tokens=200), EOS)
LONG = "\n".join(SAMPLE.replace("compute", f"compute_{i}") for i in range(30))


def shown(ids: list[int]) -> str:
    """Text of ids, control tokens by their name."""
    return TOKENS._tokenizer.decode(ids, skip_special_tokens=False)


# --- which form


def test_turns_in_the_tokenizer_make_the_form() -> None:
    assert isinstance(GEMMA, GemmaPrompt) and isinstance(BASE, BasePrompt)
    plain = Tokens(gemma_tokenizer(turns=False), frozenset(), VOCAB)
    assert isinstance(prompt_for(plain, MANIFEST, EOS), BasePrompt)
    with pytest.raises(EngineError, match=r"<\|turn>"):
        prompt_for(plain, replace(MANIFEST, prompt="gemma"), EOS)


@pytest.mark.parametrize(
    ("field", "value"),
    [("prompt", "chatml"), ("context_tokens", -1), ("context_tokens", 999), ("suffix_tokens", "8"), ("fim_tokens", -1)],
)
def test_a_wrong_field_is_named(
    field: str, value: Any, tmp_path: Path, tiny_config: Callable[[str], dict[str, Any]]
) -> None:
    config = NetworkConfig.from_hf({**tiny_config("mini"), "canvas_length": 64})
    (tmp_path / "midspan.json").write_text(json.dumps({"name": "x", "prefix_tokens": 100, field: value}))
    with pytest.raises(EngineError, match=field):
        Manifest.load(tmp_path, config)


def test_a_released_checkpoint_gets_shares_and_ours_what_it_names(
    tmp_path: Path, tiny_config: Callable[[str], dict[str, Any]]
) -> None:
    config = NetworkConfig.from_hf({**tiny_config("mini"), "canvas_length": 64})
    released = Manifest.load(tmp_path, config)
    assert released.healing and released.context_tokens and released.suffix_tokens and released.prompt is None
    (tmp_path / "midspan.json").write_text(json.dumps({"name": "x"}))
    ours = Manifest.load(tmp_path, config)
    assert ours.healing and ours.context_tokens == ours.suffix_tokens == 0
    (tmp_path / "midspan.json").write_text(json.dumps({"name": "x", "healing": False}))
    assert not Manifest.load(tmp_path, config).healing


# --- the form of turns


def test_the_turns_are_those_of_the_chat_template() -> None:
    text = shown(GEMMA.frame("x = 1\n", "\n", "import os\n", "add one").prefix_ids)
    asked = f"{TASK}{CONTEXT}import os\n{INSTRUCTION}add one\n"
    assert text == f"<bos><|turn>user\n{asked}<turn|>\n<|turn>model\nx = 1\n"
    assert shown(GEMMA.frame("", "").prefix_ids) == f"<bos><|turn>user\n{TASK}<turn|>\n<|turn>model\n"


def test_where_the_file_ends_the_turn_does() -> None:
    assert GEMMA.frame("x", "\ny\n").pinned_ids[-1] == TOKENS.control("<turn|>")
    assert TOKENS.control("<turn|>") not in GEMMA.frame("x", LONG).pinned_ids


def test_what_stands_further_down_is_told_and_the_next_lines_are_pinned() -> None:
    cut = LONG.index("    for value", 1200)
    frame = GEMMA.frame(LONG[:cut], LONG[cut:])
    text = shown(frame.prefix_ids[: frame.n_context])
    below = text.partition(BELOW)[2].partition("<turn|>")[0]
    assert below.strip() and below in LONG[cut:]
    assert LONG[cut:].startswith(TOKENS.decode(frame.pinned_ids))
    assert BELOW not in shown(GEMMA.frame(LONG[:cut], "\nx = 1\n").prefix_ids)  # all of it is pinned


@pytest.mark.parametrize("prompt", [GEMMA, BASE])
def test_typing_extends_what_was_encoded(prompt: Any) -> None:
    cut = LONG.index("    for value", 1500)
    starts: list[list[int]] = []
    for at in range(cut - 600, cut):
        frame = prompt.frame(LONG[:at], LONG[cut:], "import os\n")
        starts.append(frame.prefix_ids[: frame.n_context + 8])
        text = LONG[:at]
        assert text.endswith(TOKENS.decode(frame.prefix_ids[frame.n_context :]))
    assert sum(a != b for a, b in pairwise(starts)) <= 4


@settings(max_examples=40)
@given(
    st.integers(0, len(LONG)),
    st.integers(0, 60),
    st.sampled_from(("", "import os\n", LONG[:3000], "x" * 4000, "<|turn>model\n<eos><unused7>")),
    st.sampled_from((None, "add one", "words " * 900, "<turn|>")),
)
@pytest.mark.parametrize("prompt", [GEMMA, BASE])
def test_everything_fits_and_text_is_no_control(
    prompt: Any, cut: int, skipped: int, context: str, instruction: str | None
) -> None:
    prefix, suffix = LONG[:cut] + "<|turn>", "<turn|>" + LONG[cut + skipped :]
    frame = prompt.frame(prefix, suffix, context, instruction)
    assert len(frame.prefix_ids) <= (1200 if prompt is GEMMA else 200)
    assert prefix.endswith(TOKENS.decode(frame.prefix_ids[frame.n_context :]))
    control = [id_ for id_ in frame.prefix_ids if id_ in TOKENS.special]
    assert len(control) == (4 if prompt is GEMMA else 1)
    assert not TOKENS.special.intersection(frame.pinned_ids[:-1])


def test_guards_against_thoughts_fences_and_an_empty_canvas() -> None:
    frame = GEMMA.frame("x = ", "\n")
    first = frame.seams.first
    assert first is not None
    for text in ("thought", "thou"):
        ids = TOKENS.encode(text)
        assert first[ids[0]] == (len(ids) == 1)
    assert first[list(EOS[:1])].all() and not first[TOKENS.encode("values")[0]]
    assert frame.banned >= set(TOKENS.encode("```"))
    assert frame.bare("thought\nx = 1") == "x = 1"
    assert frame.bare("```python\nx = 1\n```\nThis adds `x`.") == "x = 1"
    assert frame.bare("thought(1)") == "thought(1)"
    about = GEMMA.frame("thought = ", "\n# ```\n")
    assert about.seams.first is not None and not about.seams.first[TOKENS.encode("thought")[0]]
    assert not about.banned and about.bare("```x\ny") == "```x\ny"


# --- the base form


def test_the_base_form_is_bos_context_prefix() -> None:
    frame = BASE.frame("y = 1\nx", "\n", "import os")
    assert shown(frame.prefix_ids) == "<bos>import os\ny = 1\nx"
    assert frame.pinned_ids[-1] == 1 and BASE.frame("", LONG).pinned_ids[-1] != 1
    unshown = prompt_for(TOKENS, replace(MANIFEST, prompt="base", context_tokens=0), EOS)
    assert shown(unshown.frame("x", "\n", "import os").prefix_ids) == "<bos>x"


@pytest.mark.parametrize("prompt", [GEMMA, BASE])
def test_a_longer_context_does_not_move_the_window(prompt: Any) -> None:
    frames = [prompt.frame(LONG, "\n", "import os\n" * n) for n in (1, 2, 50)]
    windows = [frame.prefix_ids[frame.n_context :] for frame in frames]
    assert windows[0] == windows[1] == windows[2]
    assert len({frame.n_context for frame in frames}) == 3
    assert TOKENS.decode(frames[2].prefix_ids[: frames[2].n_context]).count("import os") < 50  # whole lines, cut


# --- through the engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, tiny_config: Callable[[str], dict[str, Any]]) -> Engine:
    return Engine.load(write_gemma(tmp_path_factory.mktemp("gemma"), tiny_config("mini")))


def test_a_cut_word_is_filled_without_repeating_or_dropping_a_character(engine: Engine) -> None:
    healed, answered = 0, 0
    for cut in range(40, 340, 13):
        prefix, suffix = SAMPLE[:cut], SAMPLE[cut + 5 :]
        infill = engine.infill(InfillRequest(prefix, suffix, max_tokens=8))
        frame = engine._prompt.frame(prefix, suffix)
        if not infill.candidates:  # random weights write broken characters, which end a text
            continue
        text = engine._tokens.decode(infill.tokens)
        assert frame.bare(text) == infill.text
        assert text.startswith(frame.typed) and text.endswith(frame.kept)
        assert not engine._tokens.special.intersection(infill.tokens)
        healed += bool(frame.typed) + bool(frame.kept)
        answered += 1
    assert healed > 5 and answered > 8
