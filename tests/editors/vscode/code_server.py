"""How VS Code's own server is run from `.cache/vscode`, where `.ci/fetch-vscode` put it. Knows nothing of windows."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
RIG = ROOT / ".cache" / "vscode"
SERVER = Path(os.environ.get("MIDSPAN_E2E_SERVER") or Path(sys.executable).with_name("midspan"))


def installed(vsix: Path, folder: Path) -> Path:
    """A folder of extensions with this one in it, for any number of windows."""
    argv = [*code_server(folder, folder / "extensions"), "--install-extension", str(vsix)]
    environ = environment(folder)
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "extensions"


def code_server(folder: Path, extensions: Path) -> list[str]:
    """The command of a code-server that keeps all it writes in a folder."""
    config = folder / "config.yaml"
    config.write_text("")
    argv = [str(RIG / "node"), str(RIG / "node_modules" / "code-server" / "out" / "node" / "entry.js")]
    argv += ["--config", str(config), "--user-data-dir", str(folder / "user"), "--extensions-dir", str(extensions)]
    return argv


def environment(home: Path) -> dict[str, str]:
    """Ours, but the tests' own Python environment must not be found by accident."""
    environ = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    parts = [part for part in os.environ["PATH"].split(os.pathsep) if Path(part) != SERVER.parent]
    return {**environ, "PATH": os.pathsep.join(parts), "HOME": str(home)}


def free_port() -> int:
    """One of this machine's that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    """Whether somebody does."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
