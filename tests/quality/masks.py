"""What masks without a parser are worth while denoising: brackets against what the suffix needs, margins of new lines.

    python tests/quality/masks.py FOLDER [--gaps N] [--model DIRECTORY] [--no-write]

At every denoise step, from left to right over the canvas as it would be read now: a token may not close more brackets
than stand open, those that are open left of the gap and not closed right of it included; after a line break, blanks
come in whole levels of the file's indentation. (Line breaks in a gap of one line are banned in the engine itself.)
Measured on gaps of held-out packages and on HumanEval's lines, canvas alone and whole product, with and without; the
product's check repairs in both. Writes `masks.csv`. The masks live here and not in the engine: they help the canvas
alone a little and the product not at all. A bracket too many is seldom what breaks a fill, and where it is, the check
has it repaired.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import sheet
import torch
from midspan.engine import Engine, InfillRequest
from midspan.engine.denoise import _Run
from midspan.engine.sampler import BANNED
from midspan.engine.tokens import Tokens
from midspan.engine.training.cases import cases
from midspan.grammars import Syntax, choose_span, language_for
from midspan.grammars.balance import CLOSERS, WINDOW, balance
from midspan.grammars.indentation import unit
from midspan.grammars.prose import code_start
from repair import Case, check_of, compiles, human_eval, passed
from rich.console import Console
from rich.progress import track

CSV = Path(__file__).with_name("masks.csv")
FIELDS: tuple[str, ...] = ("set", "gaps", "fill", "exact", "parses", "compiles", "pass", "steps", "ms")
_BRACKETS = re.compile(r"[()\[\]{}]")


@dataclass(frozen=True)
class Need:
    """Of one gap: brackets that it may close beyond its own; columns of a level of indentation."""

    closers: int
    step: int

    @classmethod
    def of(cls, case: Case, tokens: Tokens) -> Need:
        language, at, text = language_for(case.language), len(case.prefix), case.document
        opened = balance(text, code_start(Syntax.parse(text, case.language), at), at, language).open
        strays = balance(text, at, min(len(text), at + WINDOW), language).strays
        taken = sum(text[stray] in CLOSERS for stray in strays)
        # The last token of the prefix may go back into the gap to be healed, and its closers with it.
        typed = tokens.decode(tokens.encode(case.prefix[-WINDOW:])[-1:])
        healed = sum(char in CLOSERS for char in typed)
        blank = unit(text, at, language)
        return cls(max(0, len(opened) - taken) + healed, 1 if blank == "\t" else len(blank))


class Lexicon:
    """Of every token: closers that it needs before its own openers, openers it leaves, blanks it begins a line with."""

    def __init__(self, tokens: Tokens) -> None:
        size = len(tokens.unwritable)
        self.closes, self.opens = torch.zeros(size, dtype=torch.int64), torch.zeros(size, dtype=torch.int64)
        self.breaks = tokens.newline.clone()
        self.margin = torch.full((size,), -1)  # of a token of blanks, or after its line break; -1: neither
        for id_, text in tokens.texts().items():
            depth = low = 0
            for bracket in _BRACKETS.findall(text):
                depth += 1 if bracket in "([{" else -1
                low = min(low, depth)
            self.closes[id_], self.opens[id_] = -low, depth - low
            last = text.rpartition("\n")[2]
            if text and not last.strip(" "):
                self.margin[id_] = len(last)


def masked(lexicon: Lexicon, need: Need) -> Callable[..., torch.Tensor]:
    original = _Run.step

    def step(run: _Run, logits: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        row_of = {slot: row for row, slot in enumerate(rows.tolist())}
        gap, free = run.canvas.gap.tolist(), run.canvas.free.tolist()
        depth, line_begins = need.closers, False
        for slot in range(len(gap)):
            row = row_of.get(slot)
            if row is None or not free[slot]:
                token = gap[slot]
            else:
                token = int(logits[row].argmax())
                if int(lexicon.closes[token]) > depth:
                    logits[row, lexicon.closes > depth] = BANNED
                    token = int(logits[row].argmax())
                uneven = (lexicon.margin > 0) & (lexicon.margin % need.step != 0)
                if not line_begins:
                    uneven &= lexicon.breaks
                if bool(uneven[token]):
                    logits[row, uneven] = BANNED
                    token = int(logits[row].argmax())
            depth += int(lexicon.opens[token] - lexicon.closes[token])
            line_begins = bool(lexicon.breaks[token]) and int(lexicon.margin[token]) == 0
        return original(run, logits, rows)

    return step


@contextmanager
def masking(lexicon: Lexicon, need: Need | None) -> Iterator[None]:
    original = _Run.step
    if need is not None:
        _Run.step = masked(lexicon, need)
    try:
        yield
    finally:
        _Run.step = original


def in_code(prefix: str, suffix: str) -> bool:
    """Whether the product would fill here: not in a string or a comment, whose brackets are no brackets."""
    return choose_span(Syntax.parse(prefix + suffix, "python"), len(prefix)) is not None


def sets(folder: Path, most: int) -> dict[str, tuple[list[Case], dict[str, str]]]:
    """Gaps, and what stood there by task."""
    found: dict[str, tuple[list[Case], dict[str, str]]] = {}
    for kind in ("line", "rest", "lines"):
        wanted = most if kind != "lines" else most // 2
        held = [one for one in cases("tune", kind, 2 * wanted, seed=3) if in_code(one.prefix, one.suffix)][:wanted]
        name = f"held-out {kind}"
        gaps = [Case(f"{name}/{i}", "python", one.prefix, one.suffix, kind != "lines") for i, one in enumerate(held)]
        found[name] = gaps, {gap.task: one.truth for gap, one in zip(gaps, held, strict=True)}
    lines = human_eval(folder, "SingleLineInfilling")
    random.Random(0).shuffle(lines)
    found["HumanEval lines"] = lines[:most], {}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gaps", type=int, default=120, help="of each set")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-write", action="store_true")
    chosen = parser.parse_args()
    console = Console(width=140)
    engine = Engine.load(chosen.model, threads=chosen.threads)
    lexicon = Lexicon(engine._tokens)
    rows: list[dict[str, object]] = []
    for name, (gaps, truths) in sets(chosen.folder, chosen.gaps).items():
        texts: dict[str, list[str]] = defaultdict(list)
        steps, seconds = defaultdict(int), defaultdict(float)
        for number, case in enumerate(track(gaps, description=name, console=console)):
            need, check = Need.of(case, engine._tokens), check_of(case)
            alone = replace(engine.method, drafts=False, repair=False)
            request = InfillRequest(case.prefix, case.suffix, 32, case.single_line, method=alone)
            whole = replace(request, method=engine.method, check=check)
            for fill, asked in (("canvas", request), ("product", whole)):
                # In turn: who comes first pays for the encoding.
                for masks in (None, need) if number % 2 else (need, None):
                    way = fill if masks is None else f"{fill}, masks"
                    began = time.thread_time()
                    with masking(lexicon, masks):
                        infill = engine.infill(asked)
                    seconds[way] += time.thread_time() - began
                    steps[way] += infill.steps
                    texts[way].append(infill.text)
        scored: dict[tuple[str, str], bool] = {}
        if not truths:
            said = [
                (case.task, one + case.ending) for ones in texts.values() for case, one in zip(gaps, ones, strict=True)
            ]
            scored = passed(chosen.folder, said, console)
        for way in sorted(texts):
            ones = texts[way]
            pairs = list(zip(gaps, ones, strict=True))

            def share(hits: list[bool]) -> float:
                return round(100 * sum(hits) / len(hits), 1)

            row: dict[str, object] = {"set": name, "gaps": len(gaps), "fill": way}
            row["parses"] = share([not check_of(case)(one) for case, one in pairs])
            row["compiles"] = share([compiles(case.prefix + one + case.suffix) for case, one in pairs])
            if truths:
                row["exact"] = share([one.strip() == truths[case.task].strip() for case, one in pairs])
            if scored:
                row["pass"] = share([scored[case.task, one + case.ending] for case, one in pairs])
            row["steps"] = round(steps[way] / len(gaps), 2)
            row["ms"] = round(1000 * seconds[way] / len(gaps), 1)
            rows.append(row)
        sheet.show(rows[-4:], FIELDS, console)
    if not chosen.no_write:
        sheet.write(CSV, rows, FIELDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
