"""A real server process, spoken to over its pipes."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from midspan.lsp.wire.client import Client

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
