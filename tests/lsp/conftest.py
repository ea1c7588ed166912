"""A real server process, spoken to over its pipes; and a session in this one."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from midspan.lsp import worker
from midspan.lsp.cache import prefetch
from midspan.lsp.wire.client import Client

from .given import Editor, Given, Story

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "XDG_CONFIG_HOME": os.devnull}  # where no midspan.toml of a user's is


class Launcher:
    """Starts servers that log to one file."""

    def __init__(self, log: Path) -> None:
        self._log = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self._clients: list[Client] = []

    def __call__(self, environment: dict[str, str] | None = None, **arguments: Any) -> Client:
        client = Client(env={**ENVIRONMENT, **(environment or {})}, stderr=self._log, **arguments)
        self._clients.append(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.kill()
        os.close(self._log)


@pytest.fixture
def stderr(tmp_path: Path) -> Path:
    """Where the servers of this test log to."""
    return tmp_path / "stderr"


@pytest.fixture
def start(stderr: Path) -> Iterator[Launcher]:
    """Starts servers, and ends those that are left."""
    launcher = Launcher(stderr)
    yield launcher
    launcher.close()


@pytest.fixture
def server(start: Launcher) -> Client:
    """An initialized server that is turned off: it speaks the protocol and loads no model."""
    client = start()
    client.initialize({"enable": False})
    return client


@pytest.fixture(scope="module")
def enduring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Like `server`, but one for all tests that a server survives."""
    launcher = Launcher(tmp_path_factory.mktemp("enduring") / "stderr")
    client = launcher()
    client.initialize({"enable": False})
    yield client
    assert client.shut_down() == 0, "the tests left it in good health"
    launcher.close()


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Runs a story with an editor whose session loads the given engine."""
    monkeypatch.setattr(prefetch, "STILL", 0.02)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def run(story: Story, table: dict[str, str], **options: Any) -> None:
        async def main() -> None:
            engine = Given(table)
            monkeypatch.setattr(worker, "load_engine", lambda spec, on_progress: engine)
            editor = Editor(engine, **options)
            editor.session.start()
            try:
                await story(editor)
            finally:
                engine.gate.set()
                editor.session.stop()

        asyncio.run(main())

    return run
