"""Muon's update is the orthogonal factor of the momentum, each matrix by itself; a network learns with either."""

from __future__ import annotations

import pytest
import torch
from midspan.engine.training.optimizer import Optimizer, orthogonalize_all
from torch import nn

SIZES = {"a": (24, 24), "b": (12, 40), "c": (40, 12), "d": (24, 24), "experts": (3, 24, 16)}


@pytest.fixture
def gradients() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {name: torch.randn(size) for name, size in SIZES.items()}


def test_updates_are_nearly_orthogonal_and_turn_nothing(gradients: dict[str, torch.Tensor]) -> None:
    """Singular values end between 0.6 and 1.3 (Jordan 2024); the singular vectors are the gradient's own."""
    for name, update in orthogonalize_all(gradients).items():
        assert update.shape == gradients[name].shape
        u, _, v = torch.linalg.svd(gradients[name], full_matrices=False)
        turned = u.transpose(-2, -1) @ update.float() @ v.transpose(-2, -1)
        values = torch.diagonal(turned, dim1=-2, dim2=-1)
        # The weakest directions of a random square matrix are still on their way up after five steps.
        assert values.max() < 1.35 and values.median() > 0.6 and values.min() > 0
        rest = turned - torch.diag_embed(values)
        assert rest.abs().max() < 0.1


def test_a_matrix_is_updated_alike_alone_and_among_others(gradients: dict[str, torch.Tensor]) -> None:
    together = orthogonalize_all(gradients)
    for name, grad in gradients.items():
        alone = orthogonalize_all({name: grad})[name]
        torch.testing.assert_close(together[name], alone, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("muon", [True, False])
def test_a_network_learns_and_goes_on_from_its_state(muon: bool) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(64, 16), torch.randn(64, 4)

    def network() -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4)).bfloat16()

    def step(net: nn.Module, optimizer: Optimizer) -> float:
        loss = (net(x.bfloat16()).float() - y).square().mean()
        loss.backward()
        optimizer.step(1.0)
        return loss.item()

    one = network()
    first = Optimizer(one, muon=muon)
    losses = [step(one, first) for _ in range(200)]
    assert losses[-1] < 0.7 * losses[0]
    two = network()
    second = Optimizer(two, muon=muon)
    second.restore(first.state())
    assert step(one, first) == step(two, second)
    for mine, theirs in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(mine, theirs)
