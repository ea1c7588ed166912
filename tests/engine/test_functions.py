"""Which functions of a file stand alone, and that they do."""

from __future__ import annotations

import builtins
import json
import symtable
from pathlib import Path

from midspan.engine.training import functions
from midspan.engine.training.corpus import Builder
from midspan.engine.training.filters import Benchmarks
from midspan.engine.training.packages import Package

STANDING = '''import math
import numpy as np
from os import path as where, sep
from .near import helper

LIMIT = 3
\f

def area(radius):
    """Of a circle."""
    squared = radius * radius
    return math.pi * squared


def leaning(items):
    """Needs what its file defines."""
    kept = items[:LIMIT]
    return helper(kept)


def grown(items):
    """Needs what is not in the standard library."""
    whole = np.array(items)
    return whole + 1


def silent(items):
    kept = sorted(items)
    return kept


def _near(value, places=LIMIT):
    low, high = sorted((value, math.floor(value)))
    gap = high - low
    if gap > 1:
        raise ValueError(value)
    return round(gap, places)


def nearest(values):
    """Takes a helper and a constant along."""
    gaps = [_near(value) for value in values]
    return min(gaps)


counted = 0


def count():
    """What is bound twice is not known."""
    global counted
    counted = counted + 1


counted = 1


def short(items):
    """One line."""
    return items


class Kept:
    def method(self, a):
        """A method."""
        b = a
        return b


def joined(names, depth=2):
    """Calls itself, with names of its own."""
    if depth:
        return joined([where.join(sep, one) for one in names], depth - 1)
    for at, name in enumerate(names):
        print(at, name)
'''


def test_functions_that_stand_alone_bring_what_they_import_and_call():
    area, nearest, joined = functions.alone(STANDING)
    cut = {
        name: STANDING[STANDING.index(f"def {name}") :].partition("\n\n\n")[0] for name in ("area", "_near", "nearest")
    }
    assert area == f"import math\n\n\n{cut['area']}\n"
    assert nearest == f"import math\n\n\nLIMIT = 3\n\n\n{cut['_near']}\n\n\n{cut['nearest']}\n"
    assert joined.startswith("from os import path as where\nfrom os import sep\n\n\ndef joined(")
    assert list(functions.alone("def broken(:\n")) == []


def test_nothing_that_stands_alone_reads_a_name_that_is_not_there():
    paths = sorted(Path(json.__file__).parents[1].glob("*.py"))
    found = [text for path in paths for text in functions.alone(path.read_text(encoding="utf-8"))]
    assert len(found) > 100
    for text in found:
        whole = symtable.symtable(text, "alone", "exec")
        tables = [whole]
        for table in tables:  # grows while it is read
            tables += table.get_children()
        read = {one.get_name() for table in tables for one in table.get_symbols() if one.is_global()}
        assert read <= {*dir(builtins), *whole.get_identifiers()}, text


def test_the_builder_sets_functions_apart():
    builder = Builder(["python"], Benchmarks([]))
    held_out = STANDING.replace("    ", "        ")
    for ours, theirs in (("items", "things"), ("radius", "length"), ("value", "number"), ("gap", "span")):
        held_out = held_out.replace(ours, theirs)
    for split, text in (("val", held_out), ("train", STANDING)):
        builder.add(Package("python", split, "1.0", "MIT", split), iter([(f"{split}.py", text.encode())]))
        assert len(builder.shards[split, "python"].texts) == 1
    assert [one["package"] for one in builder.shards["train", "functions"].index] == ["train 1.0"] * 3
