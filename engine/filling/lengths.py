"""Where a gap's length comes from: four ways, of which a `Method` names one.

None of them is told the true length. What they give are texts; which one is best the caller judges, by the causal mode.
Knows nothing of text, requests or drafts but the ids it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..canvas import Canvas, bucket
from ..denoise import Denoised, Setting, denoise, denoise_all, reread
from .method import Method

SHARES = (1, 2, 4, 8)  # of the largest gap, the sizes in a batch: all of it, a half, a quarter, an eighth
SMALLEST = 2
RIGHT_OF_FIXED = 16  # pinned slots that a fixed gap leaves room for, however large it is
POLISH_STEPS = 4
DOUBTED = 0.5  # a token of a draft that the network gives less than this is renoised
MOST_DOUBTED = 0.5  # share of a draft; beyond it the draft is no help


@dataclass(frozen=True)
class Room:
    """A gap that has no length yet. pinned: ids [S] of the suffix' head, on the host; size: slots of a canvas; buckets:
    gap sizes that the checkpoint was trained with; warm: ids that the text may be, to begin with; open_banned: ids
    banned where the gap is not held to one line, for drafts that run on into the suffix; denoise_all: what denoises
    gaps of noise, as `denoise.denoise_all` does."""

    setting: Setting
    pinned: Tensor
    size: int
    buckets: Sequence[int]
    seed: int
    warm: Sequence[int]
    open_banned: Tensor
    denoise_all: Callable[[Setting, Sequence[Canvas], Sequence[torch.Generator]], list[Denoised]] = denoise_all


def fills(room: Room, method: Method, n_slots: int, n_seams: int = 0) -> tuple[list[Denoised], int]:
    """The texts (at least one), and the denoise steps taken; steps of one batch count once.

    n_slots: the size that the request hints at. n_seams: slots that healed text takes besides.
    """
    if room.warm and not room.setting.patience.lost() and (warmed := _warmed(room)):
        return warmed
    largest = min(bucket(room.buckets, n_slots) + n_seams, max(room.buckets))
    if method.length == "fixed":
        return _stepped(_denoised(_fixed(room, method.slots), [method.slots]))
    if method.length == "batch":
        wanted = [size + n_seams for size in method.sizes] or [largest // share for share in SHARES]
        return _stepped(_denoised(room, sorted({min(largest, max(SMALLEST, size)) for size in wanted})))
    if method.length == "polish":
        return _polished(room, largest)
    return _stepped(_denoised(room, [largest]))


def _stepped(found: list[Denoised]) -> tuple[list[Denoised], int]:
    return found, max(one.steps for one in found)


def _denoised(room: Room, sizes: Sequence[int]) -> list[Denoised]:
    """Gaps of noise of these sizes, each with the seed's own random stream, as one batch."""
    generators = [_generator(room) for _ in sizes]
    canvases = []
    for n, generator in zip(sizes, generators, strict=True):
        noise = room.setting.alphabet.noise.draw(n, generator)
        canvases.append(Canvas.start(noise, room.pinned, max(room.size, n)))
    return room.denoise_all(room.setting, canvases, generators)


def _generator(room: Room) -> torch.Generator:
    return torch.Generator().manual_seed(room.seed)


def _warmed(room: Room) -> tuple[list[Denoised], int] | None:
    """The text that `warm` becomes where the network has no doubt about it, and the steps; None: it doubts too much of
    it, and a cold start is better. Where slots can be deleted, one more stands at the end, for the text to go on in
    and to say that it ends."""
    alphabet, generator = room.setting.alphabet, _generator(room)
    n_spare = int(alphabet.delete_token_id is not None)
    if len(room.warm) + n_spare > max(room.buckets):
        return None
    ids = torch.tensor(room.warm, dtype=torch.int64)
    canvas, doubted = _reread(room.setting, Canvas.holding(ids, room.pinned, max(room.size, len(ids) + n_spare)))
    if int(doubted.sum()) > MOST_DOUBTED * len(ids):
        return None
    noise = alphabet.noise.draw(int(doubted.sum()) + n_spare, generator)
    canvas = canvas.renoised(doubted, noise[n_spare:]).widened(len(ids), noise[:n_spare])
    found = denoise(room.setting.unending(), canvas, generator)
    return [found], 1 + found.steps


def _reread(setting: Setting, canvas: Canvas) -> tuple[Canvas, Tensor]:
    """A canvas that holds a text, and its slots that the network doubts, [G]."""
    canvas, own = reread(setting, canvas)
    return canvas, (own < DOUBTED) | torch.isin(canvas.gap, setting.banned.cpu())


def _fixed(room: Room, n_slots: int) -> Room:
    """For a gap that keeps its size: nothing is deleted, and some of the suffix is seen."""
    setting, delete = room.setting, room.setting.alphabet.delete_token_id
    if delete is not None:
        banned = torch.cat((setting.banned, torch.tensor([delete], device=setting.banned.device)))
        setting = replace(setting, banned=banned, alphabet=replace(setting.alphabet, delete_token_id=None))
    return replace(room, setting=setting, size=max(room.size, n_slots + RIGHT_OF_FIXED))


def _polished(room: Room, largest: int) -> tuple[list[Denoised], int]:
    """A draft in a canvas that is all gap, cut where the suffix begins, then denoised where the suffix raises doubt."""
    setting = room.setting
    unheld = replace(setting, banned=room.open_banned, seams=replace(setting.seams, last=None))
    open_ended = replace(room, setting=unheld, pinned=room.pinned[:0], size=largest)
    draft = _denoised(open_ended, [largest])[0]
    n_kept = aligned(draft.ids, room.pinned.tolist())
    if draft.steps == 0 or n_kept == 0 or setting.patience.lost():
        return [replace(draft, ids=draft.ids[:n_kept], entropies=draft.entropies[:n_kept])], draft.steps
    ids = torch.tensor(draft.ids[:n_kept])
    canvas, doubted = _reread(setting, Canvas.holding(ids, room.pinned, max(room.size, n_kept)))
    generator = _generator(room)
    canvas = canvas.renoised(doubted, setting.alphabet.noise.draw(int(doubted.sum()), generator))
    brief = replace(setting.config, max_denoising_steps=min(POLISH_STEPS, setting.config.max_denoising_steps))
    polished = denoise(replace(setting.unending(), config=brief), canvas, generator)
    if polished.steps == 0 and doubted.any():  # no time left
        polished = replace(draft, ids=draft.ids[:n_kept], entropies=draft.entropies[:n_kept], stop=polished.stop)
    return [polished], draft.steps + 1 + polished.steps


def aligned(ids: Sequence[int], pinned: Sequence[int]) -> int:
    """How many of a draft's ids come before the suffix: where the most of `pinned`'s head follows, the first such
    place; all of them if it never does."""
    best, at = 0, len(ids)
    for n in range(len(ids)):
        match = 0
        while match < min(len(ids) - n, len(pinned)) and ids[n + match] == pinned[match]:
            match += 1
        if match > best:
            best, at = match, n
    return at
