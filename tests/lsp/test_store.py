"""The cache on disk: real files, several servers, and files that are damaged or somebody else's."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from midspan.lsp.cache import store
from midspan.lsp.cache.answers import entry_of, key_of, model_identity, outcome_of
from midspan.lsp.cache.store import DiskCache, Entry
from midspan.lsp.complete import Outcome, Snapshot, Suggestion
from midspan.lsp.wire.client import AUTOMATIC

from .conftest import Launcher

GUARD = b"guard"


def entry(text: str = "f(a)", used: float = 1e9) -> Entry:
    return Entry(text, len(text), "line", "mini", "canvas", 3, 4, 0.5, used)


def written(file: Path, entries: dict[bytes, Entry], guard: bytes = GUARD) -> None:
    cache = DiskCache(file, guard)
    for key, one in entries.items():
        cache.put(key, one)
    cache.stop(10)


def held(file: Path, guard: bytes = GUARD) -> dict[bytes, str]:
    return {key: one.text for key, one in store._read(file, guard)}


def test_what_is_put_is_there_at_the_next_start(tmp_path: Path) -> None:
    file = tmp_path / "new" / "suggestions.msgpack"
    written(file, {b"a": entry(), b"b": entry("half \ud800")})
    assert held(file) == {b"a": "f(a)", b"b": "half \ud800"}
    assert os.listdir(file.parent) == [file.name]
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def damaged(data: bytes) -> list[bytes]:
    head = msgpack.unpackb(data)
    rows = [
        [b"a", *row]
        for row in (
            [],
            ["f", 1, "k", "m", "s", 1, 1, 0.5],
            ["f", "1", "k", "m", "s", 1, 1, 0.5, 1.0],
            ["f", 2, "k", "m", "s", 1, 1, 0.5, 1.0],
            ["x" * 9999, 1, "k", "m", "s", 1, 1, 0.5, 1.0],
        )
    ]
    heads = [None, {}, [], head[:3], ["other", *head[1:]], [head[0], 99, *head[2:]], [*head[:3], 5], [*head[:3], rows]]
    return [b"", b"\xc1", data[:-5], data + b"x", b"PK\x03\x04" * 50, *(msgpack.packb(one) or b"" for one in heads)]


def test_a_damaged_or_foreign_file_is_ignored_and_written_anew(tmp_path: Path) -> None:
    file = tmp_path / "suggestions.msgpack"
    written(file, {b"a": entry()})
    for data in damaged(file.read_bytes()):
        file.write_bytes(data)
        assert held(file) == {}, data
        written(file, {b"b": entry("fresh")})
        assert held(file) == {b"b": "fresh"}


@given(st.binary(max_size=200), st.integers(0, 200))
def test_no_bytes_raise(data: bytes, at: int) -> None:
    whole = msgpack.packb([store.FORMAT, store.VERSION, GUARD, [[b"a", "f", 1, "k", "m", "s", 1, 1, 0.5, 1.0]]])
    assert whole is not None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "suggestions.msgpack"
        file.write_bytes(whole[:at] + data + whole[at + len(data) :])
        for key, one in store._read(file, GUARD):
            assert isinstance(key, bytes) and isinstance(one.text, str)


def test_other_exclusions_empty_it(tmp_path: Path) -> None:
    file = tmp_path / "suggestions.msgpack"
    written(file, {b"a": entry("of a file that is excluded now")})
    written(file, {b"b": entry()}, b"other")
    assert held(file, b"other") == {b"b": "f(a)"}
    assert b"excluded" not in file.read_bytes()


def test_it_is_bounded_in_entries_and_bytes_and_keeps_what_was_used_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_ENTRIES", 10)
    file = tmp_path / "suggestions.msgpack"
    written(file, {b"%d" % n: entry(used=n) for n in range(30)})
    assert sorted(held(file)) == sorted(b"%d" % n for n in range(20, 30))
    monkeypatch.setattr(store, "MAX_BYTES", 100)
    written(file, {b"long": entry("x" * 90, used=99)})
    assert sum(map(len, held(file).values())) <= 100
    assert b"long" in held(file)
    written(file, {b"huge": entry("x" * (store.MAX_TEXT + 1), used=100)})
    assert b"huge" not in held(file)


def test_clearing_clears_the_file(tmp_path: Path) -> None:
    file = tmp_path / "suggestions.msgpack"
    written(file, {b"a": entry()})
    cache = DiskCache(file, GUARD)
    cache.clear()
    cache.stop(10)
    assert held(file) == {}


def test_two_servers_share_one_file(tmp_path: Path) -> None:
    """Both write while the other does: the file is whole all the time, and what was written last is in it."""
    file = tmp_path / "suggestions.msgpack"
    program = (
        "import sys, pathlib\n"
        "from midspan.lsp.cache import store\n"
        "store.WRITE_EVERY = 0.0\n"
        "name = sys.argv[2].encode()\n"
        "cache = store.DiskCache(pathlib.Path(sys.argv[1]), b'guard')\n"
        "for n in range(60):\n"
        "    cache.put(name + b'%d' % n, store.Entry('f', 1, 'k', 'm', 's', 1, 1, 0.5, float(n)))\n"
        "cache.stop(30)\n"
    )
    servers = [subprocess.Popen([sys.executable, "-c", program, str(file), name]) for name in "ab"]
    while any(server.poll() is None for server in servers):
        if file.exists():
            msgpack.unpackb(file.read_bytes())  # never half a file
    assert [server.returncode for server in servers] == [0, 0]
    keys = held(file).keys()
    assert b"a59" in keys or b"b59" in keys
    assert [name for name in os.listdir(tmp_path) if name != file.name] == []
    one, other = DiskCache(file, GUARD), DiskCache(file, GUARD)
    one.put(b"one", entry())
    other.put(b"other", entry())
    one.stop(10)
    other.stop(10)
    assert {b"one", b"other"} <= held(file).keys()


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="nothing stops this user from writing")
def test_a_directory_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    written(tmp_path / "new" / "suggestions.msgpack", {b"a": entry()})


def test_a_path_that_is_no_directory_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    written(tmp_path / "file" / "suggestions.msgpack", {b"a": entry()})


# -- what an entry is for


def snapshot(text: str) -> Snapshot:
    offset = text.index("║")
    return Snapshot("u", 1, "python", text.replace("║", ""), offset, offset)


def test_an_answer_comes_back_as_it_was() -> None:
    at = snapshot("f(║)  # why\n")
    outcome = Outcome("shown", (Suggestion(2, 10, "a, b)  # why", 4),), kind="hole", model="mini", confidence=0.4)
    one = entry_of(at, outcome)
    assert one is not None
    back = outcome_of(at, one)
    assert back is not None and back.suggestions == outcome.suggestions and back.origin == "disk"
    assert outcome_of(snapshot("f(║]\n"), one) is None, "it would take the rest of the line away"


def test_what_an_answer_depends_on_is_in_the_key() -> None:
    at, about = snapshot("f(║)\n"), ("mini", 256)
    keys = {
        key_of(at, about),
        key_of(at, ("mini", 32)),
        key_of(snapshot("g(║)\n"), about),
        key_of(snapshot("f(║]\n"), about),
        key_of(snapshot("f║()\n"), about),
    }
    assert len(keys) == 5
    assert key_of(snapshot("f(║)\n"), about) in keys


def test_a_model_is_known_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"1")
    one = model_identity(tmp_path, "0.1")
    assert one == model_identity(tmp_path, "0.1") != model_identity(tmp_path, "0.2")
    (tmp_path / "model.safetensors").write_bytes(b"22")
    assert one != model_identity(tmp_path, "0.1")
    assert model_identity(None, "0.1")


# -- in a server

TEXT = "def area(width, height):\n    return width * \n"


def answered(start: Launcher, home: Path, uri: str, load: str) -> dict[str, Any]:
    """The account of a request to a new server."""
    client = start(environment={"MIDSPAN_DISK_CACHE": "true", "XDG_CACHE_HOME": str(home)})
    client.initialize({"threads": 1, "deadline": 60, "minConfidence": 0, "trace": True, "status": True, "load": load})
    client.notification("midspan/status", kind="ready", timeout=120)
    client.open(uri, "python", TEXT)
    client.result(client.begin_completion(uri, 1, 19, AUTOMATIC), 60)
    trace = client.notification("midspan/trace")
    assert client.shut_down() == 0
    return trace


def test_a_second_server_answers_from_it_and_excluded_files_are_never_in_it(start: Launcher, tmp_path: Path) -> None:
    home = tmp_path / "cache"
    assert answered(start, home, "file:///project/secrets.py", "use")["outcome"] == "excluded"
    assert not list(home.rglob("*.msgpack"))
    first = answered(start, home, "file:///project/area.py", "start")
    assert (first["outcome"], first["origin"]) == ("shown", "")
    again = answered(start, home, "file:///project/area.py", "use")  # no model is loaded for it
    assert again["origin"] == "disk"
    assert (again["confidence"], again["filled"]) == (first["confidence"], first["filled"])
