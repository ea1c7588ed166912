"""Starts Helix for the tests: `.ci/fetch-helix` puts it behind .cache/bin/hx, without which they are skipped.

MIDSPAN_E2E_MODEL names a checkpoint directory to use in place of the bundled one, MIDSPAN_E2E_SERVER a `midspan` in
place of the one that is installed here.
"""

import json
import re
from collections.abc import Callable, Iterator

import pytest

from ..terminal import ROOT, SERVER
from .window import HELIX, Helix


def _languages() -> str:
    """The lines of editors/README.md, with this server and no other."""
    text = (ROOT / "editors" / "README.md").read_text(encoding="utf-8")
    match = re.search(r"<!-- helix -->\n```toml\n(.*?)```", text, re.DOTALL)
    assert match is not None, "editors/README.md has no lines for Helix"
    assert 'command = "midspan"' in match[1]
    toml = match[1].replace('command = "midspan"', f"command = {json.dumps(str(SERVER))}")
    return toml.replace('["pylsp", "midspan"]', '["midspan"]')


@pytest.fixture(scope="module")
def start_helix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Helix]]:
    """Start a Helix; it ends with the module."""
    pytest.importorskip("psutil")
    if not HELIX.exists():
        pytest.skip(f"no Helix: run .ci/fetch-helix to put one behind {HELIX.relative_to(ROOT)}")
    started: list[Helix] = []

    def start() -> Helix:
        started.append(Helix(tmp_path_factory.mktemp("helix"), _languages()))
        return started[-1]

    try:
        yield start
    finally:
        for helix in started:
            helix.close()


@pytest.fixture(scope="module")
def helix(start_helix: Callable[[], Helix]) -> Helix:
    """One Helix for all tests of a module: loading a model takes seconds."""
    return start_helix()
