"""The denoise loop with networks whose answers are known: what is emitted, kept, counted and given up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from midspan.engine import denoise as loop
from midspan.engine.canvas import Canvas
from midspan.engine.denoise import Alphabet, Denoised, Patience, Setting, denoise, denoise_all, reread
from midspan.engine.sampler import Noise, SamplerConfig
from torch import Tensor

VOCAB, MASK, DELETE, EOS, NEWLINE = 40, 3, 4, 1, 10
WORDS = [20, 21, 22, 23, 24]
PINNED = [30, 31, 32]

MASKED = Alphabet(Noise(VOCAB, MASK), DELETE)
UNIFORM = Alphabet(Noise(VOCAB), None, frozenset((EOS,)))
MINI = SamplerConfig(max_denoising_steps=12, commit_threshold=0.9, greedy=True)
FAST = replace(MINI, renoise_threshold=0.3, wide_margin=None)
LEFT = replace(MINI, order="left", commit_threshold=0.3)
REFERENCE = SamplerConfig()


class Fake:
    """A network whose logits for slot i of a canvas are `says(step, i)`; hidden states are the logits themselves.

    Rows that the loop has no business with (pinned ones) are NaN, so that using one shows.
    """

    def __init__(self, says: Callable[[int, int], Tensor]) -> None:
        self.says = says
        self.calls = 0
        self.canvases: list[list[int]] = []
        self.softs: list[Tensor | None] = []
        self.rows: list[int] = []

    def embed(self, ids: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(ids, VOCAB).float()

    def soft_embeddings(self, logits: Tensor) -> Tensor:
        return torch.softmax(logits, -1)

    def denoise(self, canvas: Tensor, cache: object, soft: Tensor | None = None) -> Tensor:
        step = self.calls
        self.calls += 1
        self.softs.append(soft)
        hidden = []
        for ids in canvas.tolist():
            n_gap = next((i for i, token in enumerate(ids) if ids[i:] == PINNED), len(ids))
            rows = [self.says(step, i) for i in range(n_gap)]
            self.canvases.append(ids)
            hidden.append(torch.stack([*rows, *(torch.full((VOCAB,), math.nan) for _ in ids[n_gap:])]))
        return torch.stack(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        self.rows.append(len(hidden))
        return hidden.clone()


def towards(token: int, logit: float = 12.0) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(token), VOCAB) * logit


def spelling(words: Sequence[int], logit: float = 12.0, end: int = DELETE) -> Fake:
    return Fake(lambda _, i: towards(words[i] if i < len(words) else end, logit))


def run(
    network: Fake,
    n_gap: int = 8,
    config: SamplerConfig = MINI,
    alphabet: Alphabet = MASKED,
    seed: int = 0,
    banned: Sequence[int] = (0, 1, 2, 3),
    patience: Patience | None = None,
) -> Denoised:
    generator = torch.Generator().manual_seed(seed)
    canvas = Canvas.start(alphabet.noise.draw(n_gap, generator), torch.tensor(PINNED))
    forbidden = torch.tensor([token for token in banned if token not in alphabet.end_token_ids], dtype=torch.int64)
    cache: Any = None
    setting = Setting(network, cache, config, alphabet, forbidden, patience or Patience())
    return denoise(setting, canvas, generator)


BOTH = pytest.mark.parametrize(("config", "alphabet"), [(MINI, MASKED), (REFERENCE, UNIFORM), (REFERENCE, MASKED)])


@pytest.mark.parametrize("n_gap", [5, 8, 16])
def test_a_network_that_is_sure_fills_the_gap_in_one_step(n_gap: int) -> None:
    filled = run(spelling(WORDS), n_gap)
    assert filled.ids == tuple(WORDS)
    assert (filled.steps, filled.stop) == (1, "converged")
    assert len(filled.entropies) == len(WORDS) and max(filled.entropies) < 0.01
    assert (filled.end_entropy is None) == (n_gap == len(WORDS))


def test_uniform_noise_needs_two_identical_canvases_and_ends_at_eos() -> None:
    filled = run(spelling(WORDS, 30.0, end=EOS), config=REFERENCE, alphabet=UNIFORM)
    assert filled.ids == tuple(WORDS)
    assert (filled.steps, filled.stop) == (2, "converged")


def test_a_gap_with_nothing_missing_is_empty() -> None:
    filled = run(spelling([]))
    assert (filled.ids, filled.steps, filled.stop) == ((), 1, "converged")
    assert filled.end_entropy is not None


@BOTH
def test_the_pinned_suffix_is_in_every_canvas_and_in_no_head(config: SamplerConfig, alphabet: Alphabet) -> None:
    network = Fake(lambda step, i: torch.randn(VOCAB, generator=torch.Generator().manual_seed(97 * step + i)) * 4)
    filled = run(network, config=config, alphabet=alphabet)
    assert len(network.canvases) == filled.steps == len(network.rows) > 2
    assert all(canvas[-len(PINNED) :] == PINNED for canvas in network.canvases)
    assert all(rows <= len(canvas) - len(PINNED) for rows, canvas in zip(network.rows, network.canvases, strict=True))
    assert all(math.isfinite(entropy) for entropy in filled.entropies)


def test_the_canvas_contracts_as_soon_as_the_end_is_known() -> None:
    # The words come one per step, the end of the text is known at once.
    network = Fake(lambda step, i: towards(WORDS[i], 12.0 if i <= step else 2.0) if i < 5 else towards(DELETE))
    filled = run(network, n_gap=16)
    assert [len(canvas) for canvas in network.canvases] == [16 + 3] + [5 + 3] * (filled.steps - 1)
    assert filled.ids == tuple(WORDS) and filled.stop == "converged"


def test_a_committed_token_stays_though_the_network_changes_its_mind() -> None:
    # Slot 0 is certain of 20 at first and of 25 ever after; the other two are never certain.
    network = Fake(lambda step, i: towards(20 if step == 0 else 25) if i == 0 else towards(20 + i, 1.0))
    filled = run(network, n_gap=4)
    assert filled.ids == (20, 21, 22, 23)
    assert [canvas[0] for canvas in network.canvases] == [MASK, 20, 20]
    assert network.rows == [4, 2, 1]  # the bound lets one uncertain slot in beside the certain one


def test_the_reference_sampler_may_take_back_what_it_accepted() -> None:
    network = Fake(lambda step, i: towards(20 if step == 0 else 25, 40.0))
    assert set(run(network, config=REFERENCE, alphabet=UNIFORM).ids) == {25}


def test_known_slots_condition_the_next_step_with_their_own_embedding() -> None:
    network = Fake(lambda step, i: towards(WORDS[i], 12.0 if i <= step else 2.0))
    run(network, n_gap=3)
    assert network.softs[0] is None
    soft = network.softs[1]
    assert soft is not None and soft.shape == (1, 6, VOCAB)
    known = torch.tensor([20, *PINNED])
    torch.testing.assert_close(soft[0, [0, 3, 4, 5]], network.embed(known))
    free = torch.full((VOCAB,), 0.0)
    free[WORDS[1]] = 2.0 / MINI.temperature(5, 5)  # a gap of 3 slots has a budget of 5 steps
    free[:4] = -math.inf
    torch.testing.assert_close(soft[0, 1], torch.softmax(free, -1))


@pytest.mark.parametrize("n_gap", [1, 4, 8, 32])
def test_an_adversary_costs_no_more_than_the_budget(n_gap: int) -> None:
    def restless(step: int, i: int) -> Tensor:
        return torch.randn(VOCAB, generator=torch.Generator().manual_seed(1000 * step + i))

    filled = run(Fake(restless), n_gap)
    assert filled.steps <= min(MINI.max_denoising_steps, n_gap + 2)
    assert filled.stop == ("converged" if n_gap < MINI.max_denoising_steps else "budget")
    reference = run(Fake(restless), n_gap, REFERENCE, UNIFORM)
    assert (reference.steps, reference.stop) == (REFERENCE.max_denoising_steps, "budget")
    assert len(reference.ids) <= n_gap


def test_a_network_that_knows_nothing_settles_a_slot_per_step() -> None:
    network = Fake(lambda step, i: torch.zeros(VOCAB))
    filled = run(network, n_gap=6, banned=(0, 1, 2, 3, DELETE))
    assert network.rows == [6, 5, 4, 3, 2, 1]
    assert filled.entropies == pytest.approx([math.log(VOCAB - 5)] * 6, rel=1e-5)


def test_a_committed_token_that_loses_its_confidence_is_renoised_once() -> None:
    # Slot 0 takes 20 at once and doubts it ever after; the rest comes a slot per step.
    def says(step: int, i: int) -> Tensor:
        return towards(20 if step == 0 else 25 + step) if i == 0 else towards(20 + i, 12.0 if i <= step else 1.0)

    network = Fake(says)
    filled = run(network, n_gap=6, config=FAST)
    seen = [canvas[0] for canvas in network.canvases]
    assert seen[:4] == [MASK, 20, MASK, 27]  # committed, doubted, committed anew ...
    assert set(seen[3:]) == {27}  # ... and kept, however much it is doubted again
    assert filled.ids == (27, 21, 22, 23, 24, 25)


def test_tokens_that_flip_for_ever_cost_no_more_than_the_budget() -> None:
    network = Fake(lambda step, i: towards(20 + step % 2))
    filled = run(network, n_gap=4, config=replace(FAST, max_denoising_steps=30))
    assert filled.stop in ("converged", "budget") and filled.steps <= 4 + 2
    assert len(filled.ids) == 4


def test_a_fill_is_done_when_every_slot_left_has_one_token_far_ahead() -> None:
    def says(step: int, i: int) -> Tensor:
        return towards(20 + i, 4.0 if step or i != 2 else 1.0)  # slot 2 is undecided for one step

    patient = run(Fake(says), n_gap=4, config=replace(FAST, commit_threshold=0.99, wide_margin=None, entropy_bound=0))
    hasty = run(Fake(says), n_gap=4, config=replace(FAST, commit_threshold=0.99, wide_margin=0.6, entropy_bound=0))
    assert patient.ids == hasty.ids == (20, 21, 22, 23)
    assert (hasty.steps, hasty.stop) == (2, "converged")
    assert patient.steps > hasty.steps


def test_a_shunned_token_is_not_taken_and_its_neighbours_are_free_to_take_it() -> None:
    alphabet, generator = MASKED, torch.Generator()
    canvas = Canvas.holding(torch.tensor([20, 21, 22]), torch.tensor(PINNED))
    chosen = torch.tensor([True, True, False])
    canvas = canvas.renoised(chosen, torch.tensor([MASK, MASK]), torch.tensor([True, False, False]))
    network = Fake(lambda step, i: towards(20) + towards(24, 8.0))
    cache: Any = None
    filled = denoise(Setting(network, cache, MINI, alphabet, torch.tensor([0, 1, 2, 3])), canvas, generator)
    assert filled.ids == (24, 20, 22)


@pytest.mark.parametrize("seed", range(20))
def test_from_the_left_nothing_is_decided_before_what_stands_before_it(seed: int) -> None:
    # Certain and uncertain slots, words and deletions, at random.
    random = torch.Generator().manual_seed(seed)
    said = torch.randn(8, 8, VOCAB, generator=random) * torch.rand(8, 8, 1, generator=random) * 8
    said[:, 6:, DELETE] += 6
    network = Fake(lambda step, i: said[step, i])
    filled = run(network, config=LEFT)
    gaps = [canvas[: -len(PINNED)] for canvas in network.canvases]
    decided = [[token != MASK for token in gap] for gap in gaps]
    assert decided == [sorted(each, reverse=True) for each in decided]
    n_decided = [sum(each) for each in decided]
    assert n_decided == sorted(set(n_decided)), "a step decides one slot or more"
    for gap, later in pairwise(gaps):
        settled = [token for token in gap if token != MASK]
        assert later[: len(settled)] == settled
    assert filled.stop == "converged" and DELETE not in filled.ids


BATCHED = pytest.mark.parametrize(
    ("config", "alphabet"),
    [
        (SamplerConfig(max_denoising_steps=6, commit_threshold=0.3, greedy=True), MASKED),
        (SamplerConfig(max_denoising_steps=6, commit_threshold=0.3, renoise_threshold=0.3, wide_margin=0.2), MASKED),
        (SamplerConfig(max_denoising_steps=6, commit_threshold=0.3, order="left"), MASKED),
        (SamplerConfig(max_denoising_steps=4), UNIFORM),
    ],
    ids=["commit", "fast", "left", "reference"],
)


@BATCHED
@pytest.mark.parametrize("n_pinned", [0, 2, 30])
def test_lengths_denoised_as_one_batch_equal_one_at_a_time(
    tiny_network: Callable[[str], Any], config: SamplerConfig, alphabet: Alphabet, n_pinned: int
) -> None:
    network = tiny_network("small")
    passes: list[int] = []

    class Counted:
        embed, logits, soft_embeddings = network.embed, network.logits, network.soft_embeddings

        def denoise(self, canvas: Tensor, cache: Any, soft: Tensor | None = None) -> Tensor:
            passes.append(len(canvas))
            return network.denoise(canvas, cache, soft)

    alphabet = replace(alphabet, noise=replace(alphabet.noise, vocab_size=network.config.vocab_size))
    pinned = torch.arange(10, 10 + n_pinned)

    def started(n_gap: int) -> tuple[Canvas, torch.Generator]:
        generator = torch.Generator().manual_seed(n_gap)
        return Canvas.start(alphabet.noise.draw(n_gap, generator), pinned, 24), generator

    with torch.inference_mode():
        cache = network.new_cache()
        network.encode(torch.arange(5, 40)[None], cache)
        setting = Setting(Counted(), cache, config, alphabet, torch.tensor([0, 2, 3]))
        canvases, generators = zip(*map(started, (4, 8, 16)), strict=True)
        together = denoise_all(setting, canvases, generators)
        batched = list(passes)
        alone = [denoise(setting, *started(n_gap)) for n_gap in (4, 8, 16)]
    for one, other in zip(together, alone, strict=True):
        assert (one.ids, one.steps, one.stop) == (other.ids, other.steps, other.stop)
        assert one.entropies == pytest.approx(other.entropies, rel=1e-3, abs=1e-4)
    if n_pinned == 30:  # canvases of one length: as many passes as the longest takes
        assert len(batched) == max(one.steps for one in together) and batched[0] == 3


def test_a_text_is_scored_by_what_the_network_gives_its_tokens() -> None:
    network = Fake(lambda step, i: towards(20 + i, 6.0))
    cache: Any = None
    setting = Setting(network, cache, MINI, MASKED, torch.tensor([0, 1, 2, 3]))
    canvas, own = reread(setting, Canvas.holding(torch.tensor([20, 25, 22]), torch.tensor(PINNED)))
    sure = math.exp(6) / (math.exp(6) + VOCAB - 5)
    assert own.tolist() == pytest.approx([sure, sure / math.exp(6), sure], rel=1e-5)
    assert len(canvas.slots()) == 0 and canvas.gap.tolist() == [20, 25, 22]
    assert canvas.entropy.tolist() == pytest.approx([float(canvas.entropy[0])] * 3) and canvas.entropy[0] > 0


@BOTH
def test_a_banned_token_is_never_emitted_however_likely(config: SamplerConfig, alphabet: Alphabet) -> None:
    for seed in range(5):
        network = Fake(lambda step, i: towards(NEWLINE, 25.0) + towards(WORDS[i % 5], 5.0))
        filled = run(network, config=config, alphabet=alphabet, seed=seed, banned=(0, 1, 2, 3, NEWLINE))
        assert filled.ids == tuple(WORDS[i % 5] for i in range(8))


@BOTH
@pytest.mark.parametrize("polls", range(5))
def test_a_cancel_is_heard_before_every_step(config: SamplerConfig, alphabet: Alphabet, polls: int) -> None:
    network = Fake(lambda step, i: towards(WORDS[i % 5], 1.0))
    answers = iter([False] * polls + [True])
    filled = run(network, config=config, alphabet=alphabet, patience=Patience(cancelled=lambda: next(answers)))
    assert (filled.stop, filled.steps, len(network.canvases)) == ("cancelled", polls, polls)


@BOTH
@pytest.mark.parametrize("steps", range(5))
def test_at_the_deadline_the_best_guess_so_far_is_the_answer(
    monkeypatch: pytest.MonkeyPatch, config: SamplerConfig, alphabet: Alphabet, steps: int
) -> None:
    network = Fake(lambda step, i: towards(WORDS[i % 5], 1.0))
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: float(len(network.canvases))))
    filled = run(network, config=config, alphabet=alphabet, patience=Patience(deadline=float(steps)))
    assert (filled.stop, filled.steps, len(network.canvases)) == ("deadline", steps, steps)
    assert filled.ids == (tuple(WORDS[i % 5] for i in range(8)) if steps else ())


def test_a_part_of_the_work_gets_a_share_of_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [10.0]
    monkeypatch.setattr("midspan.engine.denoise.time.monotonic", lambda: clock[0])
    part = Patience(deadline=20.0).within(0.4)
    for now, lost in ((10.0, False), (13.9, False), (14.1, True)):
        clock[0] = now
        assert bool(part.lost()) == lost and not Patience(deadline=20.0).lost() and not Patience().within(0.1).lost()
    assert Patience(lambda: True, 20.0).within(0.4).lost() == "cancelled"


@BOTH
def test_the_same_seed_gives_the_same_fill_and_another_seed_another(config: SamplerConfig, alphabet: Alphabet) -> None:
    config = SamplerConfig(max_denoising_steps=6, commit_threshold=config.commit_threshold)

    def fill(seed: int) -> Denoised:
        # What the network says depends on what it was shown, so every draw matters.
        network = Fake(lambda step, i: torch.zeros(VOCAB))
        network.says = lambda step, i: torch.randn(
            VOCAB,
            generator=torch.Generator().manual_seed(hash(tuple(network.canvases[-1] if step else ())) % 2**31 + i),
        )
        return run(network, config=config, alphabet=alphabet, seed=seed)

    assert fill(7) == fill(7)
    assert len({fill(seed).ids for seed in range(6)}) > 3


def test_a_gap_of_no_slots_needs_no_network() -> None:
    filled = run(Fake(lambda step, i: torch.zeros(VOCAB)), n_gap=0)
    assert (filled.ids, filled.steps, filled.stop) == ((), 0, "converged")
