# ruff: noqa: N803
"""The head on a GPU: a tile of logits is born, counted, and leaves as 16-bit fixed point.

One launch over tiles of the vocabulary, one that merges their statistics. Bytes at n slots: the embedding once (1.48 GB
in bfloat16 for DiffusionGemma, 0.31 ms at 4.8 TB/s), 2 bytes per logit (134 MB at 256 slots); 24 bytes per slot and
tile. At 256 slots 0.38 TFLOP, 0.5 ms at 790 TFLOP/s: the one product of a step that is bound by arithmetic.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .head import BANNED, FULL_SCALE, Rows, Statistics
from .launch import Launch, blocks, choose, power_of_two, start
from .packing import Packed
from .stream import MOST_SLOTS
from .target import Target
from .weights_triton import channel_scaled, compiled_for, operands, tile_product

SCALE: tl.constexpr = tl.constexpr(FULL_SCALE)
BAN: tl.constexpr = tl.constexpr(BANNED)
OUT: tl.constexpr = tl.constexpr(-2.0)
FIELDS = 6  # per slot and tile: peak, sum, sum of e * l, argmax, best draw, its token


@triton.jit
def uniform_of(seed, number, token, VOCAB: tl.constexpr):
    """The one random number of a slot's token: `stream.py`, at a place below 2^31."""
    return tl.rand(seed, number * VOCAB + token)


