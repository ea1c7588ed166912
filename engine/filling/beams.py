"""Texts of the causal mode that lead into the suffix: a beam search over what it could write.

Writing on greedily knows nothing of what stands right of the gap. Here several texts are kept side by side, and after
every token of each it is asked how likely the suffix follows now. A token may reach over either edge of the gap:
between `enu` and `bers):` the text `merate(num` is seen as ` enumerate`, `(`, ` numbers`. So the search begins in front
of the word that the prefix ends with, and is held to that word first. Knows nothing of canvases, gates or syntax.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from heapq import nlargest

import torch
from torch import Tensor

from .drafts import Writing

MOST_TOKENS = 20  # of a text; longer ones are hardly ever right, and every token costs as much as the first
OVERLAP = 24  # characters of the suffix that a token may reach over


@dataclass(frozen=True)
class Breadth:
    """width: texts side by side; margin: nats behind the likeliest text, what is further behind is not looked at;
    most: texts to find."""

    width: int
    margin: float
    most: int


NARROW = Breadth(6, 2.0, 6)  # at every key
WIDE = Breadth(12, 4.5, 8)  # for whoever waits for several texts; finds more, and the first is no better


@dataclass(frozen=True)
class Spelling:
    """What ids stand for. texts: of all ids; barred: text → bool [V], True where a token neither begins with it nor
    begins it."""

    texts: Sequence[str]
    barred: Callable[[str], Tensor]


@dataclass(frozen=True)
class Right:
    """What stands right of the gap. text: as much of it as a token may reach over; first: the id that it begins with n
    characters in; ends_line: no more of the gap's line follows."""

    text: str
    first: Callable[[int], int]
    ends_line: bool


@dataclass(frozen=True)
class _Beam:
    """score: log p of the ids, nats; text: theirs."""

    ids: tuple[int, ...]
    text: str
    score: float


def meeting(writing: Writing, spelling: Spelling, right: Right, breadth: Breadth) -> list[str]:
    """Texts, the likeliest first by log p(text and the suffix' first token | prefix). What was typed is no part of
    them."""
    network, start, typed = writing.network, writing.start, writing.start.typed
    n_prefix = start.cache.length
    own, room = start.cache.fork(1, n_prefix - 1), None
    beams, last = [_Beam((), "", 0.0)], [start.prefix_ids[-1]]
    found: dict[str, float] = {}
    for _ in range(min(writing.max_tokens, MOST_TOKENS) + 1):
        if writing.give_up():
            break
        hidden = network.encode(torch.tensor(last, device=network.device)[:, None], own)[:, 0]
        probs = torch.softmax(network.logits(hidden).float(), dim=1)
        log_probs = torch.stack([writing.mixed(probs[row], beam.ids) for row, beam in enumerate(beams)]).log()
        for row, beam in enumerate(beams):
            for n_over in _overlaps(beam, spelling.texts, typed, right.text):
                text = beam.text[len(typed) : len(beam.text) - n_over]
                if not right.ends_line or text == text.rstrip():
                    score = beam.score + float(log_probs[row, right.first(n_over)])
                    found[text] = max(score, found.get(text, score))
        log_probs.index_fill_(1, writing.banned, -torch.inf)
        for row, beam in enumerate(beams):
            if len(beam.text) < len(typed):
                log_probs[row].masked_fill_(spelling.barred(typed[len(beam.text) :]).to(log_probs.device), -torch.inf)
        scores = log_probs + torch.tensor([[beam.score] for beam in beams], device=network.device)
        best = scores.flatten().topk(min(breadth.width, scores.numel()))
        n_beams = int((best.values > _least(found.values(), breadth)).sum())
        if n_beams == 0:
            break
        places = best.indices[:n_beams]
        rows, last = (places // scores.shape[1]).tolist(), (places % scores.shape[1]).tolist()
        room = own.fork(breadth.width, own.length) if room is None else room
        own = room.reordered(rows, n_prefix, own.length)
        beams = [
            _Beam((*beams[row].ids, id_), beams[row].text + spelling.texts[id_], score)
            for row, id_, score in zip(rows, last, best.values.tolist(), strict=False)
        ]
    least = _least(found.values(), breadth)
    return nlargest(breadth.most, (text for text in found if found[text] >= least), key=lambda text: found[text])


def _least(found: Collection[float], breadth: Breadth) -> float:
    """What a beam must be likelier than to give one of the likeliest texts: it only gets less likely."""
    if not found:
        return -math.inf
    near = max(found) - breadth.margin
    return near if len(found) < breadth.most else max(near, nlargest(breadth.most, found)[-1])


def _overlaps(beam: _Beam, texts: Sequence[str], typed: str, right: str) -> list[int]:
    """How many characters of what stands right of the gap the beam's last token may already hold."""
    n_new = len(beam.text) - len(typed)
    if n_new < 0:
        return []
    most = min(len(texts[beam.ids[-1]]) - 1, n_new, len(right) - 1) if beam.ids else 0
    return [0, *(n for n in range(1, most + 1) if beam.text.endswith(right[:n]))]
