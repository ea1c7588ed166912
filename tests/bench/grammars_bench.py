"""What syntax costs per keystroke and per request, on files of 5,000 lines: generated ones, half as long again as what
people write, and the standard library's. Prints a table, then one JSON line.

`edit` is what a typed character costs at once, `reparse` what a request then parses before it can choose its span: the
file, or where that takes longer than `STANDING_SECONDS` the statements around the cursor, those seconds included.
`file` is what the file's own tree takes when somebody asks for it later (a code action), and `bare` what
tree-sitter takes by itself for the same keystroke: `Tree.edit` and `Parser.parse` on a tree that came from a plain
parse, in turn before and after ours. A request is choosing the span, splicing a fill, and the parse check. Budgets
(design): request ≤ 5 ms at p95, keystroke ≤ 1 ms. The check looks at the statements around the gap, so a broken fill
costs no more than a sound one; a file's tree costs most where the typed text leaves a bracket open, since
tree-sitter's recovery then searches to the end of it. Text that is not ASCII adds the conversion of positions. The
first file above the cap, of 5 MB, has no tree.

Times are CPU milliseconds of the thread, and wall-clock ones in the JSON: a busy machine slows the former by its
caches, the latter by its queue as well.

    python tests/bench/grammars_bench.py [--lines N] [--rounds N] [--only WORDS] [--write]
"""

from __future__ import annotations

import argparse
import doctest
import inspect
import json
import random
import tarfile
import time
import typing
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dense import SHAPES, source
from midspan.grammars import Syntax, choose_span, new_errors
from midspan.grammars.window import near
from tree_sitter import Parser, Tree

RESULTS = Path(__file__).parent / "results" / "grammars.json"
PAIRS = {"(": ")", "[": "]", "{": "}", '"': '"', "`": "`"}


def statements(line: str) -> bool:
    return not line.lstrip().startswith(("def", "class", "if", "for", "//", "/*")) and '"""' not in line


def headers(line: str) -> bool:
    return line.lstrip().startswith(("def", "class", "if", "for"))


@dataclass(frozen=True)
class Scene:
    """The cursor stands in a line of `text` that `chooses` it, and the rest of that line is still to be written."""

    text: str
    language: str = "python"
    chooses: Callable[[str], bool] = statements
    closing: bool = True  # the editor has closed what the line opened
    new_line: bool = False  # instead, the cursor stands on a new line under that one


