"""A training run: stopped and resumed, measured on one fixed set, collected from a machine in pieces."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from midspan.engine import bundled
from midspan.engine.network import Network
from midspan.engine.training import carry, export, gpu, mini, packed, train
from midspan.engine.training.examples import BOS, DELETE, MASK, N_SPECIAL, PAD, Examples, Shape, noised
from midspan.engine.training.packed import N_RIGHT, Branches, Packed, PackedForward
from midspan.engine.training.train import Trainer, options
from midspan.engine.training.validation import CANVAS, CONTEXT, Held, held, measure, measure_branches
from safetensors.torch import load_file
from tokenizers import Tokenizer

MODEL = Path(bundled.__path__[0]) / "midspan-mini"
TINY = replace(mini.MINI, hidden_size=32, intermediate_size=48, num_hidden_layers=3, moe_intermediate_size=32)
TINY = replace(TINY, layer_types=mini.MINI.layer_types[:3], num_experts=2)
SMALL = ["--shape", "tiny", "--docs", "1", "--length", "64", "--canvases", "2", "--functions", "0"]
SMALL += ["--processes", "1", "--eager"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory with a corpus of invented files and the bundled tokenizer."""
    monkeypatch.setenv("MIDSPAN_CACHE", str(tmp_path))
    monkeypatch.setitem(mini.SHAPES, "tiny", TINY)
    monkeypatch.setattr(train, "LANGUAGES", {"python": 1.0})
    monkeypatch.setattr(train, "VALIDATION_GAPS", 4)
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_bytes((MODEL / "tokenizer.json").read_bytes())
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "corpus.json").write_text("{}")
    lines = [f"def name_{i}(self, value_{i % 7}):\n    return value_{i % 7} + {i}\n" for i in range(800)]
    for split, text in (("train", "".join(lines)), ("val", "".join(reversed(lines)))):
        (corpus / f"{split}.python.txt").write_text(text)
        np.save(corpus / f"{split}.python.offsets.npy", np.array([0, len(text)]))
    return tmp_path


@pytest.fixture
def trainer(cache: Path) -> Callable[..., Trainer]:
    """Makes one whose clock advances by a second whenever it is read."""

    def make(*extra: str) -> Trainer:
        made = Trainer(options().parse_args(["--name", "run", *SMALL, *extra]), 0)
        clock = count()
        made.now = lambda: float(next(clock))
        made.open_corpus()
        return made

    return make


@pytest.fixture
def tokenizer() -> Iterator[Tokenizer]:
    yield Tokenizer.from_file(str(MODEL / "tokenizer.json"))


