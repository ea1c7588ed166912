"""Where options come from, and which of them wins.

    defaults  <  the user's midspan.toml  <  what the editor sends  <  MIDSPAN_* in the environment
    and for the documents of a project, its midspan.toml, which can only ask for less

`midspan.toml` holds the options by the names an editor would send, at its top level. The user's lies in the
configuration directory, a project's in its root: the workspace folder, or else the nearest folder above the document
that has one or is a repository's top. Reads these files and the environment; knows nothing of the protocol.
"""

import os
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .directories import config_directory
from .settings import Settings, from_environment, narrow, resolve

FILE = "midspan.toml"
MAX_BYTES = 1 << 20
LOOK_AGAIN = 2.0  # seconds a project's file is taken to be unchanged


class Sources:
    """Puts the sources together. Each problem is told once through `on_problem`, in one sentence."""

    def __init__(self, on_problem: Callable[[str], None]) -> None:
        self._on_problem = on_problem
        self._told: set[str] = set()
        self._projects: dict[Path, _Project] = {}
        self._folders: dict[Path, tuple[Path | None, float]] = {}  # of each document, and when that was looked up
        self._initial: object = None
        self._configured: object = None

    def initialize(self, options: object) -> Settings:
        """With what the client starts with."""
        self._initial = options
        return self.settings()

    def configure(self, options: object) -> Settings:
        """With what the client configured later: it lies over what it started with."""
        self._configured = options
        return self.settings()

    def settings(self) -> Settings:
        """Of the user, for any document."""
        file = config_directory() / FILE
        settings = self._taken(resolve(self._read(file), Settings()), f"{file}: ")
        settings = self._taken(resolve(self._initial, settings))
        settings = self._taken(resolve(self._configured, settings))
        return self._taken(from_environment(os.environ, settings))

    def narrowed(self, settings: Settings, document: Path | None, roots: list[Path]) -> Settings:
        """For one document: what its project lets stand of the user's settings."""
        if document is None:
            return settings
        now = time.monotonic()
        folder, looked = self._folders.get(document, (None, float("-inf")))
        if now - looked > LOOK_AGAIN:
            folder = project_root(document, roots)
            self._folders[document] = (folder, now)
        if folder is None:
            return settings
        project = self._projects.setdefault(folder, _Project())
        if now - project.looked > LOOK_AGAIN:
            project.looked = now
            project.look(folder / FILE, self._read)
        if project.options is None:
            return settings
        if project.base is not settings:
            narrowed = self._taken(narrow(project.options, settings), f"{folder / FILE}: ")
            project.base, project.narrowed = settings, narrowed
        return project.narrowed

    def _taken(self, read: tuple[Settings, list[str]], where: str = "") -> Settings:
        settings, problems = read
        for problem in problems:
            self._tell(where + problem)
        return settings

    def _tell(self, problem: str) -> None:
        if problem not in self._told:
            self._told.add(problem)
            self._on_problem(problem)

    def _read(self, file: Path) -> object:
        """The file's table; None when there is none to read."""
        try:
            with file.open("rb") as stream:
                return tomllib.loads(stream.read(MAX_BYTES).decode("utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, RecursionError) as error:
            self._tell(f"{file} cannot be read: {error}")
            return None


@dataclass
class _Project:
    """A project's file as it was read last."""

    looked: float = float("-inf")
    changed: tuple[int, int] | None = None
    options: object = None
    base: Settings | None = None
    narrowed: Settings = field(default_factory=Settings)

    def look(self, file: Path, read: Callable[[Path], object]) -> None:
        try:
            stat = file.stat()
            changed = (stat.st_mtime_ns, stat.st_size)
        except OSError:
            changed = None
        if changed != self.changed:
            self.changed, self.base = changed, None
            self.options = read(file) if changed else None


def project_root(document: Path, roots: list[Path]) -> Path | None:
    """The innermost workspace folder around the document, else the nearest folder above that looks like a root."""
    around = [root for root in roots if document.is_relative_to(root)]
    if around:
        return max(around, key=lambda root: len(root.parts))
    for folder in document.parents:
        if (folder / FILE).is_file():
            return folder
        if (folder / ".git").exists():
            return folder
    return None
