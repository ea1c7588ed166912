"""What syntax costs per keystroke and per request, on a 5,000-line Python file. Prints a table, then one JSON line.

A keystroke is one typed character and its incremental reparse. A request is choosing the span, splicing a fill and its
reparse, and the parse check. Budgets (design): request ≤ 5 ms at p95, keystroke ≤ 1 ms. Parsing is bound by the nodes
the edit touches, so what moves these numbers is broken code, where tree-sitter's error recovery searches further, and
text that is not ASCII, where positions must be converted.

Times are CPU milliseconds of the thread, so that a busy machine does not count.

    python tests/bench/grammars_bench.py [--lines N] [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable

from midspan.grammars import Syntax, choose_span, new_errors

METHOD = '''
    def method_{n}(self, count: int, name: str = "{word}") -> dict[str, list[int]]:
        """Collect what {word} needs."""
        total = self.compute(count, name, key={n})
        if total > 3 and count in (1, 2, {n}):
            return {{"total": [total], name: [value * 2 for value in range({n})]}}
        for index, item in enumerate(self.items):
            self.seen.append((index, f"{{item}}-{{name}}"))  # {word}
        return {{}}
'''


PAIRS = {"(": ")", "[": "]", "{": "}", '"': '"'}


def source(n_lines: int, words: tuple[str, ...]) -> str:
    lines: list[str] = []
    while len(lines) < n_lines:
        n = len(lines)
        if n % 200 < 10:
            lines += ["", "", f"class Group{n}(Base):"]
        lines += METHOD.format(n=n, word=words[n % len(words)]).split("\n")[:-1]
    return "\n".join(lines[:n_lines]) + "\n"


def texts(n_lines: int) -> dict[str, str]:
    plain = source(n_lines, ("alpha", "beta"))
    middle = plain.index("\n", len(plain) // 2)
    return {
        "ascii": plain,
        "brackets never closed while typing": plain,
        "not ascii": source(n_lines, ("größe", "数", "😀")),
        "unclosed bracket in the middle": plain[:middle] + "\n        self.lost = [1, (2\n" + plain[middle:],
        "unclosed bracket at the top": "lost = [1, (2\n" + plain,
        "unclosed docstring in the middle": plain[:middle] + '\n        """lost\n' + plain[middle:],
    }


def timed(work: Callable[[], object], into: list[float]) -> object:
    began = time.thread_time()
    result = work()
    into.append((time.thread_time() - began) * 1e3)
    return result


def closers(text: str, offset: int) -> str:
    """What an editor has closed behind the cursor: the brackets and quotes its line opened."""
    open_: list[str] = []
    for char in text[text.rfind("\n", 0, offset) + 1 : offset]:
        if open_ and char == open_[-1]:
            open_.pop()
        elif char in PAIRS and (not open_ or open_[-1] != '"'):
            open_.append(PAIRS[char])
    return "".join(reversed(open_))


def measure(text: str, closing: bool, rounds: int, rng: random.Random) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {"parse": [], "keystroke": [], "span": [], "splice": [], "check": [], "request": []}
    syntax = timed(lambda: Syntax.parse(text, "python"), times["parse"])
    assert isinstance(syntax, Syntax)
    for _ in range(rounds):
        offset = rng.randrange(len(text))
        # The cursor stands at the end of a line whose tail is still to be written, before what the editor closed.
        end = text.find("\n", offset)
        typing = syntax.edited(offset, end, closers(text, offset) if closing else "")
        typed = timed(lambda: typing.edited(offset, offset, "v"), times["keystroke"])
        assert isinstance(typed, Syntax)
        span = timed(lambda: choose_span(typed, offset + 1), times["span"])
        start, stop = (span.start, span.end) if span else (offset + 1, offset + 1)  # type: ignore[attr-defined]
        fill = rng.choice(("alue + 1", "alue(a, b)", "alue(a, [b", text[offset + 1 : end]))
        after = timed(lambda: typed.edited(start, stop, fill), times["splice"])
        timed(lambda: new_errors(typed, after, start, start + len(fill)), times["check"])  # type: ignore[arg-type]
        times["request"].append(times["span"][-1] + times["splice"][-1] + times["check"][-1])
    return times


def at(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lines", type=int, default=5000)
    options.add_argument("--rounds", type=int, default=300)
    chosen = options.parse_args()
    card: dict[str, dict[str, dict[str, float]]] = {}
    print(f"{'text':<36}{'ms':<10}{'p50':>8}{'p95':>8}{'max':>8}")
    for name, text in texts(chosen.lines).items():
        times = measure(text, not name.startswith("brackets"), chosen.rounds, random.Random(0))
        card[name] = {
            stage: {"p50": round(at(t, 0.5), 3), "p95": round(at(t, 0.95), 3), "max": round(max(t), 3)}
            for stage, t in times.items()
        }
        for i, (stage, row) in enumerate(card[name].items()):
            print(f"{name if i == 0 else '':<36}{stage:<10}{row['p50']:>8.2f}{row['p95']:>8.2f}{row['max']:>8.2f}")
    print(json.dumps({"bench": "grammars", "lines": chosen.lines, "rounds": chosen.rounds, "ms": card}))


if __name__ == "__main__":
    main()
