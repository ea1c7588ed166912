"""Muon for the hidden matrices, AdamW for everything else, over float32 masters of the weights.

Muon: momentum orthogonalised by Newton-Schulz (Jordan et al. 2024, github.com/KellerJordan/Muon; at this size it
reaches AdamW's loss in about half the compute, arXiv 2504.08451). Across data-parallel processes each one
orthogonalises its share of the matrices. Knows nothing of losses, data or schedules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

NS_STEPS = 5
NS_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalize(g: Tensor) -> Tensor:
    """The nearest (semi-)orthogonal matrix to each g [B, m, n], roughly: singular values end near 1."""
    a, b, c = NS_COEFFICIENTS
    x = g
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.transpose(-2, -1)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(NS_STEPS):
        gram = x @ x.transpose(-2, -1)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.transpose(-2, -1) if tall else x


def orthogonalize_all(gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each [..., m, n], those of one shape in one product: a GPU would otherwise spend its time on launches."""
    by_shape: dict[torch.Size, list[str]] = {}
    for name, grad in gradients.items():
        by_shape.setdefault(grad.shape[-2:], []).append(name)
    updates: dict[str, Tensor] = {}
    for shape, names in by_shape.items():
        flat = [gradients[name].reshape(-1, *shape) for name in names]
        pieces = orthogonalize(torch.cat(flat)).split([len(one) for one in flat])
        updates |= {name: piece.view_as(gradients[name]) for name, piece in zip(names, pieces, strict=True)}
    return updates


class Optimizer:
    """step() reads `.grad`, averages it over processes, updates the masters and writes the weights back."""

    def __init__(
        self,
        network: nn.Module,
        muon_lr: float = 0.02,
        adam_lr: float = 2e-3,
        router_lr: float = 5e-4,
        weight_decay: float = 0.05,
        muon: bool = True,
    ) -> None:
        """muon: False leaves the hidden matrices to Adam as well."""
        self.muon = muon
        self.lr = {"muon": muon_lr, "adam": adam_lr, "router": router_lr}
        self.weight_decay = weight_decay
        self.params = dict(network.named_parameters())
        self.masters = {name: p.detach().float().clone() for name, p in self.params.items()}
        self.first = {name: torch.zeros_like(m) for name, m in self.masters.items()}
        self.second = {name: torch.zeros_like(m) for name, m in self.masters.items() if self.group(name) != "muon"}
        self.steps = 0

    def group(self, name: str) -> str:
        if "router.proj" in name:
            return "router"
        hidden = self.params[name].dim() >= 2 and "embed" not in name
        return "muon" if hidden and self.muon else "adam"

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """scale: the schedule's factor on every learning rate, 0..1."""
        grads = self._gather_gradients()
        self.steps += 1
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        muon = [name for name in self.params if self.group(name) == "muon"]
        mine = {}
        for i, name in enumerate(muon):
            momentum = self.first[name].lerp_(grads[name].float(), 0.05)
            if i % world == rank:
                mine[name] = grads[name].float().lerp_(momentum, 0.95).to(self.params[name].dtype)
        updates = orthogonalize_all(mine)
        if world > 1:
            empty = {name: torch.zeros_like(grads[name]) for name in muon if name not in updates}
            flat = torch.cat([(updates | empty)[name].reshape(-1) for name in muon])
            dist.all_reduce(flat)
            pieces = flat.split([grads[name].numel() for name in muon])
            updates = {name: piece.view_as(grads[name]) for name, piece in zip(muon, pieces, strict=True)}
        for name, update in updates.items():
            rows, cols = update.shape[-2:]
            lr = self.lr["muon"] * scale
            master = self.masters[name].mul_(1 - lr * self.weight_decay)
            master.sub_(update.float(), alpha=lr * max(1.0, rows / cols) ** 0.5)
        for name, param in self.params.items():
            if self.group(name) != "muon":
                self._adam(name, grads[name].float(), self.lr[self.group(name)] * scale)
            param.copy_(self.masters[name])
            param.grad = None

    def _adam(self, name: str, grad: Tensor, lr: float) -> None:
        beta1, beta2 = 0.9, 0.98
        first, second = self.first[name], self.second[name]
        first.lerp_(grad, 1 - beta1)
        second.lerp_(grad.square(), 1 - beta2)
        corrected = (second / (1 - beta2**self.steps)).sqrt_().add_(1e-10)
        self.masters[name].addcdiv_(first, corrected, value=-lr / (1 - beta1**self.steps))

    def _gather_gradients(self) -> dict[str, Tensor]:
        """Each weight's gradient, averaged over processes. A step without self-conditioning leaves its weights without
        one; they count as zero, so that all processes agree on the layout."""
        grads = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in self.params.items()}
        if not dist.is_initialized():
            return grads
        flat = torch.cat([grad.reshape(-1) for grad in grads.values()])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        pieces = flat.split([grad.numel() for grad in grads.values()])
        return {name: piece.view_as(grad) for (name, grad), piece in zip(grads.items(), pieces, strict=True)}

    def state(self) -> dict[str, Any]:
        return {"masters": self.masters, "first": self.first, "second": self.second, "steps": self.steps}

    @torch.no_grad()
    def adopt(self, weights: Mapping[str, Tensor]) -> None:
        """Begins from these weights, of the network's names and shapes; the moments stay as they are. Raises KeyError
        where one is missing."""
        for name, param in self.params.items():
            self.masters[name].copy_(weights[name])
            param.copy_(self.masters[name])

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        for mine, theirs in (
            (self.masters, state["masters"]),
            (self.first, state["first"]),
            (self.second, state["second"]),
        ):
            for name, tensor in mine.items():
                tensor.copy_(theirs[name])
        self.steps = int(state["steps"])
        for name, param in self.params.items():
            param.copy_(self.masters[name])