def test_a_run_in_two_calls_ends_where_one_call_would(trainer: Callable[..., Trainer], cache: Path) -> None:
    trainer("--minutes", "0.1", "--call-minutes", "0.05").run()
    clock = json.loads((cache / "runs" / "run" / "latest.json").read_text())
    assert clock["seconds"] == 3 and not (cache / "runs" / "run" / "final.json").exists()
    second = trainer("--minutes", "0.1", "--call-minutes", "0.05")
    assert second.step == clock["step"] and second.optimizer.steps == clock["step"]
    second.run()
    clock = json.loads((cache / "runs" / "run" / "final.json").read_text())
    assert clock["seconds"] == 6 and clock["tokens"] == 64 * clock["step"]
    last = json.loads((cache / "runs" / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert {"val_causal", "val_canvas", "val_frontier"} <= last.keys()


def test_learning_rates_rise_stay_and_fall_to_nothing(trainer: Callable[..., Trainer]) -> None:
    one = trainer("--minutes", "1", "--decay", "0.5")
    one.optimizer.steps = 1000
    factors = []
    for one.seconds in (0.0, 29.0, 45.0, 60.0):
        factors.append(one.schedule())
    assert factors == [1.0, 1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    "extra",
    [["--noise", "uniform"], ["--causal-weight", "0"], ["--adam"], ["--canvases", "5"], ["--shape", "mini-dense"]],
    ids=lambda extra: extra[0],
)
def test_every_arm_of_the_ablations_takes_a_step(trainer: Callable[..., Trainer], extra: list[str]) -> None:
    one = trainer(*extra)
    before = {name: p.detach().clone() for name, p in one.network.named_parameters()}
    parts = one.train_step()
    assert all(torch.isfinite(value) for value in parts.values())
    moved = [name for name, p in one.network.named_parameters() if not torch.equal(p, before[name])]
    assert any("self_attn" in name for name in moved) and any("experts" in name for name in moved)


def test_an_average_of_two_checkpoints_is_what_ships(trainer: Callable[..., Trainer], tmp_path: Path) -> None:
    made = trainer("--minutes", "0.1")
    for label in ("first", "second"):
        made.train_step()
        made.save(label)
    shipped = {}
    for share in ("0", "0.25", "1"):
        command = ["--name", "run", "--checkpoint", "second", "--average", "run/first", "--share", share]
        assert export.main([str(tmp_path / share), *command]) == 0
        shipped[share] = load_file(tmp_path / share / "model.safetensors")
    for name, mean in shipped["0.25"].items():
        second, first = shipped["0"][name].float(), shipped["1"][name].float()
        torch.testing.assert_close(mean.float(), 0.75 * second + 0.25 * first, rtol=0.01, atol=1e-6)
    assert any(not torch.equal(first, shipped["0"][name]) for name, first in shipped["1"].items())


def test_a_run_begins_from_weights_as_they_ship(trainer: Callable[..., Trainer], cache: Path, tmp_path: Path) -> None:
    made, shipped = trainer("--minutes", "0.1"), tmp_path / "shipped"
    made.train_step()
    made.save("final")
    assert export.main([str(shipped), "--name", "run"]) == 0
    (cache / "runs" / "run").rename(cache / "runs" / "before")
    begun = trainer("--start", str(shipped), "--minutes", "0.1")
    stored = load_file(shipped / "model.safetensors")
    for name, weight in begun.network.named_parameters():
        found = [tensor for key, tensor in stored.items() if key.endswith(name) and tensor.shape == weight.shape]
        assert any(torch.equal(weight, tensor) for tensor in found), name
    begun.train_step()
    assert begun.step == 1 and begun.optimizer.steps == 1
    (shipped / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="another tokenizer"):
        trainer("--start", str(shipped), "--name", "other")


def test_functions_that_stand_alone_take_of_python_s_share(cache: Path, tokenizer: Tokenizer) -> None:
    text = "def lonely(value):\n    return value\n" * 200
    (cache / "corpus" / "train.functions.txt").write_text(text)
    np.save(cache / "corpus" / "train.functions.offsets.npy", np.array([0, len(text)]))
    for share in (0.0, 0.25, 1.0):
        stream = train.Stream(tokenizer, Shape(n_docs=1, length=64), 0, "mask", share)
        assert sum(stream.shares.values()) == 1.0
        batches = iter(stream)
        seen = [tokenizer.decode(next(batches).packed.document[0].tolist()) for _ in range(24)]
        found = sum("lonely" in one for one in seen) / len(seen)
        assert found == share or (0 < share < 1 and 0.05 < found < 0.6)


def test_documents_longer_than_the_window_are_refused() -> None:
    with torch.device("meta"):
        network = Network(mini.MINI)
    with pytest.raises(ValueError, match="window of 512"):
        PackedForward(network, (1, 1024, 1, 48), compiled=False)


def test_the_held_out_set_is_the_same_whatever_ran_before(cache: Path, tokenizer: Tokenizer) -> None:
    small = held(tokenizer, 4)
    torch.manual_seed(5)
    np.random.seed(5)
    large = held(tokenizer, 8)
    for name in ("prefix", "target", "masked", "frontier", "truth", "gaps", "noise"):
        assert torch.equal(getattr(small, name), getattr(large, name)[:4])
    assert small.masked.any(-1).all()
    inside = torch.arange(CANVAS) < small.gaps[..., None]
    assert not (small.masked & ~inside).any(), "the suffix is never noised"
    surplus = inside & (torch.arange(CANVAS) >= small.truth[:, None, None])
    assert (small.target[surplus] == DELETE).all() and small.masked[surplus].all()
    assert ((small.slots("mask") == MASK) == small.masked).all()
    assert (small.slots("uniform") >= N_SPECIAL)[small.masked].all()


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """Of which no expert drops a row, as at inference."""
    monkeypatch.setattr(packed, "CAPACITY", 8.0)
    torch.manual_seed(0)
    network = Network(TINY)
    mini.initialize(network)
    return network


def shown(gaps: Held, n_prefix: int) -> torch.Tensor:
    """What a run with so long a context sees of the gaps' left sides, [N, n_prefix]."""
    document = gaps.prefix[:, CONTEXT - n_prefix + 1 :]
    return torch.cat((torch.full_like(document[:, :1], BOS), document), dim=1)


def test_held_out_losses_are_those_of_the_training_forward(cache: Path, tokenizer: Tokenizer, network: Network) -> None:
    gaps, n_prefix = held(tokenizer, 3), 100
    found = measure(network, gaps, n_prefix)
    document = shown(gaps, n_prefix)
    full = torch.full((3, 2), n_prefix)
    batch = Packed(document, gaps.slots("mask"), full, torch.full((3, 2), CANVAS))
    with torch.no_grad():
        hidden, canvas, _, _ = PackedForward(network, (3, n_prefix, 2, CANVAS), compiled=False)(batch, None)
        logits, causal = network.logits(canvas), network.logits(hidden[:, :-1])
    each = torch.nn.functional.cross_entropy(logits.flatten(0, 2), gaps.target.flatten(), reduction="none")
    real = gaps.masked & (torch.arange(CANVAS) < gaps.truth[:, None, None])
    assert found["val_canvas"] == pytest.approx(each.view_as(gaps.target)[:, 1][real[:, 1]].mean().item(), rel=1e-4)
    frontier = each.view_as(gaps.target)[:, 0].gather(1, gaps.frontier[:, None]).mean().item()
    assert found["val_frontier_nats"] == pytest.approx(frontier, rel=1e-4)
    causal = torch.nn.functional.cross_entropy(causal.flatten(0, 1), document[:, 1:].flatten())
    assert found["val_causal"] == pytest.approx(causal.item(), rel=1e-4)


def test_held_out_losses_of_branches_are_those_of_the_training_forward(
    cache: Path, tokenizer: Tokenizer, network: Network
) -> None:
    gaps, n_prefix = held(tokenizer, 2), 100
    found = measure_branches(network, gaps, n_prefix)
    document = shown(gaps, n_prefix)
    branch = torch.zeros(2, 1, CANVAS, dtype=torch.int64)
    n_right, told = torch.zeros(2, 1, dtype=torch.int64), []
    for number in range(2):
        slots, n_true = gaps.target[number, 0], int(gaps.truth[number])
        right = slots[gaps.gaps[number, 0] :][:N_RIGHT]
        n_right[number], branch[number, 0, : len(right)] = len(right), right
        branch[number, 0, N_RIGHT : N_RIGHT + n_true + 1] = torch.cat((document[number, -1:], slots[:n_true]))
    batch = Packed(document, gaps.slots("mask")[:, :1], *torch.full((2, 2, 1), n_prefix))
    batch = replace(batch, branches=Branches(branch, torch.full((2, 1), n_prefix), n_right))
    with torch.no_grad():
        hidden = PackedForward(network, (2, n_prefix, 1, CANVAS), 1, compiled=False)(batch, None)[2]
        log_probs = network.logits(hidden).log_softmax(-1)[:, 0]
    for number in range(2):
        text = gaps.target[number, 0, : gaps.truth[number]]
        told += (-log_probs[number, : len(text)].gather(1, text[:, None])).flatten().tolist()
    assert found["val_told"] == pytest.approx(np.mean(told), rel=1e-4)


def test_uniform_noise_hides_what_masks_hide() -> None:
    target = np.array([50, 51, 52, 53, DELETE, DELETE])
    for seed in range(30):
        plain = noised(target, 4, target[:4], np.random.default_rng(seed))
        hidden = noised(target, 4, target[:4], np.random.default_rng(seed), vocabulary=8192)
        assert (plain[1] == hidden[1]).all() and plain[2] == hidden[2]
        assert (plain[0][plain[1]] == MASK).all() and (hidden[0][hidden[1]] >= N_SPECIAL).all()
        assert (plain[0][~plain[1]] == hidden[0][~plain[1]]).all()
        assert plain[1][4:].all()


def test_a_branch_is_the_gap_between_prefix_and_suffix_and_its_end(cache: Path, tokenizer: Tokenizer) -> None:
    shape = Shape(n_docs=2, length=128, n_canvases=2, n_branches=3)
    batch = Examples("train", {"python": 1.0}, tokenizer, shape, seed=1).batch()
    branches = batch.packed.branches
    assert branches is not None
    ended = 0
    for doc in range(2):
        text = [*batch.packed.document[doc].tolist(), int(batch.next_token[doc, -1])]
        for m in range(3):
            cut, n_right = int(branches.cut[doc, m]), int(branches.n_right[doc, m])
            right, read = branches.ids[doc, m, :n_right].tolist(), branches.ids[doc, m, N_RIGHT:].tolist()
            after = [id_ for id_ in batch.after[doc, m].tolist() if id_ != PAD]
            assert read[: len(after)] == [text[cut - 1], *after][: len(after)]
            gap = after[:-1] if after[-1] == DELETE else after
            assert gap == text[cut : cut + len(gap)]
            if after[-1] == DELETE and cut + len(gap) + n_right <= len(text):
                assert right == text[cut + len(gap) : cut + len(gap) + n_right]
                ended += 1
    assert ended


def test_a_session_brings_the_weights_home_in_pieces(
    trainer: Callable[..., Trainer], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "NAME", "run")
    monkeypatch.setattr(gpu, "PIECE_MB", 0.25)
    one = trainer("--minutes", "0.02")
    one.batches = iter([gpu.random_batch(one.shape, TINY.vocab_size)] * 3)
    one.run()
    assert not gpu.running()
    assert gpu.start(tmp_path / "nothing", []) == 0, "a run that has ended is not begun again"
    for lot in range(2):
        assert gpu.collect(tmp_path / "out", lot) == 0
    carry.join(tmp_path / "out", tmp_path / "home")
    assert json.loads((tmp_path / "home" / "midspan.json").read_text())["prefix_tokens"] == 64 - 48
    assert (tmp_path / "home" / "model.safetensors").stat().st_size > 500_000
