"""Starts Emacs for the tests: `.ci/fetch-emacs` puts it behind .cache/bin/emacs, without which they are skipped.

MIDSPAN_E2E_MODEL names a checkpoint directory to use in place of the bundled one, MIDSPAN_E2E_SERVER a `midspan` in
place of the one that is installed here.
"""

import json
import re
from collections.abc import Callable, Iterator

import pytest

from ..terminal import ROOT, SERVER
from .window import EMACS, Emacs


def lisp_of(client: str) -> str:
    """The lines of editors/README.md for a client, with this server."""
    text = (ROOT / "editors" / "README.md").read_text(encoding="utf-8")
    match = re.search(rf"<!-- {client} -->\n```elisp\n(.*?)```", text, re.DOTALL)
    assert match is not None, f"editors/README.md has no lines for {client}"
    assert '"midspan" "--stdio"' in match[1]
    return match[1].replace('"midspan" "--stdio"', f'{json.dumps(str(SERVER))} "--stdio"')


@pytest.fixture(scope="module")
def start_emacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Emacs]]:
    """Start an Emacs with these lines of Lisp; it ends with the module."""
    pytest.importorskip("psutil")
    if not EMACS.exists():
        pytest.skip(f"no Emacs: run .ci/fetch-emacs to put one behind {EMACS.relative_to(ROOT)}")
    started: list[Emacs] = []

    def start(init: str) -> Emacs:
        started.append(Emacs(tmp_path_factory.mktemp("emacs"), init))
        return started[-1]

    try:
        yield start
    finally:
        for emacs in started:
            emacs.close()
