"""One gap as the server fills it, `complete`, and what that would insert."""

from __future__ import annotations

import time

from midspan.engine import Engine
from midspan.grammars import Syntax
from midspan.lsp.complete import Limits, Outcome, Snapshot, complete
from midspan.lsp.settings.settings import Settings

SECONDS = 60.0


def filled(
    engine: Engine, name: str, prefix: str, suffix: str, threshold: float, max_tokens: int | None = None
) -> tuple[str, Outcome]:
    """What would stand between `prefix` and `suffix` if the suggestion in this Python file were accepted ("": there is
    none), and the outcome. A suggestion may replace the rest of a word right of the cursor; what it writes again of
    the suffix is no part of the gap."""
    text, at, settings = prefix + suffix, len(prefix), Settings()
    snapshot = Snapshot(name, 0, "python", text, at, at)
    most = max_tokens or settings.max_tokens
    limits = Limits(most, threshold, 0, time.monotonic() + SECONDS, lambda: False, 1, settings.prose)
    outcome = complete(snapshot, Syntax.parse(text, "python"), engine, limits)
    shown = outcome.suggestion
    if shown is None:
        return "", outcome
    accepted = text[: shown.start] + shown.text + text[shown.end :]
    if accepted.endswith(suffix):
        return accepted[at : len(accepted) - len(suffix)], outcome
    return shown.text[: shown.filled], outcome