@triton.jit
def uniform_kernel(seed, numbers, out, VOCAB: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    token = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    drawn = uniform_of(tl.load(seed), tl.load(numbers + row), token, VOCAB)
    tl.store(out + row * VOCAB + token, drawn, mask=token < VOCAB)


@triton.jit(do_not_specialize=["n_rows", "n_row_blocks"])
def head_kernel(
    hidden, weight, scales, banned, numbers, kinds, knobs, seed, fixed, statistics, n_rows, n_row_blocks, cap,
    DEPTH: tl.constexpr, VOCAB: tl.constexpr, KIND: tl.constexpr, DRAW: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr, BLOCK_DEPTH: tl.constexpr, PTX: tl.constexpr,
):  # fmt: skip
    row_block = tl.program_id(0) % n_row_blocks  # neighbours share a tile of the embedding
    tile = tl.program_id(0) // n_row_blocks
    row = row_block * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    live = row < n_rows
    rows_of_x = hidden + tl.where(live, row, 0).to(tl.int64) * DEPTH
    token = tile * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    inside = tl.minimum(token, VOCAB - 1)
    acc = tl.zeros((BLOCK_COLUMNS, BLOCK_ROWS), tl.float32)
    for at in range(0, DEPTH, BLOCK_DEPTH):
        acc = tile_product(
            acc, weight, scales, inside, rows_of_x, at,
            DEPTH, KIND, BLOCK_COLUMNS, BLOCK_DEPTH, hidden.dtype.element_ty, PTX,
        )  # fmt: skip
    acc = channel_scaled(acc, scales, inside, KIND)
    # Rounded as a linear layer in this dtype would; tanh(x) = 2 sigmoid(2x) - 1.
    capped = 2.0 * tl.sigmoid(acc.to(hidden.dtype.element_ty).to(tl.float32) * (2.0 / cap)) - 1.0
    bits = tl.load(banned + inside).to(tl.int32)[:, None] & tl.load(kinds + row, mask=live, other=0)[None, :]
    capped = tl.where((bits != 0) | (token >= VOCAB)[:, None], OUT, capped)  # beyond what a tanh can be
    stored = tl.where(capped == OUT, BAN, tl.floor(capped * SCALE + 0.5).to(tl.int32)).to(tl.int16)
    place = row[None, :].to(tl.int64) * VOCAB + token[:, None]
    tl.store(fixed + place, stored, mask=live[None, :] & (token < VOCAB)[:, None])

    # Finite, because 0 * -inf would make the entropy NaN; and far enough for an exponential to be zero.
    logits = tl.where(capped == OUT, -1e30, capped * (cap / tl.load(knobs)))
    peak = tl.max(logits, 0)
    weights = tl.exp(logits - peak[None, :])
    total = tl.sum(weights, 0)
    moment = tl.sum(weights * logits, 0)
    first = tl.min(tl.where(logits == peak[None, :], token[:, None], VOCAB), 0)
    n_tiles = tl.num_programs(0) // n_row_blocks
    statistics += row.to(tl.int64) * n_tiles + tile
    field = tl.cast(n_rows, tl.int64) * n_tiles
    tl.store(statistics, peak, mask=live)
    tl.store(statistics + field, total, mask=live)
    tl.store(statistics + 2 * field, moment, mask=live)
    tl.store(statistics + 3 * field, first.to(tl.float32, bitcast=True), mask=live)
    if DRAW:
        number = tl.load(numbers + row, mask=live, other=0)
        uniform = uniform_of(tl.load(seed), number[None, :], token[:, None], VOCAB)
        drawn = logits - tl.log(-tl.log(uniform))
        best = tl.max(drawn, 0)
        winner = tl.min(tl.where(drawn == best[None, :], token[:, None], VOCAB), 0)
        tl.store(statistics + 4 * field, best, mask=live)
        tl.store(statistics + 5 * field, winner.to(tl.float32, bitcast=True), mask=live)


@triton.jit
def merge_statistics_kernel(
    statistics, argmax, sample, entropy, log_sum, certainty, n_tiles,
    VOCAB: tl.constexpr, DRAW: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    n_rows = tl.num_programs(0)
    tile = tl.arange(0, BLOCK)
    inside = tile < n_tiles
    here = statistics + row.to(tl.int64) * n_tiles + tile
    field = n_rows.to(tl.int64) * n_tiles
    peaks = tl.load(here, mask=inside, other=-float("inf"))
    peak = tl.max(peaks, 0)
    fade = tl.exp(peaks - peak)
    total = tl.sum(tl.load(here + field, mask=inside, other=0.0) * fade, 0)
    moment = tl.sum(tl.load(here + 2 * field, mask=inside, other=0.0) * fade, 0)
    tokens = tl.load(here + 3 * field, mask=inside, other=0.0).to(tl.int32, bitcast=True)
    first = tl.minimum(tl.min(tl.where((peaks == peak) & inside, tokens, VOCAB), 0), VOCAB - 1)
    sum_log = peak + tl.log(total)
    tl.store(argmax + row, first.to(tl.int64))
    tl.store(log_sum + row, sum_log)
    tl.store(entropy + row, sum_log - moment / total)
    tl.store(certainty + row, 1.0 / total)
    if DRAW:
        draws = tl.load(here + 4 * field, mask=inside, other=-float("inf"))
        tokens = tl.load(here + 5 * field, mask=inside, other=0.0).to(tl.int32, bitcast=True)
        best = tl.max(draws, 0)
        first = tl.minimum(tl.min(tl.where((draws == best) & inside, tokens, VOCAB), 0), VOCAB - 1)
    tl.store(sample + row, first.to(tl.int64))


def heuristic(target: Target, rows: int, kind: str) -> Launch:
    if target.backend == "hip":
        radeon = target.warp == 32
        return Launch(min(32, rows), 64, 32 if radeon and rows < 32 else 64, warps=8 if radeon else 4, stages=2)
    if target.warpgroups:
        return Launch(rows, 128, 64 if kind == "plain" else 128, warps=8 if rows > 64 else 4, stages=3)
    return Launch(min(64, rows), 64, 64, warps=4, stages=3)


def head_triton(
    hidden: Tensor,
    weight: Tensor | Packed,
    cap: float,
    knobs: Tensor,
    banned: Tensor,
    slots: Rows,
    seed: Tensor | None,
) -> tuple[Statistics, Tensor]:
    """As `head`; knobs: the temperature."""
    n_rows, depth = hidden.shape
    vocab = weight.shape[0]
    assert vocab * (MOST_SLOTS + 1) < 2**31 and n_rows * vocab < 2**31
    data, scales, kind = operands(weight)
    rows = min(128, power_of_two(n_rows, least=16))
    launch = choose(
        "head", kind, (vocab, depth), rows, hidden.device, lambda target: heuristic(target, rows, kind)
    )  # fmt: skip
    n_row_blocks, n_tiles = blocks(n_rows, launch.rows), blocks(vocab, launch.columns)

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=hidden.device)

    fixed, statistics = empty(n_rows, vocab, dtype=torch.int16), empty(FIELDS, n_rows, n_tiles)
    start(
        head_kernel, (n_row_blocks * n_tiles,), launch,
        hidden, data, scales, banned, slots.numbers, slots.kinds, knobs, seed if seed is not None else knobs,
        fixed, statistics,
        n_rows, n_row_blocks, cap, DEPTH=depth, VOCAB=vocab, KIND=kind, DRAW=seed is not None,
        BLOCK_ROWS=launch.rows, BLOCK_COLUMNS=launch.columns, BLOCK_DEPTH=launch.depth, **compiled_for(hidden),
    )  # fmt: skip
    argmax, sample = empty(n_rows, dtype=torch.int64), empty(n_rows, dtype=torch.int64)
    entropy, log_sum, certainty = empty(n_rows), empty(n_rows), empty(n_rows)
    block = power_of_two(n_tiles)
    start(
        merge_statistics_kernel, (n_rows,), Launch(1, block, 1, warps=min(8, max(1, block // 256)), stages=1),
        statistics, argmax, sample, entropy, log_sum, certainty, n_tiles,
        VOCAB=vocab, DRAW=seed is not None, BLOCK=block,
    )  # fmt: skip
    return Statistics(argmax, sample, entropy, log_sum, certainty), fixed


def uniform_triton(numbers: Tensor, vocab: int, seed: Tensor) -> Tensor:
    """The random numbers [N, vocab] that slots `numbers` [N] int32 draw by: for tests against `stream.py`."""
    out = torch.empty(len(numbers), vocab, dtype=torch.float32, device=seed.device)
    start(uniform_kernel, (len(numbers), blocks(vocab, 1024)), None, seed, numbers, out, VOCAB=vocab, BLOCK=1024)
    return out
