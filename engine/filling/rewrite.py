"""Rewriting: a canvas that begins as the selected text, a share of which is denoised again.

The slots to renoise are those where the network doubts the text: its causal mode, which sees what stands left, and its
canvas, which sees all the rest and tends to believe what it sees. (Of 68 lines with one word replaced, at a share of
0.15, the causal mode found the word in 63, the canvas in 36, both together in 64.) The text may change its length: the
doubted runs are also tried with more slots and with fewer, all versions as one batch, and the causal mode says which
reads best. What is not renoised stays as it is. Knows ids and slots, nothing of text or what a selection is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..canvas import Canvas
from ..denoise import Denoised, denoise_all, reread
from ..prompts.framed import Framed
from .lengths import Room

NEIGHBOUR = 0.2  # weight of each neighbour's doubt beside a slot's own: what is wrong is often more than one token
STRETCH = 0.5  # share by which the doubted runs are also tried longer and shorter


def fills(
    room: Room, ids: Sequence[int], surprise: Tensor, strength: float, most_slots: int, held: Sequence[int] = ()
) -> tuple[list[Denoised], int]:
    """The versions of `ids` with a share `strength`, 0 to 1, of its slots denoised anew (at least one version), and
    the denoise steps taken; steps of one batch count once.

    surprise: of the causal mode, nats, [len(ids)]. most_slots: of a gap. held: slots that stay whatever the network
    thinks of them.
    """
    size = max(room.size, len(ids))
    canvas = Canvas.holding(torch.tensor(ids, dtype=torch.int64), room.pinned, size)
    if lost := room.setting.patience.lost():
        return [Denoised((), (), None, 0, lost)], 0
    canvas, probs = reread(room.setting, canvas)
    chosen = doubted(surprise.cpu() - probs.clamp_min(1e-9).log(), strength, held)
    # What is not renoised now stays, whatever becomes of it in the network's eyes.
    setting = replace(room.setting.unending(), config=replace(room.setting.config, renoise_threshold=None))
    generators, versions = [], []
    for stretch in (0.0, STRETCH, -STRETCH):
        generator = torch.Generator().manual_seed(room.seed)
        noise = room.setting.alphabet.noise.draw(len(ids) + most_slots, generator)
        version = stretched(canvas.renoised(chosen, noise[: int(chosen.sum())]), chosen, stretch, noise[len(ids) :])
        known = any(len(version.gap) == len(other.gap) for other in versions)
        if not versions or (len(version.gap) <= min(most_slots, size) and not known):
            generators.append(generator)
            versions.append(version)
    found = denoise_all(setting, versions, generators)
    return found, 1 + max(one.steps for one in found)


def doubted(doubt: Tensor, share: float, held: Sequence[int] = ()) -> Tensor:
    """Slots [G] bool: `share` of them, rounded up, with the most doubt [G], their own and their neighbours'.

    A larger share chooses all of a smaller one's and more.
    """
    near = doubt.clone()
    near[1:] += NEIGHBOUR * doubt[:-1]
    near[:-1] += NEIGHBOUR * doubt[1:]
    near[list(held)] = -torch.inf
    n_chosen = min(len(doubt) - len(set(held)), -int(-share * len(doubt) // 1))
    chosen = torch.zeros_like(near, dtype=torch.bool)
    chosen[near.argsort(descending=True, stable=True)[:n_chosen]] = True
    return chosen


def stretched(canvas: Canvas, chosen: Tensor, by: float, noise: Tensor) -> Canvas:
    """The runs of `chosen` slots [G], all free, by a share `by` longer (spare slots at a run's end) or shorter (one
    slot at least stays)."""
    if by == 0:
        return canvas
    used = 0
    for start, end in reversed(runs(chosen)):
        n = max(1, round(abs(by) * (end - start)))
        if by > 0:
            canvas = canvas.widened(end, noise[used : used + n])
            used += n
        else:
            keep = torch.ones_like(canvas.free)
            keep[end - min(n, end - start - 1) : end] = False
            canvas = canvas.contracted(keep)
    return canvas


def runs(chosen: Tensor) -> list[tuple[int, int]]:
    """Stretches [start, end) of True in [G], ascending."""
    found: list[tuple[int, int]] = []
    for slot in chosen.nonzero().squeeze(1).tolist():
        if found and found[-1][1] == slot:
            found[-1] = (found[-1][0], slot + 1)
        else:
            found.append((slot, slot + 1))
    return found


def held(frame: Framed, ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> list[int]:
    """Slots at the ends of `ids` that no other token could take, because what was healed there spans several."""
    slots = []
    if ids and frame.typed and not decode(ids[:1]).startswith(frame.typed):
        slots.append(0)
    if ids and frame.kept and not decode(ids[-1:]).endswith(frame.kept):
        slots.append(len(ids) - 1)
    return slots
