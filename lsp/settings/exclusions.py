"""Which files are never looked at, and which are no context for others.

An excluded file gets no suggestion, is no context, and nothing of its text is kept or recorded. That holds for what
looks like a secret by its path (language identifiers do not tell: `.env` is a shell script to most editors), also
through a symbolic link, and for the user's own globs. A file that git ignores may be edited with suggestions, but is
never context for another. Reads `.gitignore` files; knows nothing of settings or of who asks.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from .globs import Globs

SECRETS = (
    ".env",
    ".env.*",
    "*.env",
    ".envrc",
    "*.{pem,key,p8,p12,pfx,jks,keystore,kdbx,ppk,asc,gpg,pgp,ovpn}",
    "id_{rsa,dsa,ecdsa,ed25519}*",
    "{.,_}netrc",
    ".{pgpass,my.cnf,htpasswd,npmrc,pypirc,dockercfg,git-credentials,vault-token}",
    ".*_history",
    "*.{tfvars,tfvars.json,tfstate,tfstate.backup}",
    "{.ssh,.aws,.azure,.gnupg,.kube}/",
    "**/.docker/config.json",
    "**/gcloud/**/*.{json,db}",
    "kubeconfig",
    "credentials{,.json,.yaml,.yml,.toml,.ini,.cfg,.xml,.csv,.txt}",
    "*{_,-}credentials.{json,yaml,yml,csv}",
    "service{_,-}account*.json",
    "{secret,secrets}.*",
    "*.{secret,secrets}",
    ".secrets",
    "wallet.dat",
)
"""Globs of what is a secret by its name."""

MAX_KNOWN = 4096  # answers kept


class Exclusions:
    """For one set of the user's globs and workspace folders. Answers are kept: a path is looked at once."""

    def __init__(self, patterns: Iterable[str] = (), roots: Sequence[str] = ()) -> None:
        """patterns: after the built-in ones, so that "!glob" takes files out of those. roots: folders, as paths."""
        patterns = tuple(patterns)
        home = [
            one.replace("~", str(Path.home()), 1) for one in patterns if one.removeprefix("!").startswith(("~/", "!~/"))
        ]
        self._globs = Globs((*SECRETS, *patterns, *home), ignore_case=True)
        self._roots = sorted({root.rstrip("/") for root in roots}, key=len, reverse=True)
        self._known: dict[str, bool] = {}
        self._ignored = Ignored()

    def excluded(self, uri: str) -> bool:
        """Of a document's URI, whatever its scheme."""
        known = self._known.get(uri)
        if known is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            known = self._known[uri] = any(self._matches(path) for path in _paths(uri))
        return known

    def is_context(self, path: Path) -> bool:
        """Whether a file on disk may be shown to the model beside the one that is edited."""
        if self.excluded(path.as_uri()):
            return False
        text = path.as_posix()
        root = next((root for root in self._roots if text.startswith(root + "/")), None)
        return root is None or not self._ignored.ignored(path, Path(root))

    def _matches(self, path: str) -> bool:
        root = next((root for root in self._roots if path.startswith(root + "/")), "")
        within = path[len(root) :].lstrip("/")
        return bool(self._globs.matches(path, within) or (root and self._globs.matches(path, path.lstrip("/"))))


class Ignored:
    """What git ignores in a folder, by the `.gitignore` files from its root down. They are read again when changed."""

    def __init__(self) -> None:
        self._files: dict[Path, tuple[int, Globs]] = {}

    def ignored(self, path: Path, root: Path) -> bool:
        """path: of a file below root."""
        parts = path.relative_to(root).parts
        if ".git" in parts:
            return True
        found = bool(self._rules(root / ".git" / "info" / "exclude").matches(PurePosixPath(*parts).as_posix()))
        for depth in range(len(parts)):
            rules = self._rules(root.joinpath(*parts[:depth], ".gitignore"))
            spoken = rules.matches(PurePosixPath(*parts[depth:]).as_posix()) if rules else None
            found = found if spoken is None else spoken
        return found

    def _rules(self, file: Path) -> Globs:
        try:
            changed = file.stat().st_mtime_ns
        except OSError:
            changed = 0
        known = self._files.get(file)
        if known is None or known[0] != changed:
            try:
                lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if changed else []
            except OSError:
                lines = []
            known = self._files[file] = (changed, Globs(lines))
        return known[1]


def path_of(uri: str) -> Path | None:
    """The file a URI names; None for what is no file."""
    try:
        parts = urlsplit(uri)
        if parts.scheme != "file" or not parts.path:
            return None
        path = unquote(parts.path, errors="surrogateescape")
        return Path(path[1:] if sys.platform == "win32" and path[2:3] == ":" else path)
    except (OSError, ValueError):
        return None


def _paths(uri: str) -> set[str]:
    """What a document's path may be called, with "/": as it is opened and, through links, what it is."""
    try:
        paths = {unquote(urlsplit(uri).path)}
    except ValueError:
        paths = {uri}
    file = path_of(uri)
    if file is not None:
        paths.add(file.as_posix())
        try:
            paths.add(Path(os.path.realpath(file)).as_posix())
        except (OSError, ValueError):
            return paths
    return paths
