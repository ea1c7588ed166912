"""Recordings: what is in them, what never is, and that they can be run again."""

import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgpack
import pytest
from midspan.lsp.commands.recording import Recorder, RecordingError, read
from midspan.lsp.wire.client import AUTOMATIC, SERVER, Client

from .conftest import Launcher

SECRET = "hunter2-and-nothing-else"
CODE = "def area(width, height):\n    return width *\n\n\ndef double(width):\n    return area(\n"
URI, ENV = "file:///project/area.py", "file:///project/.env"
OPTIONS: dict[str, Any] = {"threads": 1, "deadline": 60, "minConfidence": 0, "status": True, "prefetch": False}


def recorded(start: Launcher, file: Path) -> None:
    """A session with code, a secret and a few requests."""
    client = start(command=(*SERVER, "--record", str(file)))
    client.initialize(OPTIONS)
    client.notification("midspan/status", kind="ready", timeout=120)
    client.open(ENV, "shellscript", f"PASSWORD={SECRET}\n")
    client.change(ENV, 2, {"text": f"PASSWORD={SECRET}2\nUSER=\n"})
    assert client.result(client.begin_completion(ENV, 1, 5)) is None
    client.open(URI, "python", CODE)
    for line, character in ((1, 18), (5, 16)):
        client.result(client.begin_completion(URI, line, character, AUTOMATIC), 60)
    place = {"line": 1, "character": 18}
    client.change(URI, 2, {"range": {"start": place, "end": place}, "text": " "})
    client.result(client.begin_completion(URI, 1, 19, AUTOMATIC), 60)
    settings = {"midspan": OPTIONS, "other": {"token": SECRET}}
    client.notify("workspace/didChangeConfiguration", {"settings": settings})
    assert client.shut_down() == 0


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recording")
    launcher = Launcher(folder / "stderr")
    recorded(launcher, folder / "session.msgpack")
    launcher.close()
    return folder / "session.msgpack"


def test_it_says_what_it_holds_and_holds_it(recording: Path) -> None:
    header, records = read(recording)
    assert "text of every document" in header["holds"]
    kinds = list(records)
    methods = [what.get("method") for _, kind, what in kinds if kind == "in"]
    assert methods[:2] == ["initialize", "initialized"] and methods[-2:] == ["shutdown", "exit"]
    stages = [what for _, kind, what in kinds if kind == "stage"]
    assert len(stages) == 4 and stages[0]["outcome"] == "excluded"
    assert all(isinstance(at, float) and at >= 0 for at, _, _ in kinds)
    assert CODE in recording.read_bytes().decode("utf-8", "replace")
    assert "recording to" in (recording.parent / "stderr").read_text()
    if sys.platform != "win32":
        assert stat.S_IMODE(recording.stat().st_mode) == 0o600


def test_nothing_of_an_excluded_file_is_in_it(recording: Path) -> None:
    data = recording.read_bytes()
    assert ENV.encode() in data
    assert SECRET.encode() not in data, "neither of the file nor of other servers' settings"


def replayed(file: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "midspan.lsp", "replay", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)


def test_a_replay_gives_the_same_answers_and_finds_a_changed_one(recording: Path, tmp_path: Path) -> None:
    same = replayed(recording)
    assert "3 answers the same, 0 different" in same.stdout, same.stdout + same.stderr
    assert same.returncode == 0
    header, records = read(recording)
    forged = tmp_path / "forged.msgpack"
    with forged.open("wb") as stream:
        stream.write(msgpack.packb(header) or b"")
        for at, kind, what in records:
            if kind == "out" and isinstance(what.get("result"), dict) and "items" in what["result"]:
                what["result"]["items"][0]["insertText"] += "?"
            stream.write(msgpack.packb([at, kind, what]) or b"")
    different = replayed(forged)
    assert different.returncode == 1, different.stdout + different.stderr
    assert "now " in different.stdout and " 0 different" not in different.stdout


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "no recording"),
        (b"PK\x03\x04", "no recording"),
        (b"\xc1", "no recording"),
        (msgpack.packb({"format": "other"}), "no recording"),
        (msgpack.packb({"format": "midspan-recording", "version": 99}), "version 99"),
    ],
)
def test_what_is_no_recording(tmp_path: Path, data: bytes, complaint: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    with pytest.raises(RecordingError, match=complaint):
        read(file)


def test_the_command_says_so_in_one_sentence(tmp_path: Path) -> None:
    result = replayed(tmp_path / "missing")
    assert result.returncode == 2 and "Traceback" not in result.stderr and "missing" in result.stderr


def test_a_recording_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    file = tmp_path / "file"
    recorder = Recorder(file)
    for number in range(5):
        recorder.message("in", b'{"method": "n%d", "params": "half \\ud800"}' % number)
    recorder.message("in", b"not JSON")
    recorder.close()
    assert [what.get("method") for _, _, what in read(file)[1]] == ["n0", "n1", "n2", "n3", "n4", None]
    file.write_bytes(file.read_bytes()[:-30])
    assert [what["method"] for _, _, what in read(file)[1]][:4] == ["n0", "n1", "n2", "n3"]


def test_documents_are_found_wherever_a_message_names_them(tmp_path: Path) -> None:
    file = tmp_path / "file"
    recorder = Recorder(file)
    recorder.excluded = lambda uri: uri.endswith(".env")
    edits = f'"edits": [{{"newText": "{SECRET}"}}]'
    for params in (
        f'{{"edit": {{"changes": {{"{ENV}": [{{"newText": "{SECRET}"}}]}}}}}}',
        f'{{"edit": {{"documentChanges": [{{"textDocument": {{"uri": "{ENV}"}}, {edits}}}]}}}}',
        f'{{"textDocument": {{"uri": "{ENV}", "text": "{SECRET}"}}}}',
        f'{{"textDocument": {{"uri": "{ENV}"}}, "text": "{SECRET}"}}',
    ):
        recorder.message("out", f'{{"method": "m", "params": {params}}}'.encode())
    recorder.close()
    assert len(list(read(file)[1])) == 4
    assert SECRET.encode() not in file.read_bytes()


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    client = Client((*SERVER, "--record", str(tmp_path / "no" / "file")), stderr=subprocess.PIPE)
    assert client.wait() == 1
    assert client.process.stderr is not None
    complaint = client.process.stderr.read().decode()
    client.kill()
    assert complaint.startswith("midspan: cannot record to") and complaint.count("\n") == 1
