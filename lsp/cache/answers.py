"""The answers known already: the suggestions given since the start, and below them those of earlier runs on disk.

An answer is kept for what it depends on: the text around the cursor, the language, the model's files and the settings
that matter. What is excluded never comes here. Lives on the event loop; knows nothing of the protocol or the engine.
"""

import time
from collections.abc import Hashable
from hashlib import blake2b
from importlib import metadata
from pathlib import Path

from ..complete import Outcome, Snapshot
from ..lines import line_end
from ..settings.directories import cache_directory
from ..settings.settings import Settings
from .store import FILE, DiskCache, Entry, guard_of
from .suggestions import Recent, placed, remembered

BEFORE, AFTER = 4000, 2000  # characters of the document that a key on disk is made of
BUNDLED = Path(__file__).parents[2] / "engine" / "bundled"


class Answers:
    def __init__(self) -> None:
        self._recent = Recent()
        self._disk: DiskCache | None = None
        self._exclude: tuple[str, ...] = ()
        self._engine: Hashable = None
        self._identity = ""

    def follow(self, settings: Settings) -> None:
        """Take the session's settings. New exclusions empty everything: nobody knows what an answer was taken from."""
        if settings.exclude != self._exclude:
            self._recent.clear()
        if self._disk is not None and not (
            settings.enable and settings.disk_cache and settings.exclude == self._exclude
        ):
            self._disk.stop()
            self._disk = None
        self._exclude = settings.exclude
        if settings.enable and settings.engine_key != self._engine:
            self._engine = settings.engine_key
            self._identity = model_identity(settings.model, metadata.version("midspan"))
        if settings.enable and settings.disk_cache and self._disk is None:
            self._disk = DiskCache(cache_directory() / FILE, guard_of(settings.exclude))

    def known(self, snapshot: Snapshot, settings: Settings, invoked: bool) -> Outcome | None:
        about = self._about(snapshot, settings)
        least = 0.0 if invoked else settings.min_confidence
        known = self._recent.answer(about, snapshot, least, invoked, settings.alternatives if invoked else 1)
        if known is not None or invoked or self._disk is None or not settings.disk_cache:
            return known
        entry = self._disk.get(key_of(snapshot, about))
        known = outcome_of(snapshot, entry) if entry is not None and entry.confidence >= least else None
        if known is not None:
            self._recent.add(remembered(about, snapshot, known, invoked))
        return known

    def keep(self, snapshot: Snapshot, outcome: Outcome, settings: Settings, invoked: bool) -> None:
        about = self._about(snapshot, settings)
        self._recent.add(remembered(about, snapshot, outcome, invoked))
        if self._disk is not None and settings.disk_cache and not invoked:
            entry = entry_of(snapshot, outcome)
            if entry is not None:
                self._disk.put(key_of(snapshot, about), entry)

    def forget(self) -> None:
        """Everything, here and on disk."""
        self._recent.clear()
        if self._disk is not None:
            self._disk.clear()

    def stop(self) -> None:
        if self._disk is not None:
            self._disk.stop()
            self._disk = None

    def _about(self, snapshot: Snapshot, settings: Settings) -> Hashable:
        return (snapshot.language_id, self._identity, settings.answer_key)


def key_of(snapshot: Snapshot, about: Hashable) -> bytes:
    """Digest of the text around the cursor and of all else that the answer depends on."""
    text, offset = snapshot.text, snapshot.offset
    parts = (repr(about), snapshot.language_id, text[max(0, offset - BEFORE) : offset], text[offset : offset + AFTER])
    lengths = ",".join(str(len(part)) for part in parts)
    return blake2b("".join((lengths, *parts)).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def entry_of(snapshot: Snapshot, outcome: Outcome) -> Entry | None:
    """The best suggestion of an answer; None where a key would not cover the line it stands in."""
    best, chosen = outcome.suggestion, len(snapshot.chosen)
    if best is None or best.filled <= chosen or line_end(snapshot.text, snapshot.offset) - snapshot.offset > AFTER:
        return None
    return Entry(
        text=best.text[chosen:],
        filled=best.filled - chosen,
        kind=outcome.kind,
        model=outcome.model,
        source=outcome.source,
        steps=outcome.steps,
        tokens=outcome.tokens,
        confidence=outcome.confidence,
        used=time.time(),
    )


def outcome_of(snapshot: Snapshot, entry: Entry) -> Outcome | None:
    """The answer again; None when it would not keep what stands right of the cursor."""
    rest = snapshot.text[snapshot.offset : line_end(snapshot.text, snapshot.offset)]
    if not rest.endswith(entry.text[entry.filled :]):
        return None
    return Outcome(
        reason="shown",
        suggestions=(placed(snapshot, entry.text, entry.filled),),
        origin="disk",
        kind=entry.kind,
        model=entry.model,
        source=entry.source,
        steps=entry.steps,
        tokens=entry.tokens,
        confidence=entry.confidence,
    )


def model_identity(directory: Path | None, version: str) -> str:
    """Tells one checkpoint from another by its files' names, sizes and times, without reading them."""
    seen = blake2b(version.encode(), digest_size=16)
    for file in sorted((directory or BUNDLED).rglob("*")):
        if file.suffix in (".json", ".safetensors"):
            stat = file.stat()
            seen.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return seen.hexdigest()
