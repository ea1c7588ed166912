"""Answers already measured, kept line by line: a long measurement that is interrupted goes on where it stopped.

A journal belongs to one checkpoint, by the bytes of all its files; with other weights, or another gate, it starts
empty. Knows nothing of what is measured.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from midspan.engine import bundled
from midspan.engine.training.corpus import cache_directory


class Journal:
    """Values by key, each on disk as soon as it is there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, Any] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    key, value = json.loads(line)
                except ValueError:  # the last line of a run that was killed
                    continue
                self._values[json.dumps(key)] = value

    @classmethod
    def of(cls, name: str, checkpoint: Path | None, fresh: bool) -> Journal:
        """The journal `name` of a checkpoint directory (None: the bundled one). fresh: what it held is forgotten."""
        directory = checkpoint or Path(bundled.__path__[0]) / "midspan-mini"
        digest = hashlib.sha256()
        for file in sorted(directory.iterdir()):
            digest.update(file.name.encode() + file.read_bytes())
        path = cache_directory() / "quality" / f"{name}-{digest.hexdigest()[:16]}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        if fresh:
            path.unlink(missing_ok=True)
        return cls(path)

    def __len__(self) -> int:
        return len(self._values)

    def get(self, *key: object) -> Any:
        """None: not there yet."""
        return self._values.get(json.dumps(key))

    def put(self, value: Any, *key: object) -> None:
        self._values[json.dumps(key)] = value
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([key, value]) + "\n")
