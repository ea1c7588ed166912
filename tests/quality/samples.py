"""A sheet of fills nobody picked: the first thirty gaps that a fixed seed cuts out of this repository's own source.

Writes `samples.md` next to this file. The source is none that the model was trained on; good fills and bad ones stand
as they came.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from midspan.engine import Engine, InfillRequest
from midspan.engine.training.examples import cut_point

ROOT = Path(__file__).parents[2]
SHEET = Path(__file__).with_name("samples.md")
FOLDERS = ("lsp", "grammars", "engine")
N_SAMPLES, LINES_BEFORE, LINES_AFTER = 30, 5, 2
HEAD = """\
# Thirty fills, untouched

Cut with a fixed seed from this repository's Python files and filled by the bundled model in one go, best candidate
shown whatever its confidence; written by `python tests/quality/samples.py`. The gap stands between `⟦` and `⟧`.
"""


def gap(text: str, rng: np.random.Generator) -> tuple[int, int] | None:
    """Start and end of the rest of a line, or of a whole line behind its indentation; None: an empty line was drawn."""
    at = int(rng.integers(0, len(text)))
    start, end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
    line = text[start:end]
    if end < 0 or not line.strip():
        return None
    indent = len(line) - len(line.lstrip())
    cut = start + (indent if rng.random() < 0.5 else cut_point(line, indent, rng))
    return (cut, end) if cut < end else None


def main() -> int:
    engine = Engine.load(threads=2)
    files = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if path.stat().st_size > 2000)
    rng = np.random.default_rng(0)
    parts, n_right = [], 0
    while len(parts) < N_SAMPLES:
        path = files[int(rng.integers(0, len(files)))]
        text = path.read_text(encoding="utf-8")
        found = gap(text, rng)
        if found is None:
            continue
        start, end = found
        infill = engine.infill(InfillRequest(text[:start], text[end:]))
        right = infill.text.strip() == text[start:end].strip()
        n_right += right
        before = "\n".join(text[:start].split("\n")[-LINES_BEFORE:])
        after = "\n".join(text[end:].split("\n")[: LINES_AFTER + 1])
        parts.append(
            f"## {len(parts) + 1}. {path.relative_to(ROOT)}: {'right' if right else 'wrong'}\n\n"
            f"```python\n{before}⟦{infill.text}⟧{after}\n```\n\n"
            + ("" if right else f"was `{text[start:end]}`, ")
            + f"{infill.confidence:.0%} sure, by {infill.source}, {infill.steps} steps\n"
        )
    SHEET.write_text(f"{HEAD}\n{n_right} of {N_SAMPLES} are exactly right.\n\n" + "\n".join(parts), encoding="utf-8")
    print(f"{SHEET.name}: {n_right} of {N_SAMPLES} exactly right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
