"""The packed training forward is the inference network: same hidden states, same gradients as plain operations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from midspan.engine.filling.drafts import surprise, told
from midspan.engine.network import Network
from midspan.engine.training import packed
from midspan.engine.training.loss import CHUNK, SoftcappedCrossEntropy
from midspan.engine.training.mini import MINI, initialize
from midspan.engine.training.packed import N_RIGHT, OFFSET, Branches, Packed, PackedForward

B, T, K, C = 2, 40, 3, 12


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    network = Network(replace(MINI, vocab_size=97, hidden_size=64, intermediate_size=48, moe_intermediate_size=16))
    initialize(network)
    for param in network.parameters():
        param.data += 0.1 * torch.randn_like(param)
    return network


@pytest.fixture
def batch() -> Packed:
    generator = torch.Generator().manual_seed(1)
    return Packed(
        document=torch.randint(0, 97, (B, T), generator=generator),
        canvas=torch.randint(0, 97, (B, K, C), generator=generator),
        cut=torch.tensor([[1, 17, 39], [8, 20, 30]]),
        n_slots=torch.tensor([[12, 9, 12], [5, 12, 1]]),
    )


@pytest.mark.parametrize("conditioned", [False, True])
def test_packed_rows_equal_encode_and_denoise(
    network: Network, batch: Packed, conditioned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "CAPACITY", 8.0)  # nothing is dropped, as at inference
    soft = torch.randn(B, K, C, 64) if conditioned else None
    with torch.no_grad():
        document, canvas, _, _ = PackedForward(network, (B, T, K, C), compiled=False)(batch, soft)
        for b in range(B):
            cold = network.encode(batch.document[b : b + 1], network.new_cache())
            torch.testing.assert_close(document[b], cold[0], rtol=1e-4, atol=1e-5)
            for k in range(K):
                cut, used = int(batch.cut[b, k]), int(batch.n_slots[b, k])
                cache = network.new_cache()
                network.encode(batch.document[b : b + 1, :cut], cache)
                alone = network.denoise(
                    batch.canvas[b, k, :used][None], cache, None if soft is None else soft[b, k, :used][None]
                )
                torch.testing.assert_close(canvas[b, k, :used], alone[0], rtol=1e-4, atol=1e-5)


def test_branches_equal_the_causal_mode_that_was_told_of_the_suffix(
    network: Network, batch: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "CAPACITY", 8.0)
    n_branches, n_slots = 2, N_RIGHT + 6
    cut, n_right = torch.tensor([[1, 30], [12, 39]]), torch.tensor([[N_RIGHT, 1], [7, N_RIGHT]])
    ids = torch.randint(0, 97, (B, n_branches, n_slots))
    ids[:, :, N_RIGHT] = batch.document.gather(1, cut - 1)
    canvas = torch.randint(0, 97, (B, K, n_slots))
    both = replace(batch, canvas=canvas, branches=Branches(ids, cut, n_right))
    with torch.no_grad():
        run = PackedForward(network, (B, T, K, n_slots), n_branches, compiled=False)
        document, slots, branch, _ = run(both, None)
        alone = PackedForward(network, (B, T, K, n_slots), compiled=False)(replace(both, branches=None), None)
        torch.testing.assert_close((document, slots), alone[:2], rtol=1e-4, atol=1e-5)
        for b in range(B):
            for m in range(n_branches):
                prefix = batch.document[b, : cut[b, m]].tolist()
                right, gap = ids[b, m, : n_right[b, m]].tolist(), ids[b, m, N_RIGHT + 1 :].tolist()
                cache = network.new_cache()
                network.encode(torch.tensor([prefix]), cache)
                own = told(network, cache, prefix, right, OFFSET)
                assert own.position == cache.position == len(prefix)
                said = surprise(network, own, prefix, gap)
                log_probs = torch.log_softmax(network.logits(branch[b, m]), dim=-1)
                expected = -log_probs.gather(1, torch.tensor(gap)[:, None]).squeeze(1)[: len(gap)]
                torch.testing.assert_close(said, expected, rtol=1e-3, atol=1e-4)


def test_rows_over_capacity_are_dropped_not_misrouted(network: Network) -> None:
    """A row beyond an expert's capacity loses that expert's share and nothing else changes."""
    layer = network.layers[0]
    x = torch.randn(40, 64)
    with torch.no_grad():
        full, _ = packed.capacity_experts(layer.router, layer.experts, x, x, 80)
        weights, chosen = layer.router(x)
        tight, _ = packed.capacity_experts(layer.router, layer.experts, x, x, 8)
        seen = [0] * 8
        for row in range(40):
            kept = torch.zeros(64)
            for place in range(2):
                expert = int(chosen[row, place])
                if seen[expert] < 8:
                    only = torch.tensor([[weights[row, place], 0.0]])
                    other = (expert + 1) % 8
                    kept += layer.experts(x[row : row + 1], only, torch.tensor([[expert, other]]))[0]
                seen[expert] += 1
            torch.testing.assert_close(tight[row], kept, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(full, layer.experts(x, weights, chosen), rtol=1e-4, atol=1e-5)


def test_expert_gradients_equal_plain_indexing(network: Network) -> None:
    """`Gather` and `Spread` have hand-written backwards; autograd through the inference form is the oracle."""
    layer = network.layers[0]
    x = torch.randn(30, 64, requires_grad=True)
    direction = torch.randn(30, 64)

    def gradients(y: torch.Tensor) -> list[torch.Tensor]:
        wanted = [x, layer.experts.gate_up_proj, layer.experts.down_proj, layer.router.proj.weight]
        return list(torch.autograd.grad((y * direction).sum(), wanted))

    ours = gradients(packed.capacity_experts(layer.router, layer.experts, x, x, 64)[0])
    theirs = gradients(layer.experts(x, *layer.router(x)))
    for mine, oracle in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, oracle, rtol=1e-3, atol=1e-5)


def test_loss_and_its_gradients_equal_autograd() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(2 * CHUNK, 16, requires_grad=True)
    head = torch.randn(50, 16, requires_grad=True)
    target, weight = torch.randint(0, 50, (2 * CHUNK,)), torch.rand(2 * CHUNK)
    total, each = SoftcappedCrossEntropy(30.0, compiled=False)(hidden, head, target, weight)
    logits = 30 * torch.tanh(hidden @ head.T / 30)
    plain = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(each, plain, rtol=1e-4, atol=1e-4)
    for mine, oracle in zip(
        torch.autograd.grad(total, (hidden, head)),
        torch.autograd.grad((plain * weight).sum(), (hidden, head)),
        strict=True,
    ):
        torch.testing.assert_close(mine, oracle, rtol=1e-3, atol=1e-3)
