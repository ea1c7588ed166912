"""One gap filled: drafts, denoised canvases, and the choice between them.

For a checkpoint without a gate the canvas alone is the answer; where it gave several, the causal mode says which. With
a gate, copies and a causal draft stand beside the canvas, the causal mode says how well the suffix follows from each,
and the gate picks. What a request's check refuses is denoised again where the check points. Knows nothing of requests,
checkpoints' files, or what the text is for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache, partial

import torch

from ..canvas import Canvas
from ..denoise import CANCELLED, CONVERGED, Alphabet, Denoised, Patience, Setting, denoise_all
from ..kernels.loop import DeviceLoop
from ..network import Network
from ..sampler import SamplerConfig
from ..tokens import Tokens, banned_ids
from . import lengths, repair, rewrite
from .beams import NARROW, WIDE, Breadth
from .drafts import CANVAS, surprise
from .gap import Candidate, Gap, calmness, merged
from .gate import Gate
from .lane import Lane
from .method import Method
from .openings.kinds import fitting, telling
from .proposals import Proposals
from .signs import Signs

REPAIR = "repair"
MOST_REPAIRED = 1  # candidates of one gap


@dataclass(frozen=True)
class Filled:
    """candidates, best first (none: cancelled, or no time for any); denoise steps, and how the best canvas ended."""

    candidates: tuple[Candidate, ...]
    steps: int
    stop: str


class Filler:
    """Fills gaps with one network. Stateless but for memoised line tokens and captured steps."""

    def __init__(
        self,
        network: Network,
        tokens: Tokens,
        sampler: SamplerConfig,
        alphabet: Alphabet,
        gate: Gate | None,
        gap_buckets: Sequence[int],
        canvas_tokens: int,
        fim_tokens: int = 0,
        side_by_side: bool = False,
    ) -> None:
        """side_by_side: canvases are denoised on a thread of their own while drafts are made and weighed."""
        self._network, self._tokens, self._sampler, self._alphabet = network, tokens, sampler, alphabet
        self._gate, self._buckets, self._canvas_tokens = gate, gap_buckets, canvas_tokens
        self._proposals = Proposals(network, tokens, alphabet.delete_token_id, fim_tokens, max(gap_buckets))
        self._device_loop = DeviceLoop(network)
        self._lane = Lane() if side_by_side else None
        writable = alphabet.end_token_ids
        if alphabet.delete_token_id is not None:
            writable = frozenset((alphabet.delete_token_id,))
        device = network.device
        self._banned = {single: banned_ids(tokens, writable, single).to(device) for single in (False, True)}

    def fill(self, gap: Gap, method: Method, patience: Patience, lap: Callable[[str], None]) -> Filled:
        """lap: called with a stage's name when the stage is over."""
        drafts: list[Candidate] = []
        room = self._room(gap, method, patience)
        denoise = partial(lengths.fills, room, method, gap.n_slots, gap.frame.n_seams)
        drafting = self._gate is not None and method.drafts
        with self._lane.doing(denoise) if self._lane and drafting else nullcontext(denoise) as denoised:
            if drafting:
                gap = self._proposals.prepared(gap, _breadth(gap, method))
                drafts = merged(self._proposals.of(gap, patience))
                lap("draft")
                if self._lane and not patience.lost():  # else all candidates are weighed at once
                    scores = self._evidence(gap, drafts)
                    drafts = [replace(one, evidence=score) for one, score in zip(drafts, scores, strict=True)]
                    lap("rank")
            found, steps = denoised()
        lap("denoise")
        return self._judged(gap, method, room, drafts, found, steps, lap)

    def rewrite(
        self, gap: Gap, text: str, strength: float, method: Method, patience: Patience, lap: Callable[[str], None]
    ) -> Filled:
        """The gap's present text with a share `strength` of it denoised again; no candidate where time is short."""
        method = replace(method, drafts=False)
        ids = self._tokens.encode(gap.frame.healed(text))
        held = rewrite.held(gap.frame, ids, self._tokens.decode)
        room = self._room(gap, method, patience)
        doubt = surprise(self._network, gap.cache, gap.frame.prefix_ids, ids)
        lap("draft")
        found, steps = rewrite.fills(room, ids, doubt, strength, max(self._buckets), held)
        lap("denoise")
        return self._judged(gap, method, room, [], found, steps, lap)

    def forget(self) -> None:
        """Gives back what fills keep on the device between them."""
        self._device_loop.forget()

    def size(self) -> int:
        """Tokens of a text that can be rewritten at once; a gap has room for it to grow."""
        return max(1, max(self._buckets) * 3 // 4)

    def _room(self, gap: Gap, method: Method, patience: Patience) -> lengths.Room:
        device, frame = self._network.device, gap.frame  # canvases lie on the host, whatever the device
        extra = torch.tensor(sorted(frame.banned), dtype=torch.int64, device=device)
        return lengths.Room(
            setting=Setting(
                self._network,
                gap.cache,
                method.sampler(self._sampler, gap.seed),
                self._alphabet,
                torch.cat((self._banned[gap.single_line], extra)),
                patience,
                frame.seams.on(device),
            ),
            pinned=torch.tensor(frame.pinned_ids, dtype=torch.int64),
            size=self._canvas_tokens,
            buckets=self._buckets,
            seed=gap.seed,
            warm=self._tokens.encode(frame.healed(gap.draft)) if gap.draft else (),
            open_banned=torch.cat((self._banned[False], extra)),
            denoise_all=self._denoise_all,
        )

    def _denoise_all(
        self, setting: Setting, canvases: Sequence[Canvas], generators: Sequence[torch.Generator]
    ) -> list[Denoised]:
        """On the device as one captured step after the other, where that is possible."""
        if self._device_loop.serves(setting, canvases):
            return self._device_loop.denoise_all(setting, canvases, generators)
        return denoise_all(setting, canvases, generators)

    def _candidates(self, gap: Gap, found: Sequence[Denoised]) -> list[Candidate]:
        """One per denoised canvas that was given time and says what was healed."""
        candidates = []
        for denoised in found:
            text = gap.frame.bare(self._tokens.decode(denoised.ids))
            if text is not None and (denoised.steps or denoised.stop == CONVERGED):
                calm = calmness(denoised, self._alphabet)
                sources = frozenset((CANVAS,))
                candidates.append(Candidate(text, denoised.ids, sources, denoised=denoised, probability=calm))
        return candidates

    def _judged(
        self,
        gap: Gap,
        method: Method,
        room: lengths.Room,
        drafts: Sequence[Candidate],
        found: Sequence[Denoised],
        steps: int,
        lap: Callable[[str], None],
    ) -> Filled:
        """Ranks and checks drafts and what the canvases gave, `found`, after `steps` denoise steps."""
        stops = [one.stop for one in found]
        if CANCELLED in stops:
            return Filled((), steps, CANCELLED)
        gate = self._gate if method.drafts else None
        candidates = merged([*drafts, *self._candidates(gap, found)])
        if candidates and (gate is not None or len(candidates) > 1):
            candidates = self._ranked(gap, candidates, gate)
            lap("rank")
        if candidates and gap.check is not None:
            candidates, more = self._checked(gap, room, candidates, gate, MOST_REPAIRED if method.repair else 0)
            steps += more
            lap("check")
        ended = next((one.denoised.stop for one in candidates if one.denoised), stops[0])
        return Filled(tuple(candidates), steps, ended)

    def _evidence(self, gap: Gap, candidates: Sequence[Candidate]) -> list[tuple[float, float]]:
        """As `Proposals.evidence`, which is asked about those of which it is not known yet."""
        asked = iter(self._proposals.evidence(gap, [one for one in candidates if one.evidence is None]))
        return [one.evidence or next(asked) for one in candidates]

    def _ranked(self, gap: Gap, candidates: list[Candidate], gate: Gate | None) -> list[Candidate]:
        """Best first: by the gate, or without one by log p(text and the suffix' head | prefix)."""
        unscored = [one for one in candidates if one.signs is None]
        scores = self._evidence(gap, unscored)
        found = gap.openings if gate is not None else []
        places = [fitting(found, one.text) for one in unscored]
        signs = [
            Signs(
                sources=one.sources,
                right=right_score,
                mean=mean,
                n_tokens=len(one.ids),
                match=one.match,
                calm=calmness(one.denoised, self._alphabet) if one.denoised else 0.0,
                text=one.text,
                opening=found[place].kind if place is not None else "",
                place=place or 0,
                against=place is None and telling(found),
                misfit=gap.surroundings.misfit(one.text),
                repeats=gap.surroundings.repeats(one.text),
                busies=gap.surroundings.busies(one.text),
                begun=bool(gap.surroundings.begun.strip()),
                last=gap.surroundings.last,
                leaves=gap.surroundings.leaves(one.text),
                word=gap.words.becomes(one.text),
            )
            for one, (right_score, mean), place in zip(unscored, scores, places, strict=True)
        ]
        judged = [one for one in candidates if one.signs is not None]
        judged += [replace(one, signs=sign) for one, sign in zip(unscored, signs, strict=True)]
        if gate is None:
            return sorted(judged, key=lambda one: -joint(one))
        probabilities = gate.probabilities([one.signs for one in judged if one.signs], gap.site)
        judged = [replace(one, probability=p) for one, p in zip(judged, probabilities, strict=True)]
        return sorted(judged, key=lambda one: -one.probability)

    def _checked(
        self, gap: Gap, room: lengths.Room, candidates: list[Candidate], gate: Gate | None, most_repaired: int
    ) -> tuple[list[Candidate], int]:
        """What fails the check goes behind what passes it, and the likeliest of it is repaired. Also the denoise steps
        that took. Candidates are checked best first, up to the first that passes; none when patience is lost."""
        suspects = cache(gap.suspects)
        failing: list[Candidate] = []
        for one in candidates:
            if room.setting.patience.lost():
                return candidates, 0
            if not suspects(gap.frame.healed(one.text)):
                break
            failing.append(one)
        known = {one.text for one in candidates}
        mended, steps = [], 0
        for one in failing[:most_repaired]:
            generator = torch.Generator().manual_seed(gap.seed)
            bench = repair.Workbench(room.setting, self._tokens, room.pinned, max(room.size, len(one.ids)), generator)
            found = repair.repaired(bench, one.ids, suspects)
            steps += found.steps
            text = gap.frame.bare(found.text)
            if found.how in ("repaired", "cut") and text is not None and text not in known:
                sources = one.sources | {REPAIR}
                mended.append(Candidate(text, found.ids, sources, one.match, probability=one.probability))
        passing = candidates[len(failing) :]
        if mended:  # what the check refuses takes no share from what was made of it
            passing = self._ranked(gap, [*passing, *mended], gate)
        return [*passing, *failing], steps


def _breadth(gap: Gap, method: Method) -> Breadth | None:
    """Of the search for what the causal mode could write; None: there is none."""
    if method.search == "always":
        return WIDE
    return NARROW if method.search == "inside" and gap.inside else None


def joint(candidate: Candidate) -> float:
    """log p(text and the suffix' head | prefix), nats."""
    signs = candidate.signs
    return signs.right + signs.mean * (signs.n_tokens + 1) if signs else 0.0
