"""The random stream of a denoise step: a number per place, whatever else is drawn and wherever it is computed.

Philox 4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011), counted by place and keyed by the
seed, as Triton's `tl.rand` has it: kernels and their torch forms draw the same numbers, so a device and a CPU choose
the same tokens from the same distribution. Knows nothing of what is drawn.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST_SLOTS = 1024  # of a gap; the noise of its slots is drawn at the places behind those of all their tokens
LOW = 0xFFFFFFFF
UNIT = 4.6566127342e-10  # (2^23 - 1) / 2^23 / 2^31: below 1 after rounding


def uniform_torch(seed: Tensor, places: Tensor) -> Tensor:
    """float32 in [0, 1) for int64 `places`, each below 2^31. seed: int64 [1]."""
    key_0, key_1 = seed & LOW, seed >> 32 & LOW
    c0, c1, c2, c3 = places.clone(), torch.zeros_like(places), torch.zeros_like(places), torch.zeros_like(places)
    for _ in range(10):
        high_0, low_0 = _product(0xD2511F53, c0)
        high_2, low_2 = _product(0xCD9E8D57, c2)
        c0, c1, c2, c3 = high_2 ^ c1 ^ key_0, low_2, high_0 ^ c3 ^ key_1, low_0
        key_0, key_1 = key_0 + 0x9E3779B9 & LOW, key_1 + 0xBB67AE85 & LOW
    signed = torch.where(c0 < 2**31, c0, 2**32 - 1 - c0)  # a negative x counts as -x - 1
    return signed.float() * UNIT


def token_places(slots: Tensor, vocab_size: int) -> Tensor:
    """Places [N, V] of the draws of slots [N], each the number of a slot in its own gap."""
    return slots[:, None].long() * vocab_size + torch.arange(vocab_size, device=slots.device)


def noise_places(slots: Tensor, vocab_size: int) -> Tensor:
    """Places [N] of the noise of slots [N]."""
    return slots.long() + MOST_SLOTS * vocab_size


def _product(factor: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """Upper and lower 32 bits of factor * x; x below 2^32, in halves, because int64 has a sign."""
    low = factor * (x & 0xFFFF)
    high = factor * (x >> 16) + (low >> 16)
    return high >> 16, (high << 16 | low & 0xFFFF) & LOW
