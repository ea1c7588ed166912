"""One denoise step on a GPU, from the canvas' tokens to the next ones, as one run over fixed memory.

For a checkpoint with uniform noise that finds the accepted set anew at every step and has no delete token, as
DiffusionGemma: a canvas never shrinks, so every step has the same shapes and can be captured in a CUDA graph, whose
replay then is a step. The host puts nothing in between steps and reads one flag. The rules are those of
`denoise.denoise`, which stays the loop for everything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .canvas_triton import Past, canvas_triton
from .commit import Rule
from .commit_triton import commit_triton
from .head_triton import head_triton
from .packing import Packed
from .soft_triton import soft_triton

if TYPE_CHECKING:
    from ..cache import KVCache
    from ..network import Network
    from ..sampler import SamplerConfig


@dataclass(frozen=True)
class Size:
    """Of a step: gap slots, all slots, and the longest prefix it has room for."""

    gap: int
    canvas: int
    prefix: int


class Step:
    """Memory and launches of a step. `begin` fills the memory for one gap, a call makes one step in it.

    Invariant: whatever a step leaves behind, half a run of it included, `begin` overwrites all that the next run
    reads. So a fill may be given up at any step, and the next one starts clean.
    """

    def __init__(self, network: Network, size: Size, sampler: SamplerConfig, banned: Tensor) -> None:
        """banned: ids [N] that are never predicted."""
        self._network, self.size, self._sampler = network, size, sampler
        config, device = network.config, network.device
        self._rule = Rule(sampler.entropy_bound, sampler.confidence_threshold, config.vocab_size)
        self._banned = torch.zeros(config.vocab_size, dtype=torch.uint8, device=device).index_fill_(0, banned, 1)
        self.ids = torch.zeros(size.canvas, dtype=torch.int64, device=device)
        self.guess = torch.zeros(size.gap, dtype=torch.int64, device=device)
        self.entropy = torch.zeros(size.gap, device=device)
        self.flag = torch.zeros(1, dtype=torch.int32, device=device)
        self._soft = torch.zeros(1, size.canvas, config.hidden_size, dtype=network.dtype, device=device)
        self._seed = torch.zeros(1, dtype=torch.int64, device=device)
        self._remaining = torch.zeros(1, device=device)
        self._scale = torch.full((1,), config.hidden_size**0.5, dtype=network.dtype, device=device)
        self._past = self._room()

    def begin(self, cache: KVCache, ids: Tensor, seed: int) -> None:
        """A gap behind the prefix in `cache`: ids [canvas], noise in the gap and pinned tokens behind it."""
        config, length = self._network.config, cache.length
        assert length <= self.size.prefix and ids.shape == self.ids.shape
        for i, (k, v) in enumerate(self._past.layers):
            window = config.attention(i).window
            past_k, past_v = cache.read(i, None if window is None else window - 1)
            k[:, :, : past_k.shape[2]] = past_k
            v[:, :, : past_v.shape[2]] = past_v
        for window, span in self._past.spans.items():
            span[1] = length if window is None else min(length, window - 1)
        positions = torch.arange(length, length + self.size.canvas, device=self.ids.device)
        for layer_type, (cos, sin) in self._network.ropes(positions).items():
            self._past.ropes[layer_type][0].copy_(cos)
            self._past.ropes[layer_type][1].copy_(sin)
        self.ids.copy_(ids)
        self.guess.fill_(-1)
        self._soft.zero_()  # zeros condition on nothing: the norm and the MLP of zero are zero
        self._seed.fill_(seed)
        self._remaining.fill_(self._sampler.max_denoising_steps)

    def __call__(self) -> None:
        sampler, config, gap = self._sampler, self._network.config, self.size.gap
        heat = (sampler.t_max - sampler.t_min) / sampler.max_denoising_steps
        temperature = self._remaining * heat + sampler.t_min
        hidden = canvas_triton(self._network, self.ids[None], self._past, self._soft)[0, :gap]
        embedding, cap = embedding_of(self._network), config.final_logit_softcapping
        drawn = None if sampler.greedy else self._seed
        statistics, fixed = head_triton(hidden, embedding, cap, temperature, self._banned, drawn)
        self.entropy.copy_(statistics.entropy)
        self.ids[:gap] = commit_triton(statistics, self.guess, self._seed, self.flag, self._rule)
        self._soft[0] = self._network.embed(self.ids)
        self._soft[0, :gap] = soft_triton(fixed, statistics.log_sum, cap, temperature, embedding, self._scale)
        self._remaining.sub_(1).clamp_(min=1)  # one that runs past its budget, as a benchmark's, stays at the last heat
        self._seed += 1

    def _room(self) -> Past:
        network, size = self._network, self.size
        config, device, dtype = network.config, network.device, network.dtype
        shapes = [config.attention(i) for i in range(config.num_hidden_layers)]
        layers = []
        for shape in shapes:
            room = size.prefix if shape.window is None else min(size.prefix, shape.window - 1)
            k, v = torch.zeros(2, 1, shape.num_key_value_heads, room, shape.head_dim, dtype=dtype, device=device)
            layers.append((k, v))
        spans = {shape.window: torch.zeros(2, dtype=torch.int32, device=device) for shape in shapes}
        return Past(layers, spans, network.ropes(torch.arange(size.canvas, device=device)))


def embedding_of(network: Network) -> Tensor | Packed:
    """The embedding [V, H], packed or not."""
    module: Any = network.embed_tokens
    packed: Packed | None = getattr(module, "packed", None)
    return module.weight if packed is None else packed
