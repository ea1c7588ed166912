"""Fits the gate on the `tune` packages: `python -m midspan.engine.training.fit_gate [DIRECTORY]`.

Asks the engine for gaps of which the truth is known and learns which of a gap's candidates is exactly right, or that
none is: the likelihood of that by the shares the gate gives, one fit for each of `signs.SITES`. Gaps that end with
their line are asked for twice: in the whole file, and as it is while their block is written. Where nothing of it stands
below, what goes best with what does is right less often. Most gaps come with the files beside theirs, as in a
workspace, some alone. Lines of which openings are proposed (`filling/openings`) are few, so more of them are asked for
than come by chance. Writes `gate.json` into the checkpoint directory; one that was fitted to other features has to be
deleted first.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn.functional import dropout

from .. import bundled
from ..engine import Engine, InfillRequest
from ..filling.gate import GATE, Gate, Scorer
from ..filling.openings.kinds import openings, telling
from ..filling.signs import ENDS, FEATURES, INSIDE, LAST, SITES, features
from .cases import Case, cases

HIDDEN = 32
DROPOUT = 0.2
WEIGHT_DECAY = 1.0
STEPS = 200
RATE = 0.01
SHARES = {"python": 0.5, "javascript": 0.1, "typescript": 0.1, "go": 0.1, "rust": 0.1, "cpp": 0.1}
ALONE = 4  # one gap in so many is filled as if no file stood beside its own
OPENED = 0.2  # of the number of cases, lines that openings say something about, on top
LOOKED_AT = 20  # lines among which one of those is looked for

Judged = tuple[Sequence[Sequence[float]], Sequence[bool]]
"""One gap's candidates: features [N, F] and whether each is exactly right [N]."""


def fit(gaps: Sequence[Judged], seed: int = 0) -> Scorer:
    """What makes the right candidates of `gaps`, or none where none is right, likeliest; gaps without candidates say
    nothing. Full batches, AdamW, dropout on the hidden layer; the same for the same seed."""
    gaps = [(rows, right) for rows, right in gaps if rows]
    stacked = torch.tensor([row for rows, _ in gaps for row in rows])
    right = torch.tensor([float(yes) for _, each in gaps for yes in each])
    gap = torch.tensor([number for number, (rows, _) in enumerate(gaps) for _ in rows])
    spread = stacked.std(0)
    scale = torch.where(spread > 1e-6, 1 / spread, 0.0)  # 0 for the bias, which the layers bring along
    x = (stacked - stacked.mean(0)) * scale
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        linear, hidden = nn.Linear(len(FEATURES), 1), nn.Linear(len(FEATURES), HIDDEN)
        out = nn.Linear(HIDDEN, 1, bias=False)
        parts = nn.ModuleList((linear, hidden, out))
        optimizer = torch.optim.AdamW(parts.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
        for step in range(STEPS):
            optimizer.param_groups[0]["lr"] = RATE * min(1.0, 2 * (1 - step / STEPS))
            scores = linear(x) + out(dropout(torch.tanh(hidden(x)), DROPOUT))
            loss = _surprise(scores.squeeze(1), gap, right)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return _scorer(linear, hidden, out, stacked.mean(0), scale)


def _surprise(scores: Tensor, gap: Tensor, right: Tensor) -> Tensor:
    """Mean over gaps of -log of what is right's share; scores, gap, right: of all gaps' candidates [N]."""
    shares, zeros = scores.exp(), torch.zeros(int(gap.max()) + 1)
    unknown = (zeros.index_add(0, gap, right) == 0).float()  # none of them is right, and none's score is 0
    hits = unknown.index_add(0, gap, shares * right)
    return (torch.log1p(zeros.index_add(0, gap, shares)) - hits.log()).mean()


@torch.no_grad()
def _scorer(linear: nn.Linear, hidden: nn.Linear, out: nn.Linear, mean: Tensor, scale: Tensor) -> Scorer:
    """The same scores, from features as they are."""
    direct, middle = linear.weight[0] * scale, hidden.weight * scale
    bias = FEATURES.index("bias")
    direct[bias] = linear.bias[0] - direct @ mean
    middle[:, bias] = hidden.bias - middle @ mean
    return Scorer(direct.numpy(), middle.numpy(), out.weight[0].numpy())


def judged(engine: Engine, request: InfillRequest, truth: str) -> Judged:
    """What the engine's candidates for a gap are like, and which of them are `truth`."""
    found = [one for one in engine.infill(request).candidates if one.signs]
    return features([one.signs for one in found if one.signs]), [one.text.strip() == truth.strip() for one in found]


class Worker:
    """One process' engine."""

    engine: Engine

    @classmethod
    def load(cls, directory: Path) -> None:
        cls.engine = Engine.load(directory, threads=1)

    @classmethod
    def judge(cls, asked: tuple[InfillRequest, str]) -> Judged:
        return judged(cls.engine, *asked)


def all_judged(pool: Executor, found: Sequence[Case], max_tokens: int, name: str) -> list[Judged]:
    """What `pool`'s engines say about each of the cases, in their order; name: of the progress bar."""
    asked = [
        (
            InfillRequest(case.prefix, case.suffix, max_tokens=max_tokens, library=case.library * bool(n % ALONE)),
            case.truth,
        )
        for n, case in enumerate(found)
    ]
    return list(track(pool.map(Worker.judge, asked, chunksize=4), total=len(asked), description=name))


def fitted(gaps: Sequence[Judged]) -> dict[str, Any]:
    """One scorer, and what it was fitted on."""
    counts = {"candidates": sum(len(right) for _, right in gaps), "right": sum(any(right) for _, right in gaps)}
    return {"cases": len(gaps), **counts, **fit(gaps).content()}


def at_line_ends(n_cases: int) -> list[Case]:
    found = _cases(("rest", "line"), n_cases)
    n_opened = round(OPENED * n_cases)
    lines = cases("tune", "line", LOOKED_AT * n_opened, seed=2)
    return found + [case for case in lines if telling(openings(case.prefix, case.suffix, case.library))][:n_opened]


def _cases(kinds: Sequence[str], n_cases: int) -> list[Case]:
    return [
        case
        for language, share in SHARES.items()
        for kind in kinds
        for case in cases("tune", kind, round(share * n_cases / len(kinds)), seed=1, language=language)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("directory", type=Path, nargs="?", default=Path(bundled.__path__[0]) / "midspan-mini")
    parser.add_argument("--cases", type=int, default=2000, help="gaps at the end of a line, and as many inside of one")
    parser.add_argument("--processes", type=int, default=2, help="one per core")
    args = parser.parse_args(argv)
    path = args.directory / GATE
    Gate.load(args.directory)  # a bad one is told here, in one line, and not by each process
    found = at_line_ends(args.cases)
    unfinished = [one for case in found if (one := case.while_writing()) != case]
    context = get_context("spawn")  # torch's threads do not outlive a fork
    with ProcessPoolExecutor(args.processes, context, Worker.load, (args.directory,)) as pool:
        ends = all_judged(pool, found, 32, "at a line's end")
        writing = all_judged(pool, unfinished, 32, "of a block being written")
        inside = all_judged(pool, _cases(("inside",), args.cases), 16, "inside of a line")
    # The ends of blocks are few in whole files, and their lines much like others: each fit has all there is for it.
    fits = {ENDS: fitted(ends), LAST: fitted(ends + writing), INSIDE: fitted(inside)}
    content = {"features": FEATURES, **fits}
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")
    for site in SITES:
        print(site, {name: fits[site][name] for name in ("cases", "candidates", "right")})
    return 0


if __name__ == "__main__":
    sys.exit(main())