class Stopwatch:
    """CPU and wall-clock milliseconds by stage."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = defaultdict(list)
        self.walls: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        wall, began = time.perf_counter(), time.thread_time()
        yield
        self.times[stage].append((time.thread_time() - began) * 1e3)
        self.walls[stage].append((time.perf_counter() - wall) * 1e3)


def scenes(n_lines: int) -> dict[str, Scene]:
    plain, written = source("python", n_lines), standard_library(n_lines)
    middle = plain.index("\n", len(plain) // 2)
    return {
        "new lines": Scene(plain, new_line=True),
        "standard library, new lines": Scene(written, new_line=True),
        "standard library, statements": Scene(written),
        "standard library, headers": Scene(written, chooses=headers),
        "standard library, brackets never closed": Scene(written, closing=False),
        "statements": Scene(plain),
        "statements, not ascii": Scene(source("python", n_lines, ("größe", "数", "😀"))),
        "headers": Scene(plain, chooses=headers),
        "brackets never closed": Scene(plain, closing=False),
        "a bracket open in the middle": Scene(plain[:middle] + "\n        self.lost = [1, (2\n" + plain[middle:]),
        "a bracket open at the top": Scene("lost = [1, (2\n" + plain),
        "a docstring open in the middle": Scene(plain[:middle] + '\n        """lost\n' + plain[middle:]),
        "5 MB": Scene(plain * (5_000_000 // len(plain) + 1)),
        **{name: Scene(source(name, n_lines), name) for name in SHAPES if name != "python"},
    }


def standard_library(n_lines: int) -> str:
    """About so many lines that people wrote: whole statements of the running Python's own modules."""
    lines: list[str] = []
    for module in (argparse, inspect, tarfile, typing, doctest, zipfile):
        lines += inspect.getsource(module).splitlines()
    lines = lines[:n_lines]
    while lines and not lines[-1].startswith(("def ", "class ")):
        lines.pop()
    return "\n".join(lines[:-1]) + "\n"


def closers(line: str) -> str:
    """What an editor has closed behind the cursor: the brackets and quotes its line opened."""
    if line.count('"""') % 2:
        return '"""'
    opened: list[str] = []
    for char in line:
        if opened and char == opened[-1]:
            opened.pop()
        elif char in PAIRS and (not opened or opened[-1] not in ('"', "`")):
            opened.append(PAIRS[char])
    return "".join(reversed(opened))


def bare(tree: Tree, syntax: Syntax, start: int, old_end: int, new: str) -> tuple[Tree, bytes]:
    """tree-sitter's own account of one edit, in code points: an edited copy of the tree, and the new text."""
    data = syntax.data
    low, high, piece = syntax.byte(start), syntax.byte(old_end), new.encode()
    places = [(part.count(b"\n"), len(part) - part.rfind(b"\n") - 1) for part in (data[:low], data[:high])]
    new_data = data[:low] + piece + data[high:]
    head = new_data[: low + len(piece)]
    edited = tree.copy()
    new_place = head.count(b"\n"), len(head) - head.rfind(b"\n") - 1
    edited.edit(low, high, low + len(piece), *places, new_place)
    return edited, new_data


def one_round(syntax: Syntax, plain: Tree | None, scene: Scene, rng: random.Random, watch: Stopwatch) -> None:
    text = scene.text
    while True:
        offset = rng.randrange(len(text))
        line, end = text[text.rfind("\n", 0, offset) + 1 : offset], text.find("\n", offset)
        # No request is made in a comment or a string.
        if line.strip() and scene.chooses(line) and choose_span(syntax, offset) is not None:
            break
    if scene.new_line:
        margin = "\n" + line[: len(line) - len(line.lstrip())]
        change, offset = (end, end, margin), end + len(margin)
    elif scene.closing and text[offset:end].rstrip().endswith("{"):
        change = (offset, offset, "")  # a line that opens a block is written with its brace
    else:
        change = (offset, end, closers(line) if scene.closing else "")
    typing = syntax.edited(*change)
    _ = near(typing, offset).syntax.tree
    typing.catch_up()  # as the server does between two keystrokes

    def ours() -> Syntax:
        with watch.time("edit"):
            typed = typing.edited(offset, offset, "v")
        with watch.time("reparse"):
            _ = near(typed, offset + 1).syntax.tree
        return typed

    def theirs() -> None:
        if plain is None:
            return
        grammar = syntax.language.grammar()
        edited, data = bare(plain, syntax, *change)
        edited, data = bare(Parser(grammar).parse(data, edited), typing, offset, offset, "v")
        with watch.time("bare"):
            Parser(grammar).parse(data, edited)

    if first := rng.random() < 0.5:
        theirs()
    typed = ours()
    if not first:
        theirs()
    cursor = offset + 1
    with watch.time("span"):
        span = choose_span(typed, cursor)
    stop = span.end if span else cursor
    # Sound, as it was, and broken: a broken fill is what the check is for, and what it pays most for.
    fill = rng.choice(("alue = 1", "alue(a, b)", "alue(a, [b", text[offset + 1 : end]))
    with watch.time("check"):
        found = new_errors(typed, typed.edited(cursor, stop, fill), cursor, cursor + len(fill))
    with watch.time("file"):
        _ = typed.tree
    for times in (watch.times, watch.walls):
        times["request, broken" if found else "request, sound"].append(times["span"][-1] + times["check"][-1])


def measure(scene: Scene, rounds: int) -> dict[str, dict[str, float]]:
    watch, rng = Stopwatch(), random.Random(0)
    syntax = Syntax.parse(scene.text, scene.language)
    with watch.time("parse"):
        _ = syntax.tree
    plain = Parser(syntax.language.grammar()).parse(syntax.data) if syntax.tree else None
    for _ in range(rounds):
        one_round(syntax, plain, scene, rng, watch)
    return {
        stage: {
            "min": min(times),
            "p50": at(times, 0.5),
            "p95": at(times, 0.95),
            "max": max(times),
            "wall_p50": at(watch.walls[stage], 0.5),
            "wall_p95": at(watch.walls[stage], 0.95),
        }
        for stage, times in watch.times.items()
    }


def at(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lines", type=int, default=5000)
    options.add_argument("--rounds", type=int, default=200)
    options.add_argument("--only", default="", help="scenes with these words in their name")
    options.add_argument("--write", action="store_true", help=f"keep the figures in {RESULTS.name}")
    chosen = options.parse_args()
    card = {}
    print(f"{'the cursor in':<40}{'ms':<17}{'min':>8}{'p50':>8}{'p95':>8}{'max':>8}")
    for name, scene in scenes(chosen.lines).items():
        if chosen.only not in name:
            continue
        card[name] = measure(scene, chosen.rounds)
        for i, (stage, row) in enumerate(card[name].items()):
            print(
                f"{name if i == 0 else '':<40}{stage:<17}" + "".join(f"{value:>8.2f}" for value in [*row.values()][:4])
            )
    rounded = {n: {s: {k: round(v, 3) for k, v in r.items()} for s, r in c.items()} for n, c in card.items()}
    result = {"bench": "grammars", "lines": chosen.lines, "rounds": chosen.rounds, "ms": rounded}
    if chosen.write:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
