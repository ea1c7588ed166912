"""The packages that midspan-mini learns from, and how they are fetched by name and version.

Contract: `packages.toml` beside this file is the whole list; every entry is pinned and names the licence that a person
read. `Package.fetch` runs the ordinary client (pip, npm, apt-get) and keeps the archive; `archives` opens it. Knows
nothing of what is in an archive, of filters, splits' use, tokens or models.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("packages.toml")
# Debian's packages for developers carry the sources of what is compiled from source: Go, Rust, C++ headers.
CLIENTS = {"python": "pip", "javascript": "npm", "debian": "apt-get"}
# Which languages an ecosystem's packages are read for.
LANGUAGES = {"python": ("python",), "javascript": ("javascript", "typescript"), "debian": ("go", "rust", "cpp")}


class PackageError(Exception):
    """A package that cannot be fetched, or whose licence is not permissive."""


@dataclass(frozen=True)
class Package:
    """One pinned package. `split` is train, val or tune; `licence` is what the list says."""

    ecosystem: str  # a key of CLIENTS
    name: str
    version: str
    licence: str
    split: str
    cap_mb: float | None = None  # less than the language's default, where a package is large and repetitive

    def fetch(self, cache: Path) -> Path | None:
        """The archive in `cache`, downloaded if it is not there; None for the standard library. Raises PackageError."""
        if self.name == "stdlib":
            return None
        folder = cache / CLIENTS[self.ecosystem]
        folder.mkdir(parents=True, exist_ok=True)
        found = self._archive(folder)
        if found is None:
            self._download(folder)
            found = self._archive(folder)
        if found is None:
            raise PackageError(f"{self.name} {self.version}: downloaded, but no archive of that name is there")
        return found

    def _archive(self, folder: Path) -> Path | None:
        wanted = _key(f"{self.name}-{self.version}")
        for path in sorted(folder.iterdir()):
            if path.suffix == ".whl":
                stem = "-".join(path.name.split("-")[:2])
            elif path.suffix == ".tgz":
                stem = path.stem
            elif path.suffix == ".deb":
                stem = path.stem.replace("%3a", ":").rpartition("_")[0]
            else:
                continue
            if _key(stem) == wanted:
                return path
        return None

    def _download(self, folder: Path) -> None:
        if self.ecosystem == "python":
            options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet"]
            command = [sys.executable, "-m", "pip", "download", *options, f"{self.name}=={self.version}"]
        elif self.ecosystem == "javascript":
            command = ["npm", "pack", "--silent", f"{self.name}@{self.version}"]
        else:
            command = ["apt-get", "download", "-qq", f"{self.name}={self.version}"]
        without = f"; --languages can leave out {', '.join(LANGUAGES[self.ecosystem])}"
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            missing = f"{command[0]} is needed to fetch {self.name}, and it is not installed"
            raise PackageError(missing + without) from error
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise PackageError(f"{self.name} {self.version} could not be fetched: {lines[-1]}{without}")


def read_list(path: Path = LIST) -> list[Package]:
    """The packages of the list, in its order. The standard library's version is the interpreter's."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    packages = []
    for ecosystem in CLIENTS:
        for split, entries in table[ecosystem].items():
            for name, entry in entries.items():
                version, licence, *cap = entry
                version = "{}.{}.{}".format(*sys.version_info[:3]) if name == "stdlib" else version
                packages.append(Package(ecosystem, name, version, licence, split, *cap))
    return packages


def _key(name: str) -> str:
    return re.sub(r"[-_.@/]+", "-", name).strip("-").lower()
