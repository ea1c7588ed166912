"""A wish of the loopback endpoint → texts to insert, by the same pipeline as an editor's request.

Runs on the engine thread. Knows nothing of sockets or JSON.
"""

import time
from typing import TYPE_CHECKING

from ..complete import Limits, Outcome, Snapshot, complete
from ..settings.exclusions import Exclusions
from ..settings.settings import Settings
from ..worker import Job
from .api import Filled
from .wish import Wish

if TYPE_CHECKING:
    from ...engine import Engine


def fill(wish: Wish, settings: Settings, exclusions: Exclusions, engine: "Engine", job: Job) -> Filled:
    """Never more than what can be inserted: these clients replace nothing."""
    from ...grammars import Syntax  # noqa: PLC0415

    started = time.perf_counter()
    if exclusions.excluded(wish.filename):
        return Filled(reason="excluded", model=engine.name)
    language = language_of(wish)
    text, offset = wish.prefix + wish.suffix, len(wish.prefix)
    snapshot = Snapshot(f"http:{wish.filename or language}", 0, language, text, offset, offset)
    context = "\n".join(text for name, text in wish.extra if not exclusions.excluded(name))
    limits = Limits(
        max_tokens=min(wish.n_tokens, settings.max_tokens),
        min_confidence=settings.min_confidence,
        seed=wish.seed,
        deadline=job.deadline,
        cancelled=job.cancelled,
        most=wish.n_choices,
        prose=settings.prose,
    )
    outcome = complete(snapshot, Syntax.parse(text, language), engine, limits, context)
    texts = tuple(text for text in _insertions(snapshot, outcome) if text)
    timings = outcome.timings
    return Filled(
        texts=texts,
        reason=outcome.reason if texts or outcome.reason != "shown" else "not an insertion",
        model=engine.name,
        n_tokens=outcome.tokens,
        steps=outcome.steps,
        prompt_seconds=timings.get("tokenize", 0.0) + timings.get("encode", 0.0),
        seconds=time.perf_counter() - started,
    )


def language_of(wish: Wish) -> str:
    """The language id: as the client says, by its file's name, or that of all the files it shows; else plain text."""
    from ...grammars.languages import id_of  # noqa: PLC0415

    if wish.language:
        return wish.language
    names = [wish.filename] if wish.filename else [name for name, _ in wish.extra]
    found = {id_of(name.replace("\\", "/").rsplit("/", 1)[-1]) for name in names if name}
    return found.pop() or "plaintext" if len(found) == 1 else "plaintext"


def _insertions(snapshot: Snapshot, outcome: Outcome) -> list[str]:
    """What each suggestion puts at the cursor; those that replace more than blanks are none."""
    texts: list[str] = []
    for one in outcome.suggestions:
        rest = snapshot.document[one.start : one.end]
        kept = one.text[one.filled :]
        replaced = rest[: len(rest) - len(kept)]
        if not replaced.strip():
            texts.append(one.text[: one.filled])
        elif one.text.endswith(rest):
            texts.append(one.text[: len(one.text) - len(rest)])
    return texts
