"""The head: what the network says about each free slot, without the logits in memory as floats.

For DiffusionGemma float32 logits of a canvas are 268 MB, which a sampler written plainly reads some twenty times.
Here a slot leaves the head as five numbers, and its logits as 16-bit fixed point, which the softcap makes exact to
cap / 32767: finer than float16, at the size of bfloat16. They are needed once more, for the expected embedding
(`soft.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .packing import Packed, unpack
from .stream import token_places, uniform_torch
from .target import use_triton

EVERYWHERE, FIRST, LAST = 1, 2, 4  # bits: where a token must not stand, and what kind of slot a slot is
FULL_SCALE = 32767  # softcapped logits are stored as round(l / cap * FULL_SCALE)
BANNED = -32768  # the stored value of a token that must not be predicted


@dataclass(frozen=True)
class Statistics:
    """Of N slots at a temperature. log_sum: log of the sum of exp(logit / temperature) over the tokens not banned."""

    argmax: Tensor  # [N] int64; of equal tokens the lowest id
    sample: Tensor  # [N] int64; drawn from the distribution, or the argmax where nothing was to be drawn
    entropy: Tensor  # [N] float32, nats
    log_sum: Tensor  # [N] float32
    certainty: Tensor  # [N] float32, probability of the argmax


@dataclass(frozen=True)
class Rows:
    """Which slots N rows are. numbers: int32 [N], each below MOST_SLOTS, a slot's place in its own gap, by which it
    draws; kinds: int32 [N], bits: the bans that hold there."""

    numbers: Tensor
    kinds: Tensor


def head(
    hidden: Tensor,
    weight: Tensor | Packed,
    cap: float,
    temperature: Tensor,
    banned: Tensor,
    rows: Rows,
    seed: Tensor | None,
) -> tuple[Statistics, Tensor]:
    """As `head_torch`, on the device; what changes from step to step is read there. temperature: float32 [1]; seed:
    int64 [1], of the random stream to draw from; None: no draw."""
    if use_triton(hidden):
        from .head_triton import head_triton  # noqa: PLC0415

        return head_triton(hidden, weight, cap, temperature, banned, rows, seed)
    whole = weight if isinstance(weight, Tensor) else unpack(weight, hidden.dtype)
    uniform = None if seed is None else uniform_torch(seed, token_places(rows.numbers, whole.shape[0]))
    return head_torch(hidden, whole, cap, float(temperature), banned, rows.kinds, uniform)


def head_torch(
    hidden: Tensor,
    weight: Tensor,
    cap: float,
    temperature: float,
    banned: Tensor,
    kinds: Tensor,
    uniform: Tensor | None,
) -> tuple[Statistics, Tensor]:
    """Statistics, and the logits [N, V] int16 in fixed point.

    hidden: [N, H], normed; weight: [V, H], the embedding; banned: [V] uint8, bits; a slot bars the tokens that share a
    bit with its kind, int32 [N]. uniform: [N, V] in [0, 1), from which a sample is drawn as argmax(logit / temperature
    - log(-log(uniform))); None: no sample.
    """
    banned = (banned[None, :].int() & kinds[:, None]) != 0
    capped = torch.tanh(torch.nn.functional.linear(hidden, weight).float() / cap)
    fixed = torch.where(banned, BANNED, torch.floor(capped * FULL_SCALE + 0.5).int()).to(torch.int16)
    logits = (capped * (cap / temperature)).masked_fill(banned, -torch.inf)
    log_sum = torch.logsumexp(logits, -1)
    logs = logits - log_sum[:, None]
    entropy = -(logs.exp() * logs.masked_fill(banned, 0.0)).sum(-1)
    argmax = logits.argmax(-1)
    sample = argmax if uniform is None else (logits - torch.log(-torch.log(uniform))).argmax(-1)
    return Statistics(argmax, sample, entropy, log_sum, logs.gather(1, argmax[:, None]).squeeze(1).exp()), fixed
