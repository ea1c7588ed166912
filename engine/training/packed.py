"""One forward over documents, the canvases cut from them, and fill-in-the-middle branches.

Rows of a document come first and attend causally; each canvas attends to the document before its cut and to itself. A
branch is the causal mode told what stands right of a gap: the suffix' head, then the gap, each row seeing the document
before the cut and the rows before it. Every linear layer sees all rows in one product. This is `Network` in all of its
modes at once, for fixed shapes and with gradients; a test holds it equal to `encode`, `told` and `denoise`. Knows
nothing of text, noise or optimisers.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import gelu, linear

from ..config import NetworkConfig
from ..network import Attention, Experts, Layer, Network, Router, inverse_frequencies

CAPACITY = 1.3  # rows an expert may take, relative to a perfectly even share; the rest are dropped in training
CAUSAL_BLOCKS = 4
N_RIGHT = 24  # slots of a branch for the suffix' head, in front of those for the gap
OFFSET = 32  # how far behind the cut a branch places its suffix, whatever the gap's length: as in the largest canvas
MAX_SCORE = 80.0  # exp stays finite in float32


@dataclass(frozen=True)
class Branches:
    """M fill-in-the-middle branches for each of B documents.

    ids [B, M, C]: the suffix' head in the first N_RIGHT slots, then the prefix' last token once more and the gap.
    cut [B, M]: document tokens before each gap, at least 1.  n_right [B, M]: slots of the suffix in use.
    """

    ids: Tensor
    cut: Tensor
    n_right: Tensor

    def to(self, device: torch.device) -> Branches:
        return Branches(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True)
class Packed:
    """A batch of B documents of T tokens, with K canvases of C slots each.

    document [B, T], canvas [B, K, C]: int64 ids.  cut [B, K]: document tokens before each gap.
    n_slots [B, K]: slots of a canvas in use; those behind are padding that nothing attends to.  branches: None where
    there are to be none.
    """

    document: Tensor
    canvas: Tensor
    cut: Tensor
    n_slots: Tensor
    branches: Branches | None = None

    def to(self, device: torch.device) -> Packed:
        document, canvas = self.document.to(device), self.canvas.to(device)
        branches = self.branches and self.branches.to(device)
        return Packed(document, canvas, self.cut.to(device), self.n_slots.to(device), branches)


@dataclass(frozen=True)
class Sight:
    """What the slots see, 1 or 0 in float32, of all canvases and branches, K of them: document [B, K, 1, T], their own
    slots [B, K, C, C], by query and key."""

    document: Tensor
    own: Tensor


class PackedForward(torch.nn.Module):
    """Runs `Network`'s own weights over a `Packed` batch. The layer body is compiled once and shared by all layers."""

    def __init__(
        self, network: Network, shape: tuple[int, int, int, int], n_branches: int = 0, compiled: bool = True
    ) -> None:
        """shape: (B, T, K, C).  n_branches: M; a batch has just as many."""
        super().__init__()
        self.network = network
        self.shape = shape
        self._layer = torch.compile(packed_layer, dynamic=False) if compiled else packed_layer
        batch, length, n_canvases, n_slots = shape
        window = network.config.sliding.window
        if window is not None and length > window:
            raise ValueError(f"documents of {length} tokens reach beyond the network's window of {window}")
        n_rows = length + (n_canvases + n_branches) * n_slots
        self.capacity = expert_capacity(network.config, batch * n_rows)

    def forward(self, batch: Packed, soft: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Normed hidden of the documents [B, T, H], of the canvases [B, K, C, H] and of the branches' gaps
        [B, M, C - N_RIGHT, H], and the load-balance loss.

        soft: expected embeddings of the previous denoise step, [B, K, C, H], or None.
        """
        network, (_, length, n_canvases, n_slots) = self.network, self.shape
        canvas = network.self_conditioning.condition(network.embed(batch.canvas), soft)
        places = batch.cut[:, :, None] + torch.arange(n_slots, device=batch.cut.device)
        if batch.branches is not None:
            canvas = torch.cat((canvas, network.embed(batch.branches.ids)), dim=1)
            places = torch.cat((places, branch_places(batch.branches)), dim=1)
        x = torch.cat((network.embed(batch.document), canvas.flatten(1, 2)), dim=1)
        own = torch.arange(length, device=x.device).expand(len(x), length)
        ropes = batch_ropes(network.config, torch.cat((own, places.flatten(1)), dim=1), network.dtype)
        sight = sights(batch, length)
        balance = torch.zeros((), device=x.device)
        for i, layer in enumerate(network.layers):
            assert isinstance(layer, Layer)
            rope = ropes[network.config.layer_types[i]]
            x, layer_balance = self._layer(layer, x, rope, sight, length, self.capacity)
            balance = balance + layer_balance
        x = network.norm(x)
        slots = x[:, length:].unflatten(1, (-1, n_slots))
        canvas, branch = slots[:, :n_canvases], slots[:, n_canvases:, N_RIGHT:]
        return x[:, :length], canvas, branch, balance / len(network.layers)


def packed_layer(
    layer: Layer, x: Tensor, rope: tuple[Tensor, Tensor], sight: Sight, length: int, capacity: int
) -> tuple[Tensor, Tensor]:
    """`Layer.forward` for packed rows [B, T + K*C, H]. Layer scalars are the constant 1 while training."""
    attended = packed_attention(layer.self_attn, layer.input_layernorm(x), rope, sight, length)
    x = x + layer.post_attention_layernorm(attended)
    dense = layer.post_feedforward_layernorm_1(layer.mlp(layer.pre_feedforward_layernorm(x)))
    rows = x.flatten(0, 1)
    routed, balance = capacity_experts(
        layer.router, layer.experts, rows, layer.pre_feedforward_layernorm_2(rows), capacity
    )
    routed = layer.post_feedforward_layernorm_2(routed).view_as(x)
    return x + layer.post_feedforward_layernorm(dense + routed), balance


def packed_attention(attention: Attention, x: Tensor, rope: tuple[Tensor, Tensor], sight: Sight, length: int) -> Tensor:
    q, k, v = attention.project(x, rope)  # [B, heads | kv, T + K*C, D]
    document = causal_attention(q[:, :, :length], k[:, :, :length], v[:, :, :length])
    canvas = canvas_attention(q[:, :, length:], k, v, sight, length)
    out = torch.cat((document, canvas), dim=2)
    return attention.o_proj(out.transpose(1, 2).flatten(2))


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """q [B, heads, T, D] over k, v [B, kv, T, D], in blocks of queries: most of the masked half is never computed.

    Softmax without the usual maximum pass: queries and keys are RMS-normed, which bounds the scores.
    """
    n_docs, heads, length, dim = q.shape
    kv = k.shape[1]
    block = -(-length // CAUSAL_BLOCKS)
    later = torch.ones(block, block, dtype=torch.bool, device=q.device).triu(1)
    outputs = []
    for start in range(0, length, block):
        end = start + block
        rows = q[:, :, start:end].reshape(n_docs, kv, -1, dim)  # the query heads of one kv head, stacked
        scores = (rows @ k[:, :, :end].transpose(2, 3)).reshape(n_docs, heads, block, end).float()
        weights = torch.exp(scores.clamp_max(MAX_SCORE))
        hidden = torch.nn.functional.pad(later, (start, 0))
        weights = weights.masked_fill(hidden, 0.0)
        total = weights.sum(-1, keepdim=True)
        out = (weights.to(q.dtype).reshape(n_docs, kv, -1, end) @ v[:, :, :end]).reshape(n_docs, heads, block, dim)
        outputs.append((out / total).to(q.dtype))
    return torch.cat(outputs, dim=2)


def canvas_attention(q: Tensor, k: Tensor, v: Tensor, sight: Sight, length: int) -> Tensor:
    """Canvas queries over [document keys ; own canvas' keys]: two products, one normalisation. Branches alike.

    q: [B, heads, K*C, D]; k, v: [B, kv, T + K*C, D].
    """
    n_docs, heads, rows, dim = q.shape
    kv, n_canvases = k.shape[1], sight.own.shape[1]
    n_slots = rows // n_canvases
    groups = heads // kv
    split = (n_docs, kv, groups, n_canvases, n_slots)
    document = q.reshape(n_docs, kv, groups * rows, dim) @ k[:, :, :length].transpose(2, 3)
    document = torch.exp(document.float().clamp_max(MAX_SCORE)).reshape(*split, length) * sight.document[:, None, None]
    total = document.sum(-1, keepdim=True)
    out = document.to(q.dtype).reshape(n_docs, kv, groups * rows, length) @ v[:, :, :length]

    own_q = q.reshape(*split, dim).transpose(2, 3).reshape(n_docs, kv, n_canvases, groups * n_slots, dim)
    own_k = k[:, :, length:].reshape(n_docs, kv, n_canvases, n_slots, dim)
    own_v = v[:, :, length:].reshape(n_docs, kv, n_canvases, n_slots, dim)
    own = torch.exp((own_q @ own_k.transpose(3, 4)).float().clamp_max(MAX_SCORE))
    own = (own.unflatten(3, (groups, n_slots)) * sight.own[:, None, :, None]).flatten(3, 4)
    own_total = own.sum(-1, keepdim=True)
    own_out = own.to(q.dtype) @ own_v
    by_slot = (n_docs, kv, n_canvases, groups, n_slots)
    own_out = own_out.reshape(*by_slot, dim).transpose(2, 3)
    total = total + own_total.reshape(*by_slot, 1).transpose(2, 3)
    return ((out.reshape(*split, dim) + own_out) / total).to(q.dtype).reshape(n_docs, heads, rows, dim)


def sights(batch: Packed, length: int) -> Sight:
    """Out of sight: document tokens from the cut on, slots that are padding, and to a branch what comes behind."""
    device, n_slots = batch.cut.device, batch.canvas.shape[2]
    slots = torch.arange(n_slots, device=device)
    cut, own = batch.cut, (slots < batch.n_slots[:, :, None])[:, :, None].expand(-1, -1, n_slots, -1)
    if batch.branches is not None:
        used = (slots < batch.branches.n_right[:, :, None]) | (slots >= N_RIGHT)
        # Itself in any case: a row that saw nothing would be no number.
        causal = (slots <= slots[:, None]) & used[:, :, None] | torch.eye(n_slots, dtype=torch.bool, device=device)
        cut, own = torch.cat((cut, batch.branches.cut - 1), dim=1), torch.cat((own, causal), dim=1)
    document = torch.arange(length, device=device) < cut[:, :, None]
    return Sight(document[:, :, None].float(), own.float())


def branch_places(branches: Branches) -> Tensor:
    """Positions [B, M, C] of the slots. The gap's are those that it has in its document."""
    slots = torch.arange(branches.ids.shape[2], device=branches.cut.device)
    return branches.cut[:, :, None] + torch.where(slots < N_RIGHT, OFFSET + slots, slots - N_RIGHT - 1)


def batch_ropes(config: NetworkConfig, positions: Tensor, dtype: torch.dtype) -> dict[str, tuple[Tensor, Tensor]]:
    """cos and sin [B, 1, P, head_dim] per layer type for positions [B, P]."""
    ropes: dict[str, tuple[Tensor, Tensor]] = {}
    for i, layer_type in enumerate(config.layer_types):
        if layer_type not in ropes:
            angles = positions[:, None, :, None].float() * inverse_frequencies(config.attention(i), positions.device)
            angles = torch.cat((angles, angles), dim=-1)
            ropes[layer_type] = (angles.cos().to(dtype), angles.sin().to(dtype))
    return ropes


def expert_capacity(config: NetworkConfig, n_rows: int) -> int:
    even = n_rows * config.top_k_experts / config.num_experts
    return -(-int(even * CAPACITY) // 16) * 16


def capacity_experts(
    router: Router, experts: Experts, residual: Tensor, x: Tensor, capacity: int
) -> tuple[Tensor, Tensor]:
    """Experts as one batched product of fixed shape: each takes at most `capacity` rows, the overflow gets nothing.

    Returns the mixture [N, H] and the load-balance loss E * sum_e share_e * mean_prob_e (Switch Transformers,
    arXiv 2101.03961, eq. 4), 1 when even.
    """
    n_experts, top_k = experts.down_proj.shape[0], router.top_k
    if n_experts == 1:
        return experts_mlp(experts, x[None])[0] * router.per_expert_scale.to(x.dtype), x.new_ones(()).float()
    probs, weights, chosen = routing(router, residual)
    hot = torch.zeros(chosen.numel(), n_experts, dtype=torch.int32, device=x.device)
    hot = hot.scatter_(1, chosen.reshape(-1, 1), 1)
    place = ((hot.cumsum(0) - 1) * hot).sum(1)  # how many before this row chose the same expert
    share = hot.sum(0).float() / hot.shape[0]
    balance = n_experts * (share * probs.mean(0)).sum()
    slot = chosen.reshape(-1) * capacity + place
    dropped = n_experts * capacity
    slot = torch.where(place < capacity, slot, dropped)
    places = torch.arange(slot.shape[0], device=x.device)
    taken = torch.zeros(dropped + 1, dtype=torch.int64, device=x.device).scatter_(0, slot, places // top_k + 1)
    taken = taken[:-1]  # row + 1 that fills each expert slot, 0: nobody
    rows = Gather.apply(x, taken, slot.view(-1, top_k))
    y = experts_mlp(experts, rows.view(n_experts, capacity, -1)).flatten(0, 1)
    picked = Spread.apply(y, taken, slot.view(-1, top_k))  # [N, top_k, H]
    return (picked * weights[:, :, None].to(x.dtype)).sum(1), balance


def experts_mlp(experts: Experts, rows: Tensor) -> Tensor:
    """rows [E, N, H], each expert's own -> [E, N, H]."""
    gate, up = torch.bmm(rows, experts.gate_up_proj.transpose(1, 2)).chunk(2, dim=-1)
    return torch.bmm(gelu(gate, approximate="tanh") * up, experts.down_proj.transpose(1, 2))


def routing(router: Router, residual: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`route_torch`, with the full distribution [N, E] that the load-balance loss needs."""
    h = residual.float()
    h = h * torch.rsqrt(h.square().mean(-1, keepdim=True) + router.eps)
    h = h.to(residual.dtype) * router.scale * residual.shape[-1] ** -0.5
    probs = torch.softmax(linear(h, router.proj.weight).float(), dim=-1)
    weights, chosen = torch.topk(probs, router.top_k, dim=-1)
    weights = weights / weights.sum(-1, keepdim=True)
    return probs, weights * router.per_expert_scale[chosen], chosen


def _padded(x: Tensor) -> Tensor:
    return torch.cat((x.new_zeros(1, x.shape[1]), x))


class Gather(torch.autograd.Function):
    """Rows [N, H] into expert slots [E*capacity, H]. Its gradient is written as a gather too: a scatter-add of rows
    is what makes mixture-of-experts training slow on a CPU."""

    @staticmethod
    def forward(ctx, x: Tensor, taken: Tensor, slot: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(slot)
        return _padded(x)[taken]

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        (slot,) = ctx.saved_tensors
        grad = torch.cat((grad, grad.new_zeros(1, grad.shape[1])))
        return grad[slot].sum(1), None, None


class Spread(torch.autograd.Function):
    """Expert slots [E*capacity, H] back to the rows that took them, [N, top_k, H]; dropped ones get zeros."""

    @staticmethod
    def forward(ctx, y: Tensor, taken: Tensor, slot: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(taken, slot)
        return torch.cat((y, y.new_zeros(1, y.shape[1])))[slot]

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        taken, slot = ctx.saved_tensors
        n_rows, top_k, hidden = grad.shape
        # The flat (row, k) pair behind each expert slot: which of the row's k places points at it.
        row = (taken - 1).clamp_min(0)
        place = (slot[row] == torch.arange(taken.shape[0], device=grad.device)[:, None]).int().argmax(1)
        grad = grad.reshape(n_rows * top_k, hidden)[row * top_k + place]
        return grad * (taken > 0)[:, None].to(grad.dtype), None, None
