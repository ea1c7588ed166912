"""The engine, from a checkpoint directory and a request to text."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from midspan.engine import Engine, EngineError, InfillRequest
from midspan.engine.checkpoints import checkpoint
from midspan.engine.config import NetworkConfig
from midspan.engine.network import Network
from midspan.engine.training.tokenizer import SPECIAL, train

SAMPLE = '''import math


def mean(values):
    """Average, or nan — of nothing."""
    total = 0.0
    for value in values:
        total += value
    return total / len(values) if values else math.nan


class Window:
    def __init__(self, size, step=1):
        self.size = size
        self.step = step

    def slide(self, items):
        for start in range(0, len(items) - self.size + 1, self.step):
            yield items[start : start + self.size]
'''
VOCAB = 32 + 256 + 64


def write_checkpoint(directory: Path, config: dict[str, Any], noise: str = "mask") -> Path:
    """A tiny checkpoint with random weights and everything else as midspan-mini has it."""
    config["text_config"] |= {"vocab_size": VOCAB, "hidden_size": 64}
    config["canvas_length"] = 64
    torch.manual_seed(0)
    network = Network(NetworkConfig.from_hf(config))
    for parameter in network.parameters():
        if parameter.ndim >= 2:
            torch.nn.init.normal_(parameter, std=0.6 * parameter.shape[-1] ** -0.5)
    tokenizer = train(iter([SAMPLE] * 20), VOCAB - 10)  # 10 fewer: a padded embedding
    with torch.no_grad():  # a network that likes to break lines
        network.embed_tokens.weight[tokenizer.token_to_id("Ċ")] *= 4
    checkpoint.save(network, directory, config)
    tokenizer.save(str(directory / "tokenizer.json"))
    manifest = {
        "name": "tiny",
        "noise": noise,
        "mask_token_id": 3,
        "delete_token_id": 4,
        "bos_token_id": 2,
        "language_token_ids": {"python": 10},
        "special_token_ids": list(range(32)),
        "prefix_tokens": 160,
        "suffix_tokens": 24,
        "gap_buckets": [8, 16, 32],
    }
    if noise == "uniform":
        del manifest["delete_token_id"], manifest["mask_token_id"]
    (directory / "midspan.json").write_text(json.dumps(manifest))
    (directory / "generation_config.json").write_text(json.dumps({"max_denoising_steps": 8}))
    return directory


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, tiny_config: Callable[[str], dict[str, Any]]) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"), tiny_config("mini"))


@pytest.fixture(scope="module")
def engine(directory: Path) -> Engine:
    return Engine.load(directory)


@pytest.fixture(scope="module")
def uniform_engine(tmp_path_factory: pytest.TempPathFactory, tiny_config: Callable[[str], dict[str, Any]]) -> Engine:
    return Engine.load(write_checkpoint(tmp_path_factory.mktemp("uniform"), tiny_config("mini"), "uniform"))


@pytest.fixture(scope="module")
def drafting_engine(tmp_path_factory: pytest.TempPathFactory, tiny_config: Callable[[str], dict[str, Any]]) -> Engine:
    directory = write_checkpoint(tmp_path_factory.mktemp("drafting"), tiny_config("mini"))
    manifest = json.loads((directory / "midspan.json").read_text())
    (directory / "midspan.json").write_text(json.dumps({**manifest, "drafts": True}))
    return Engine.load(directory)


def comparable(infill: Any) -> tuple[Any, ...]:
    return infill.text, infill.tokens, infill.entropies, infill.steps, infill.stop, infill.confidence


# --- requests


def test_a_request_is_answered_with_text_and_what_is_known_about_it(engine: Engine) -> None:
    infill = engine.infill(InfillRequest(SAMPLE[:200], SAMPLE[230:], max_tokens=16))
    assert engine.name == "tiny"
    assert infill.stop in ("converged", "budget") and 1 <= infill.steps <= 8
    assert len(infill.tokens) == len(infill.entropies) <= 16 + 2  # seams
    assert all(0 <= entropy <= math.log(VOCAB) for entropy in infill.entropies)
    assert 0 < infill.confidence < 1
    assert set(infill.timings) == {"tokenize", "encode", "denoise"}
    assert infill.source == "canvas"


def test_the_gap_is_no_longer_than_its_bucket(engine: Engine) -> None:
    assert engine.limits.gap_buckets == (8, 16, 32)
    for max_tokens, most in ((1, 8), (9, 16), (400, 32)):
        assert len(engine.infill(InfillRequest("x = ", "\n", max_tokens=max_tokens)).tokens) <= most + 2  # seams


@pytest.mark.parametrize("which", ["engine", "uniform_engine", "drafting_engine"])
def test_one_line_stays_one_line(which: str, request: pytest.FixtureRequest) -> None:
    engine: Engine = request.getfixturevalue(which)
    texts = [
        engine.infill(InfillRequest(SAMPLE[:cut], SAMPLE[cut:], seed=cut, single_line=single)).text
        for cut in range(0, len(SAMPLE), 130)
        for single in (True, False)
    ]
    assert not any("\n" in text or "\r" in text for text in texts[::2])
    assert any("\n" in text for text in texts[1::2])  # else the line above shows nothing
    assert not any(special in text for text in texts for special in SPECIAL)


def test_a_fill_depends_on_the_request_alone(engine: Engine, directory: Path) -> None:
    request = InfillRequest(SAMPLE[:300], SAMPLE[340:], seed=5, document="a.py")
    first = comparable(engine.infill(request))
    for cut in (299, 301, 120, 310, 300):
        engine.infill(InfillRequest(SAMPLE[:cut], SAMPLE[340:], document="a.py"))
    engine.infill(InfillRequest("something else", "", document="a.py"))
    assert comparable(engine.infill(request)) == first
    assert comparable(engine.infill(InfillRequest(SAMPLE[:300], SAMPLE[340:], seed=5))) == first
    assert comparable(Engine.load(directory).infill(request)) == first


def test_context_is_shown_to_a_checkpoint_that_has_room_for_it(engine: Engine, directory: Path, tmp_path: Path) -> None:
    for file in directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((directory / "midspan.json").read_text())
    (tmp_path / "midspan.json").write_text(json.dumps({**manifest, "context_tokens": 40}))
    roomy = Engine.load(tmp_path)
    plain = InfillRequest("total = ", "\n")
    told = replace(plain, context="def total(values):\n    return sum(values)\n")
    assert comparable(engine.infill(told)) == comparable(engine.infill(plain))
    assert comparable(roomy.infill(plain)) == comparable(engine.infill(plain))
    assert comparable(roomy.infill(told)) != comparable(roomy.infill(plain))
    assert comparable(roomy.infill(told)) == comparable(Engine.load(tmp_path).infill(told))


def test_every_token_that_ends_a_text_is_known(directory: Path, tmp_path: Path) -> None:
    """The released checkpoint names one in `config.json`, all three in `generation_config.json`."""
    for file in directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((directory / "midspan.json").read_text())
    del manifest["delete_token_id"]
    (tmp_path / "midspan.json").write_text(json.dumps(manifest))
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 6, 5], "max_denoising_steps": 8}))
    assert Engine.load(tmp_path)._filler._alphabet.end_token_ids == {1, 5, 6}
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, VOCAB]}))
    with pytest.raises(EngineError, match=f"eos_token_id is {VOCAB}"):
        Engine.load(tmp_path)


def test_seeds_give_alternatives(engine: Engine, uniform_engine: Engine) -> None:
    for each in (engine, uniform_engine):
        fills = {each.infill(InfillRequest(SAMPLE[:200], SAMPLE[260:], seed=seed)).text for seed in range(1, 7)}
        assert len(fills) > 2


@pytest.mark.parametrize("which", ["engine", "drafting_engine"])
def test_a_cancelled_request_has_no_text(which: str, request: pytest.FixtureRequest) -> None:
    engine: Engine = request.getfixturevalue(which)
    for polls in range(6):
        answers = iter([False] * polls + [True] * 20)
        infill = engine.infill(
            InfillRequest(SAMPLE, "", document=f"cancelled {polls}", cancelled=lambda a=answers: next(a))
        )
        assert (infill.stop, infill.text, infill.confidence) == ("cancelled", "", 0.0)
    whole = engine.infill(InfillRequest(SAMPLE, "", document="cancelled 1"))
    assert comparable(whole) == comparable(engine.infill(InfillRequest(SAMPLE, "", document="new")))


def test_a_deadline_in_the_past_costs_no_step(engine: Engine) -> None:
    infill = engine.infill(InfillRequest(SAMPLE, "", deadline=time.monotonic() - 1, document="late"))
    assert (infill.stop, infill.steps, infill.text, infill.confidence) == ("deadline", 0, "", 0.0)


@pytest.mark.parametrize(
    ("prefix", "suffix"),
    [
        ("", ""),
        ("", "x\n"),
        ("\ud83d", "\ude00 \udfff"),
        ("é" * 5000, "日本" * 5000),
        ("x" * 100_000, "\n" * 100_000),
        ("<bos><mask>" * 50, "<eos><delete>"),
        ("a\r\nb\rc", "\r\n"),
        ("\x00\ufeff\u2028", "\ufffd"),
    ],
)
def test_any_text_around_the_gap_gets_an_answer(
    engine: Engine, drafting_engine: Engine, prefix: str, suffix: str
) -> None:
    for each in (engine, drafting_engine):
        assert "\n" not in each.infill(InfillRequest(prefix, suffix)).text


def test_another_thread_may_ask_once_the_first_is_done(engine: Engine) -> None:
    request, answers = InfillRequest(SAMPLE[:90], SAMPLE[99:]), []
    thread = threading.Thread(target=lambda: answers.append(engine.infill(request)))
    thread.start()
    thread.join()
    assert comparable(answers[0]) == comparable(engine.infill(request))


def test_drafts_and_canvas_are_judged_together(drafting_engine: Engine) -> None:
    infill = drafting_engine.infill(InfillRequest(SAMPLE + "total = sum(values)\ntotal = ", "\nreturn total\n"))
    assert "sum(values)" in {one.text for one in infill.candidates if "copy" in one.sources}
    assert "canvas" in {source for one in infill.candidates for source in one.sources}
    assert infill.text == infill.candidates[0].text
    assert infill.confidence == max(one.probability for one in infill.candidates)
    assert set(infill.timings) == {"tokenize", "encode", "draft", "denoise", "rank"}
    assert len({one.text for one in infill.candidates}) == len(infill.candidates)


# --- loading


def spoil(directory: Path, tmp_path: Path, name: str, content: str | None) -> Path:
    for file in directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / name).unlink() if content is None else (tmp_path / name).write_text(content)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("tokenizer.json", None, "tokenizer.json"),
        ("tokenizer.json", "{}", "tokenizer.json"),
        ("tokenizer.json", '{"model": {"type": "WordLevel", "vocab": {"a": 352}, "unk_token": "a"}}', "token id 352"),
        ("midspan.json", "[", "midspan.json"),
        ("midspan.json", '{"name": "x", "noise": "pink"}', "noise is 'pink'"),
        ("midspan.json", '{"name": "x", "noise": "mask"}', "mask_token_id"),
        ("midspan.json", '{"name": "x", "gap_buckets": [0]}', "gap_buckets"),
        ("midspan.json", '{"name": "x", "gap_buckets": [1000]}', "gap_buckets"),
        ("midspan.json", '{"name": "x", "prefix_tokens": 1e9}', "prefix_tokens"),
        ("midspan.json", '{"name": "x", "delete_token_id": 99999}', "delete_token_id"),
        ("generation_config.json", '{"t_min": null, "t_max": "hot"}', "t_max"),
        ("config.json", None, "config.json"),
        ("model.safetensors", "", "model.safetensors"),
    ],
)
def test_a_spoilt_checkpoint_is_one_clear_sentence(
    directory: Path, tmp_path: Path, name: str, content: str | None, says: str
) -> None:
    with pytest.raises(EngineError) as error:
        Engine.load(spoil(directory, tmp_path, name, content))
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_checkpoint_without_midspan_json_is_of_the_uniform_kind(directory: Path, tmp_path: Path) -> None:
    engine = Engine.load(spoil(directory, tmp_path, "midspan.json", None))
    assert engine.name == tmp_path.name
    assert engine.infill(InfillRequest(SAMPLE[:60], SAMPLE[80:])).steps == 8


def test_a_device_or_directory_that_is_not_there_is_said(tmp_path: Path, directory: Path) -> None:
    with pytest.raises(EngineError, match="no such checkpoint"):
        Engine.load(tmp_path / "nowhere")
    with pytest.raises(EngineError, match="'warp'"):
        Engine.load(directory, device="warp")
    with pytest.raises(EngineError, match="threads is 0"):
        Engine.load(directory, threads=0)
