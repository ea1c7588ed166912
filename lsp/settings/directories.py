"""Where a platform keeps a user's configuration and caches. Looks at the environment and makes nothing."""

import os
import sys
from pathlib import Path

NAME = "midspan"


def config_directory() -> Path:
    """Of the user's midspan.toml (XDG Base Directory Specification; Apple and Windows as their guidelines say)."""
    return _directory("XDG_CONFIG_HOME", ".config", "Application Support", "APPDATA")


def cache_directory() -> Path:
    return _directory("XDG_CACHE_HOME", ".cache", "Caches", "LOCALAPPDATA")


def _directory(variable: str, elsewhere: str, library: str, windows: str) -> Path:
    home = Path.home()
    named = os.environ.get(variable, "")
    if named and Path(named).is_absolute():  # on every platform, for those who set it
        return Path(named) / NAME
    if sys.platform == "darwin":
        return home / "Library" / library / NAME
    if sys.platform == "win32":
        return Path(os.environ.get(windows) or home / "AppData" / "Local") / NAME
    return home / elsewhere / NAME
