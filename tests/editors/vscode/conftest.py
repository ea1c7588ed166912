"""Starts VS Code for the tests: `.ci/fetch-vscode` puts it behind .cache/vscode, without which they are skipped.

MIDSPAN_E2E_MODEL names a checkpoint directory to use in place of the bundled one, MIDSPAN_E2E_SERVER a `midspan` in
place of the one that is installed here.
"""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .code_server import RIG, ROOT, installed
from .window import VSCode

EXTENSION = ROOT / "editors" / "vscode"


def _npm(*arguments: str) -> None:
    argv = ["npm", *arguments]
    done = subprocess.run(argv, cwd=EXTENSION, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def npm() -> Callable[..., None]:
    """Run npm in the extension's folder, its packages installed; a failure fails the test."""
    if not (RIG / "fetched").exists():
        pytest.skip(f"no VS Code: run .ci/fetch-vscode to put one behind {RIG.relative_to(ROOT)}")
    if shutil.which("npm") is None:
        pytest.skip("no npm: the extension cannot be built")
    if not (EXTENSION / "node_modules").exists():
        _npm("ci", "--ignore-scripts")
    return _npm


@pytest.fixture(scope="session")
def vsix(npm: Callable[..., None]) -> Path:
    """The extension as it would be published, built anew if a source is younger than it."""
    package = EXTENSION / "midspan.vsix"
    names = ("src/*.ts", "media/*", "scripts/*", "*.json", "*.md", ".vscodeignore")
    youngest = max(path.stat().st_mtime for name in names for path in EXTENSION.glob(name))
    if not package.exists() or package.stat().st_mtime < youngest:
        npm("run", "package")
    return package


@pytest.fixture(scope="session")
def extensions(vsix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension installed."""
    return installed(vsix, tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="session")
def start_vscode(extensions: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., VSCode]]:
    """Start a VS Code; it ends with the session, or when it is closed."""
    pytest.importorskip("psutil")
    started: list[VSCode] = []

    def start(**options: Any) -> VSCode:
        started.append(VSCode(tmp_path_factory.mktemp("vscode"), extensions, **options))
        return started[-1]

    try:
        yield start
    finally:
        for window in started:
            window.close()


@pytest.fixture(scope="session")
def window(start_vscode: Callable[..., VSCode]) -> VSCode:
    """One VS Code, its model loaded, for all tests: it takes seconds to start."""
    window = start_vscode()
    window.wait(lambda: re.match("ready|busy|not working", window.status), "the model to be loaded")
    if window.status.startswith("not working"):
        pytest.fail(window.describe())
    return window
