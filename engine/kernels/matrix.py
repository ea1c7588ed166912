"""What is compiled ahead of time: every kernel, at the shapes and in the kinds of weights it is launched with.

Tensors here have no data. DiffusionGemma's shapes, and midspan-mini's where they lead to other tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .alignment_triton import align_triton
from .attention_triton import rectangle_triton
from .commit import Rule, State
from .commit_triton import commit_triton
from .experts_triton import experts_triton
from .head import Rows, Statistics
from .head_triton import head_triton
from .launch import Started, record
from .linear_triton import gated_triton, linear_triton
from .norms_triton import after_attention_triton, after_feedforward_triton, heads_triton, rms_norm_triton
from .packing import GROUP, Kind, Packed
from .routing_triton import route_triton
from .soft_triton import soft_triton
from .target import Target, pretend

QUANTISED: tuple[Kind, ...] = ("fp8", "int8", "int4")


@dataclass(frozen=True)
class Shape:
    hidden: int
    width: int
    experts: int
    top_k: int
    vocab: int
    heads: int
    attention: tuple[tuple[int, int], ...]  # (kv heads, head size)
    canvas: int


GEMMA = Shape(2816, 704, 128, 8, 262144, 16, ((8, 256), (2, 512)), 256)
MINI = Shape(256, 192, 8, 2, 8192, 4, ((2, 64),), 48)


def empty(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def packed(kind: Kind, *shape: int) -> Tensor | Packed:
    """A weight without data: kind "bf16" is a plain tensor."""
    *rows, depth = shape
    if kind == "bf16":
        return empty(*shape)
    if kind == "int4":
        return Packed(empty(*rows, depth // 2, dtype=torch.uint8), empty(*rows, depth // GROUP), kind, shape)
    dtype = torch.float8_e4m3fn if kind == "fp8" else torch.int8
    return Packed(empty(*shape, dtype=dtype), empty(*rows, dtype=torch.float32), kind, shape)


def cases(shape: Shape, kinds: tuple[Kind, ...] = ("bf16", *QUANTISED)) -> Iterator[tuple[str, Callable[[], object]]]:
    """(name, call of a launcher), in the order of a layer and then of a step."""
    hidden, rows = shape.hidden, shape.canvas
    x = empty(rows, hidden)
    for size in sorted({rows, 64, 2048}) if shape is GEMMA else (rows,):
        for kind in kinds:
            yield (
                f"experts {kind} {size} rows",
                lambda size=size, kind=kind: experts_triton(
                    empty(size, hidden),
                    empty(size, shape.top_k, dtype=torch.float32),
                    empty(size, shape.top_k, dtype=torch.int32),
                    packed(kind, shape.experts, 2 * shape.width, hidden),
                    packed(kind, shape.experts, hidden, shape.width),
                ),
            )
    yield "align", lambda: align_triton(empty(rows, shape.top_k, dtype=torch.int32), shape.experts, 32)
    norm = empty(hidden)
    yield "route", lambda: route_triton(x, empty(shape.experts, hidden), norm, empty(shape.experts), shape.top_k, 1e-6)
    yield "norm", lambda: rms_norm_triton(x, norm, 1e-6)
    yield "norm of a sum", lambda: rms_norm_triton(x, None, 1e-6, x)
    yield "after attention", lambda: after_attention_triton(x, x, norm, norm, norm, 1e-6)
    yield "gate", lambda: gated_triton(x, x)
    routed = empty(rows * shape.top_k, hidden)
    three = (norm, norm, norm)
    yield "after feed-forward", lambda: after_feedforward_triton(x, x, routed, three, empty(1), norm, 1e-6)
    for kv, dim in shape.attention:
        q, k = empty(1, shape.heads, rows, dim), empty(1, kv, rows, dim)
        past = empty(1, kv, 2048, dim)[:, :, :2000]
        rope = (empty(rows, dim), empty(rows, dim))
        span, lengths = empty(2, dtype=torch.int32), empty(1, dtype=torch.int32)
        yield f"heads {dim}", lambda q=q, dim=dim, rope=rope: heads_triton(q.transpose(1, 2), empty(dim), rope, 1e-6)
        yield f"rectangle {dim}", lambda q=q, k=k, p=past, s=span, n=lengths: rectangle_triton(q, p, p, k, k, s, n)
    for kind in kinds:
        if kind != "bf16":
            yield (
                f"linear {kind}",
                lambda kind=kind: linear_triton(x, packed(kind, 4096 if shape is GEMMA else 256, hidden)),
            )
    one = empty(1, dtype=torch.float32)
    for size in (rows, 64, 16) if shape is GEMMA else (32,):
        for kind in kinds:
            if kind == "int4":
                continue
            embedding = packed(kind, shape.vocab, hidden)
            banned, seed = empty(shape.vocab, dtype=torch.uint8), empty(1, dtype=torch.int64)
            slots = Rows(empty(size, dtype=torch.int32), empty(size, dtype=torch.int32))
            yield (
                f"head {kind} {size} rows",
                lambda e=embedding, n=size, b=banned, r=slots, s=seed: head_triton(
                    empty(n, hidden), e, 30.0, one, b, r, s
                ),
            )
            fixed, sums = empty(size, shape.vocab, dtype=torch.int16), empty(size, dtype=torch.float32)
            yield (
                f"soft {kind} {size} rows",
                lambda f=fixed, s=sums, e=embedding: soft_triton(f, s, 30.0, one, e, empty(1)),
            )
    ids, floats = empty(rows, dtype=torch.int64), empty(rows, dtype=torch.float32)
    statistics = Statistics(ids, ids, floats, floats, floats)
    number, seed = empty(1, dtype=torch.int32), empty(1, dtype=torch.int64)
    state = State(ids, ids, floats, empty(4, dtype=torch.int32), empty(5, dtype=torch.int32))
    yield "commit", lambda: commit_triton(statistics, state, seed, number, Rule(0.1, 0.005, shape.vocab), rows)


def launches(
    target: Target, shape: Shape = GEMMA, kinds: tuple[Kind, ...] = ("bf16", *QUANTISED)
) -> list[tuple[str, Started]]:
    """(case, launch) for every launch that the cases lead to on `target`."""
    found = []
    for name, call in cases(shape, kinds):
        with pretend(target), record() as started:
            call()
        found += [(name, one) for one in started]
    return found
