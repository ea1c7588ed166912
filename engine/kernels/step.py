"""One denoise step on a GPU, from the canvases' tokens to the next ones, as one run over fixed memory.

For a checkpoint with uniform noise that finds the accepted set anew at every step and has no delete token, as
DiffusionGemma: a canvas never shrinks, so every step has the same shapes and can be captured in a CUDA graph, whose
replay then is a step. The host puts nothing in between steps and reads one number per canvas. The rules are those of
`denoise.denoise_all`, which stays the loop for everything else; every operation has its plain-torch form, so the same
steps run on a CPU, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .canvas import Past, canvas
from .commit import Rule, State, commit
from .head import EVERYWHERE, FIRST, LAST, Rows, head
from .packing import Packed
from .soft import soft

if TYPE_CHECKING:
    from ..cache import KVCache
    from ..canvas import Canvas
    from ..denoise import Setting
    from ..network import Network
    from ..sampler import SamplerConfig

SEEDS = 2**20  # a request's seed and a step's number make the seed of its random stream; no two pairs share one


@dataclass(frozen=True)
class Size:
    """What a step has room for: canvases, slots of each, gap slots of all of them, tokens of prefix."""

    canvases: int
    slots: int
    gaps: int
    prefix: int


class Room:
    """Memory for an encoded prefix of at most `length` tokens, which steps share, for one runs at a time."""

    def __init__(self, network: Network, length: int) -> None:
        config, device, dtype = network.config, network.device, network.dtype
        self.length, self.layers = length, []
        for i in range(config.num_hidden_layers):
            shape = config.attention(i)
            kept = length if shape.window is None else min(length, shape.window - 1)
            k, v = torch.zeros(2, 1, shape.num_key_value_heads, kept, shape.head_dim, dtype=dtype, device=device)
            self.layers.append((k, v))


class Step:
    """Memory and launches of a step. `begin` fills the memory for some gaps, a call makes one step in it.

    Invariant: whatever a step leaves behind, half a run of it included, `begin` overwrites all that the next run
    reads. So a fill may be given up at any step, and the next one starts clean.
    """

    def __init__(self, network: Network, size: Size, sampler: SamplerConfig, room: Room) -> None:
        self._network, self.size, self._sampler, self._room = network, size, sampler, room
        config, device, n = network.config, network.device, size.gaps
        self._rule = Rule(sampler.entropy_bound, sampler.confidence_threshold, config.vocab_size)

        def integers(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.int32, device=device)

        def indices(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.int64, device=device)

        # A slot more than there are, where rows that no gap has need not be told from others.
        self._n_slots = size.canvases * size.slots
        self._ids = indices(self._n_slots + 1)
        self._soft = torch.zeros(self._n_slots + 1, config.hidden_size, dtype=network.dtype, device=device)
        self._lengths, self._rows, self._places = integers(size.canvases), indices(n), indices(n)
        self._kinds = Rows(integers(n), integers(n))
        self._banned = torch.zeros(config.vocab_size, dtype=torch.uint8, device=device)
        self.state = State(
            indices(n), indices(n), torch.zeros(n, device=device), integers(size.canvases), integers(size.canvases + 1)
        )
        self._seed, self._number = indices(1), integers(1)
        self._remaining = torch.zeros(1, device=device)
        self._scale = torch.full((1,), config.hidden_size**0.5, dtype=network.dtype, device=device)
        windows = {config.attention(i).window for i in range(config.num_hidden_layers)}
        spans = {window: integers(2) for window in windows}
        self._past = Past(room.layers, spans, network.ropes(torch.arange(size.slots, device=device)))

    @property
    def ids(self) -> Tensor:
        """What the canvases hold: [canvases, slots]."""
        return self._ids[: self._n_slots].view(self.size.canvases, -1)

    def begin(self, setting: Setting, canvases: Sequence[Canvas], seed: int) -> None:
        """At most as many canvases as there is room for, behind the prefix in the setting's cache; all slots of their
        gaps are free."""
        size, device = self.size, self._ids.device
        sizes = [len(each.gap) for each in canvases]
        lengths = [len(each.ids) for each in canvases]
        assert len(sizes) <= size.canvases and max(lengths) <= size.slots and sum(sizes) <= size.gaps
        ids = torch.zeros(self._n_slots + 1, dtype=torch.int64)
        # Rows beyond the gaps' look at the first slot and write to the one nobody sees.
        rows, places = torch.zeros(size.gaps, dtype=torch.int64), torch.full((size.gaps,), self._n_slots)
        numbers = torch.zeros(size.gaps, dtype=torch.int32)
        kinds = torch.full((size.gaps,), EVERYWHERE, dtype=torch.int32)
        at = 0
        for i, (each, n) in enumerate(zip(canvases, sizes, strict=True)):
            start = i * size.slots
            ids[start : start + lengths[i]] = each.ids
            rows[at : at + n] = places[at : at + n] = torch.arange(start, start + n)
            numbers[at : at + n] = torch.arange(n)
            kinds[at] |= FIRST
            kinds[at + n - 1] |= LAST
            at += n
        rest = size.canvases - len(sizes)
        starts = [0, *(sum(sizes[: i + 1]) for i in range(len(sizes))), *[sum(sizes)] * rest]
        held = [*[0] * len(sizes), *[1] * rest]  # a canvas that is not there is settled
        state, whole = self.state, [*lengths, *[1] * rest]
        for mine, value in (
            (self._ids, ids),
            (self._rows, rows),
            (self._places, places),
            (self._kinds.numbers, numbers),
            (self._kinds.kinds, kinds),
            (self._lengths, torch.tensor(whole, dtype=torch.int32)),
            (state.starts, torch.tensor(starts, dtype=torch.int32)),
            (state.settled, torch.tensor(held, dtype=torch.int32)),
        ):
            mine.copy_(value, non_blocking=True)
        self._load(setting.cache)
        self._bar(setting, device)
        state.guess.fill_(-1)
        self._soft.zero_()  # zeros condition on nothing: the norm and the MLP of zero are zero
        self._seed.fill_(seed % 2**40 * SEEDS)
        self._number.zero_()
        self._remaining.fill_(self._sampler.max_denoising_steps)

    def __call__(self) -> None:
        sampler, config, network = self._sampler, self._network.config, self._network
        heat = (sampler.t_max - sampler.t_min) / sampler.max_denoising_steps
        temperature = self._remaining * heat + sampler.t_min
        self._number += 1
        said = self._soft[: self._n_slots].view(*self.ids.shape, -1)
        hidden = canvas(network, self.ids, self._past, said, self._lengths).flatten(0, 1).index_select(0, self._rows)
        embedding, cap = embedding_of(network), config.final_logit_softcapping
        drawn = None if sampler.greedy else self._seed
        statistics, fixed = head(hidden, embedding, cap, temperature, self._banned, self._kinds, drawn)
        commit(statistics, self.state, self._seed, self._number, self._rule, min(self.size.gaps, self.size.slots))
        self._ids.index_copy_(0, self._places, self.state.tokens)
        self._soft.copy_(network.embed(self._ids))
        expected = soft(fixed, statistics.log_sum, cap, temperature, embedding, self._scale)
        self._soft.index_copy_(0, self._places, expected)
        self._remaining.sub_(1).clamp_(min=1)  # one that runs past its budget, as a benchmark's, stays at the last heat
        self._seed += 1

    def _load(self, cache: KVCache) -> None:
        """The prefix' keys and values, and its length where attention and rotation read it."""
        config, length = self._network.config, cache.length
        assert length <= self.size.prefix <= self._room.length
        for i, (k, v) in enumerate(self._room.layers):
            window = config.attention(i).window
            past_k, past_v = cache.read(i, None if window is None else window - 1)
            k[:, :, : past_k.shape[2]] = past_k
            v[:, :, : past_v.shape[2]] = past_v
        for window, span in self._past.spans.items():
            span[1] = length if window is None else min(length, window - 1)
        positions = torch.arange(length, length + self.size.slots, device=self._ids.device)
        for layer_type, (cos, sin) in self._network.ropes(positions).items():
            self._past.ropes[layer_type][0].copy_(cos)
            self._past.ropes[layer_type][1].copy_(sin)

    def _bar(self, setting: Setting, device: torch.device) -> None:
        """Which tokens may stand nowhere, and which not in a gap's first or last slot."""
        self._banned.zero_().index_fill_(0, setting.banned.to(device), EVERYWHERE)
        for bit, barred in ((FIRST, setting.seams.first), (LAST, setting.seams.last)):
            if barred is not None:
                self._banned |= barred.to(device).to(torch.uint8) * bit


def embedding_of(network: Network) -> Tensor | Packed:
    """The embedding [V, H], packed or not."""
    module: Any = network.embed_tokens
    packed: Packed | None = getattr(module, "packed", None)
    return module.weight if packed is None else packed
