"""Token healing: a seam in the middle of a word leaves no trace in the text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from midspan.engine import Engine, InfillRequest
from midspan.engine.canvas import Canvas
from midspan.engine.denoise import Alphabet, Patience, Setting, denoise
from midspan.engine.network import Network
from midspan.engine.prompts.base import framed
from midspan.engine.prompts.framed import Framed
from midspan.engine.prompts.healing import Healing
from midspan.engine.prompts.seams import Seams
from midspan.engine.sampler import Noise, SamplerConfig
from midspan.engine.tokens import Tokens

from .gemma import VOCAB, gemma_tokenizer
from .test_engine import SAMPLE as PLAIN
from .test_engine import write_checkpoint
from .test_tokens import TOKENS as PIECES

MERGING = Tokens(gemma_tokenizer(), frozenset(), VOCAB)
HEALING = {id(tokens): Healing(tokens) for tokens in (MERGING, PIECES)}
TEXTS = {id(tokens): tokens.texts() for tokens in (MERGING, PIECES)}


def frame_of(tokens: Tokens, prefix: str, suffix: str) -> Framed:
    return framed([2, *tokens.encode(prefix)], 1, tokens.encode(suffix), HEALING[id(tokens)])


@pytest.mark.parametrize("tokens", [MERGING, PIECES], ids=["merging", "pieces"])
@given(
    prefix=st.text(alphabet="val_ue(t .\n\t日é🙂\u200d", max_size=12),
    suffix=st.text(alphabet="val_ue(t .\n\t日é🙂\u200d", max_size=12),
    text=st.text(max_size=8),
)
def test_no_text_is_lost_or_doubled(tokens: Tokens, prefix: str, suffix: str, text: str) -> None:
    frame = frame_of(tokens, prefix, suffix)
    assert tokens.decode(frame.prefix_ids) + frame.typed == prefix
    assert frame.kept + tokens.decode(frame.pinned_ids) == suffix
    assert "\n" not in frame.typed + frame.kept
    assert frame.bare(frame.healed(text)) == text
    if frame.typed:
        assert frame.bare("~" + text) is None
        first = frame.seams.first
        assert first is not None
        allowed = {id_ for id_, piece in TEXTS[id(tokens)].items() if piece.startswith(frame.typed)}
        assert set((~first).nonzero().squeeze(1).tolist()) == allowed and len(allowed) > 1
        assert not first[tokens.encode(prefix)[-1]]  # "nothing more of this word" can always be said
    if frame.kept:
        last = frame.seams.last
        assert last is not None
        allowed = {id_ for id_, piece in TEXTS[id(tokens)].items() if piece.endswith(frame.kept)}
        assert set((~last).nonzero().squeeze(1).tolist()) == allowed


def test_a_seam_in_a_word_is_healed_and_one_at_a_line_is_not() -> None:
    frame = frame_of(PIECES, "    return val", "ues)")
    assert frame.typed.strip() and "return val".endswith(frame.typed) and frame.kept and "ues".startswith(frame.kept)
    for prefix in ("x = 1\n", "x = 1\n        ", "    ", ""):
        assert frame_of(PIECES, prefix, "\n").typed == "", prefix
    for suffix in ("\n", "", "(x)", " y"):
        assert frame_of(PIECES, "x", suffix).kept == "", suffix


def test_the_tokens_of_the_whole_word_can_be_said() -> None:
    """What healing is for: a word that is one token is one, wherever in it the gap begins."""
    word = next(id_ for id_, text in TEXTS[id(PIECES)].items() if text == " values")
    for cut in range(1, 6):
        frame = frame_of(PIECES, "x =" + " values"[:cut], "\n")
        if len(PIECES.encode(" values"[:cut])) == 1:
            assert frame.seams.first is not None and not frame.seams.first[word]


@given(st.text(alphabet="val_ue(t .\n", max_size=12))
def test_a_search_begins_in_front_of_the_word_that_is_typed(prefix: str) -> None:
    frame = frame_of(PIECES, prefix, "\n")
    begun = len(frame.prefix_ids) - len(frame.begun)
    assert PIECES.decode(frame.prefix_ids[:begun]) + "".join(frame.begun) + frame.typed == prefix and begun >= 1
    typed = "".join(frame.begun) + frame.typed
    if frame.begun:
        assert re.fullmatch(r"\W?\w+", typed)
        assert not HEALING[id(PIECES)].toward(typed)[PIECES.encode(prefix[len(prefix) - len(typed) :])[0]]


def test_a_token_on_the_way_to_a_text_begins_it_or_begins_with_it() -> None:
    barred = HEALING[id(PIECES)].toward("val")
    allowed = {text for id_, text in TEXTS[id(PIECES)].items() if text and not barred[id_]}
    assert allowed == {
        text for text in TEXTS[id(PIECES)].values() if text and ("val".startswith(text) or text.startswith("val"))
    }
    assert len(allowed) > 2


class Wishing:
    """A denoiser that wants the same token in every slot, the barred one most."""

    def __init__(self, network: Network, wish: int) -> None:
        self.network, self.wish = network, wish

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = self.network.logits(hidden)
        logits[:, self.wish] += 50
        return logits


@pytest.mark.parametrize("wish", [1, 4, 50], ids=["end", "delete", "text"])
def test_bound_slots_hold_whatever_the_network_wishes(tiny_network: Callable[[str], Network], wish: int) -> None:
    network = tiny_network("mini")
    cache = network.new_cache()
    barred = torch.ones(network.config.vocab_size, dtype=torch.bool)
    barred[[60, 61]] = False
    ends = frozenset((1,)) if wish == 1 else frozenset()
    for seams in (Seams(barred, None), Seams(None, barred), Seams(barred, barred)):
        with torch.inference_mode():
            cache = network.new_cache()
            network.encode(torch.tensor([[2, 5, 6]]), cache)
            generator = torch.Generator().manual_seed(0)
            alphabet = Alphabet(Noise(network.config.vocab_size, 3), None if ends else 4, ends)
            canvas = Canvas.start(alphabet.noise.draw(6, generator), torch.tensor([7, 8]))
            denoiser: Any = Wishing(network, wish)
            config = SamplerConfig(commit_threshold=0.5, greedy=True)
            setting = Setting(denoiser, cache, config, alphabet, torch.tensor([0, 3]), Patience(), seams)
            done = denoise(setting, canvas, generator)
        if seams.first is not None:
            assert done.ids[0] in (60, 61)
        if seams.last is not None:
            assert done.ids[-1] in (60, 61)
        assert len(done.ids) == len(done.entropies)


def test_drafts_are_healed_like_the_canvas(tmp_path: Path, tiny_config: Callable[[str], dict[str, Any]]) -> None:
    directory = write_checkpoint(tmp_path, tiny_config("mini"))
    manifest = json.loads((directory / "midspan.json").read_text())
    (directory / "midspan.json").write_text(json.dumps({**manifest, "drafts": True, "healing": True}))
    engine = Engine.load(directory)
    sources: set[str] = set()
    for cut in range(60, len(PLAIN) - 8, 37):
        prefix, suffix = PLAIN[:cut], PLAIN[cut + 6 :]
        infill = engine.infill(InfillRequest(prefix, suffix, max_tokens=8, single_line=False))
        frame = engine._prompt.frame(prefix, suffix)
        for one in infill.candidates:
            assert frame.bare(engine._tokens.decode(one.ids)) == one.text, one.sources
            sources |= one.sources if frame.typed else set()
        assert any("causal" in one.sources for one in infill.candidates)
    assert sources == {"canvas", "causal", "copy"}
