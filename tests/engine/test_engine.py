"""The engine from a checkpoint directory to text: tokens, prefixes kept between requests, and requests."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midspan.engine import Engine, EngineError, InfillRequest, checkpoint
from midspan.engine.config import NetworkConfig
from midspan.engine.denoise import Denoised
from midspan.engine.engine import OPEN_END, confidence
from midspan.engine.network import Network
from midspan.engine.prefix import CHUNK, LEAST, PrefixStore, anchored_start
from midspan.engine.tokens import Tokens
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ["<pad>", "<eos>", "<bos>", "<mask>", "<delete>", *(f"<reserved:{i}>" for i in range(5, 32))]
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


def train_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    pieces = pre_tokenizers.Split(Regex(r" ?[\p{L}_]+| ?\p{N}| ?[^\s\p{L}\p{N}_]+|\n|[^\S\n]+"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pieces, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        [SAMPLE],
        trainers.BpeTrainer(
            vocab_size=VOCAB - 10,  # as in a checkpoint whose embedding is padded
            special_tokens=SPECIAL,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    return tokenizer


def write_checkpoint(directory: Path, config: dict[str, Any], noise: str = "mask") -> Path:
    """A tiny checkpoint with random weights and everything else as midspan-mini has it."""
    config["text_config"] |= {"vocab_size": VOCAB, "hidden_size": 64}
    config["canvas_length"] = 64
    torch.manual_seed(0)
    network = Network(NetworkConfig.from_hf(config))
    for parameter in network.parameters():
        if parameter.ndim >= 2:
            torch.nn.init.normal_(parameter, std=0.6 * parameter.shape[-1] ** -0.5)
    checkpoint.save(network, directory, config)
    train_tokenizer().save(str(directory / "tokenizer.json"))
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
def tokens() -> Tokens:
    return Tokens(train_tokenizer(), frozenset(range(32)), VOCAB)


def comparable(infill: Any) -> tuple[Any, ...]:
    return infill.text, infill.tokens, infill.entropies, infill.steps, infill.stop, infill.confidence


# --- requests


def test_a_request_is_answered_with_text_and_what_is_known_about_it(engine: Engine) -> None:
    infill = engine.infill(InfillRequest(SAMPLE[:200], SAMPLE[230:], max_tokens=16))
    assert engine.name == "tiny"
    assert infill.stop in ("converged", "budget") and 1 <= infill.steps <= 8
    assert len(infill.tokens) == len(infill.entropies) <= 16
    assert all(0 <= entropy <= math.log(VOCAB) for entropy in infill.entropies)
    assert 0 < infill.confidence < 1
    assert set(infill.timings) == {"tokenize", "encode", "denoise", "decode"}


def test_the_gap_is_no_longer_than_its_bucket(engine: Engine) -> None:
    assert engine.limits.gap_buckets == (8, 16, 32)
    for max_tokens, most in ((1, 8), (9, 16), (400, 32)):
        assert len(engine.infill(InfillRequest("x = ", "\n", max_tokens=max_tokens)).tokens) <= most


@pytest.mark.parametrize("which", ["engine", "uniform_engine"])
def test_one_line_stays_one_line(which: str, request: pytest.FixtureRequest) -> None:
    engine: Engine = request.getfixturevalue(which)
    texts = [
        engine.infill(InfillRequest(SAMPLE[:cut], SAMPLE[cut:], seed=cut, single_line=single)).text
        for cut in range(0, len(SAMPLE), 40)
        for single in (True, False)
    ]
    assert not any("\n" in text or "\r" in text for text in texts[::2])
    assert which != "engine" or any("\n" in text for text in texts[1::2])  # else the line above shows nothing
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


def test_seeds_give_alternatives(engine: Engine, uniform_engine: Engine) -> None:
    for each in (engine, uniform_engine):
        fills = {each.infill(InfillRequest(SAMPLE[:200], SAMPLE[260:], seed=seed)).text for seed in range(1, 7)}
        assert len(fills) > 2


def test_a_cancelled_request_has_no_text(engine: Engine) -> None:
    for polls in range(6):
        answers = iter([False] * polls + [True] * 20)
        request = InfillRequest(SAMPLE, "", document=f"cancelled {polls}", cancelled=lambda a=answers: next(a))
        infill = engine.infill(request)
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
def test_any_text_around_the_gap_gets_an_answer(engine: Engine, prefix: str, suffix: str) -> None:
    infill = engine.infill(InfillRequest(prefix, suffix))
    infill.text.encode()
    assert "\n" not in infill.text


def test_another_thread_may_ask_once_the_first_is_done(engine: Engine) -> None:
    request, answers = InfillRequest(SAMPLE[:90], SAMPLE[99:]), []
    thread = threading.Thread(target=lambda: answers.append(engine.infill(request)))
    thread.start()
    thread.join()
    assert comparable(answers[0]) == comparable(engine.infill(request))


def test_confidence_is_the_mean_of_the_tokens_and_the_decision_to_end() -> None:
    def sure(entropies: tuple[float, ...], end: float | None, steps: int = 3, stop: str = "converged") -> float:
        return confidence(Denoised(tuple(range(len(entropies))), entropies, end, steps, stop), ends_itself=True)

    assert sure((0.0, 0.0), 0.0) == 1.0
    assert sure((0.2, 0.4), 0.6) == pytest.approx(math.exp(-0.4))
    assert sure((), 0.3) == pytest.approx(math.exp(-0.3))
    assert sure((0.0,), None) == pytest.approx(math.exp(-OPEN_END / 2))  # full to the last slot
    assert sure((), None, steps=0, stop="deadline") == sure((0.0,), 0.0, stop="cancelled") == 0.0


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


# --- tokens


@given(st.text())
def test_tokens_give_the_text_back(text: str) -> None:
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    tokens = SHARED_TOKENS
    ids = tokens.encode(text)
    assert tokens.special.isdisjoint(ids)
    if "\ufffd" not in text:
        assert tokens.decode(ids) == lines


SHARED_TOKENS = Tokens(train_tokenizer(), frozenset(range(32)), VOCAB)


@pytest.mark.parametrize("added", [True, False])
def test_text_never_becomes_a_special_token(added: bool) -> None:
    tokenizer = train_tokenizer()
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = []
    tokenizer = Tokenizer.from_str(json.dumps(state))
    if added:  # not marked special, so the library would find them in any text
        tokenizer.add_tokens([AddedToken(name, special=False) for name in SPECIAL])
    tokens = Tokens(tokenizer, frozenset(range(32)), VOCAB)
    for text in ("<mask>", "a<mask><mask>b <delete>\n<eos>", "<<mask>>", "<reserved:17>"):
        ids = tokens.encode(text)
        assert tokens.special.isdisjoint(ids)
        assert tokens.decode(ids) == text


def test_special_ids_and_half_characters_are_no_text(tokens: Tokens) -> None:
    a, snowman = tokens.encode("ab"), tokens.encode("☃")
    assert len(snowman) == 3
    assert tokens.decode([3, *a, 4, 1]) == "ab"
    assert tokens.decode([*snowman[1:], *a, *snowman, *snowman[:2]]) == "ab☃"
    assert tokens.decode([*a, snowman[0], *a]) == "ab"
    assert tokens.decode([]) == ""


def test_the_newline_mask_covers_every_id_that_breaks_a_line(tokens: Tokens) -> None:
    for text in ("\n", "\n\n", "x\n"):
        assert any(tokens.newline[id_] for id_ in tokens.encode(text))
    assert not any(tokens.newline[id_] for id_ in tokens.encode("def mean(values):\t"))
    assert tokens.newline.sum() == 2  # \n and \r: pieces never cross a line end in this tokenizer
    assert tokens.unwritable[:32].all() and tokens.unwritable[-10:].all() and not tokens.unwritable[32:-10].any()


@given(st.text(max_size=300), st.integers(1, 60))
def test_the_head_of_a_long_suffix_is_the_head_of_all_of_it(text: str, n_tokens: int) -> None:
    long = text + SAMPLE * 20
    ids, whole = SHARED_TOKENS.head(long, n_tokens)
    assert ids == SHARED_TOKENS.encode(long)[:n_tokens] and not whole
    ids, whole = SHARED_TOKENS.head(text, n_tokens)
    assert ids == SHARED_TOKENS.encode(text)[:n_tokens]
    assert whole == (len(SHARED_TOKENS.encode(text)) <= n_tokens)


# --- the window


def n_tokens(line: str) -> int:
    return len(SHARED_TOKENS.encode(line))


CODE = "\n".join(SAMPLE.replace("Window", f"Window{i}").replace("value", f"value{i}") for i in range(8))


def test_while_typing_the_window_rarely_moves(budget: int = 400) -> None:
    moves, before = 0, 0
    for end in range(1, len(CODE)):
        start = anchored_start(CODE[:end], budget, n_tokens)
        moves += start != before
        before = start
        assert start == 0 or CODE[start - 1] == "\n"
        if end % 7 == 0:
            assert n_tokens(CODE[start:end]) <= budget
            assert start == 0 or n_tokens(CODE[start:end]) >= (LEAST - 0.1) * budget
    assert 0 < moves <= 4 * n_tokens(CODE) / ((1 - LEAST) * budget)


def test_a_line_edited_far_above_does_not_move_the_window() -> None:
    text = CODE * 3
    start = anchored_start(text, 400, n_tokens)
    edited = text.replace("import math", "from math import nan", 1)
    assert edited[anchored_start(edited, 400, n_tokens) :] == text[start:]


@settings(max_examples=60)
@given(st.text(alphabet="ab( \n\r é日", max_size=2000), st.integers(16, 400))
def test_any_text_has_a_window_within_the_budget(text: str, budget: int) -> None:
    start = anchored_start(text, budget, n_tokens)
    assert 0 <= start <= len(text)
    if n_tokens(text) <= budget // 2:
        assert start == 0
    last_piece = len(text) - 96
    assert n_tokens(text[start:]) <= budget or start >= last_piece


def test_a_line_without_end_has_a_window_that_holds_still() -> None:
    text = "abc(x) + " * 3000
    starts = [anchored_start(text[:end], 200, n_tokens) for end in range(len(text) - 300, len(text))]
    assert len(set(starts)) <= 5
    assert len(text) - max(starts) < 1000


# --- the prefix kept between requests


def keys(network: Network, cache: Any) -> list[torch.Tensor]:
    return [torch.stack(cache.read(layer)) for layer in range(network.config.num_hidden_layers)]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_no_history_of_edits_shows_in_the_cache(tiny_network: Callable[[str], Network], data: st.DataObject) -> None:
    network = tiny_network("mini")
    store = PrefixStore(network)
    ids = [2]
    token = st.integers(5, 96)
    with torch.inference_mode():
        for _ in range(data.draw(st.integers(1, 6))):
            cut = data.draw(st.integers(0, len(ids)))
            ids = (
                ids[:cut]
                + data.draw(st.lists(token, max_size=3 * CHUNK))
                + ids[data.draw(st.integers(cut, len(ids))) :]
            )
            ids = ids or [2]
            polls = iter([False] * data.draw(st.integers(0, 4)) + [True] * 9)
            store.encode("a", ids, lambda polls=polls: next(polls))  # given up somewhere, or not
            warm = store.encode("a", ids)
            cold = PrefixStore(network).encode("a", ids)
            assert warm is not None and cold is not None and warm.length == cold.length == len(ids)
            for ours, theirs in zip(keys(network, warm), keys(network, cold), strict=True):
                assert torch.equal(ours, theirs)
        plain = network.new_cache()
        network.encode(torch.tensor([ids]), plain)
        canvas = torch.tensor([[3] * 8])
        warm = store.encode("a", ids)
        assert warm is not None
        torch.testing.assert_close(
            network.logits(network.denoise(canvas, warm)),
            network.logits(network.denoise(canvas, plain)),
            rtol=1e-4,
            atol=1e-3,
        )


class Counting:
    """A network that counts the tokens it encodes."""

    def __init__(self, network: Network) -> None:
        self.network, self.encoded, self.device = network, 0, network.device

    def new_cache(self) -> Any:
        return self.network.new_cache()

    def encode(self, ids: torch.Tensor, cache: Any) -> None:
        self.encoded += ids.shape[1]
        self.network.encode(ids, cache)


def test_a_keystroke_encodes_no_more_than_a_chunk(tiny_network: Callable[[str], Network]) -> None:
    network: Any = Counting(tiny_network("mini"))
    store = PrefixStore(network)
    ids = [2 + i % 90 for i in range(5 * CHUNK + 7)]
    store.encode("a", ids)
    for step, changed in enumerate(([*ids, 9], [*ids, 9, 9], ids, ids[:-3])):
        before = network.encoded
        store.encode("a", changed)
        assert network.encoded - before <= CHUNK, step
    before = network.encoded
    store.encode("a", ids[:-3])
    assert network.encoded == before  # the same prefix again costs nothing


def test_documents_are_kept_until_the_budget_is_spent(tiny_network: Callable[[str], Network]) -> None:
    network: Any = Counting(tiny_network("mini"))
    one = tiny_network("mini").new_cache()
    with torch.inference_mode():
        tiny_network("mini").encode(torch.tensor([[2, 3]]), one)
    ids = list(range(2, 90))

    def encoded_again(store: PrefixStore, document: str) -> bool:
        before = network.encoded
        store.encode(document, ids)
        return network.encoded > before

    store = PrefixStore(network, byte_budget=2 * one.nbytes)
    for document in "abca":
        store.encode(document, ids)
    assert not encoded_again(store, "a")
    assert not encoded_again(store, "c")
    assert encoded_again(store, "b")  # the one unused for longest went
    poor = PrefixStore(network, byte_budget=1)
    poor.encode("a", ids)
    assert not encoded_again(poor, "a")
    assert encoded_again(poor, "b") and encoded_again(poor, "a")
