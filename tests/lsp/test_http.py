"""The loopback endpoint over real sockets: its two dialects, and whom it refuses."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from midspan.lsp import worker
from midspan.lsp.complete import Outcome, Snapshot, Suggestion
from midspan.lsp.http import server as http
from midspan.lsp.http.api import Filled
from midspan.lsp.http.fill import _insertions, language_of
from midspan.lsp.http.wish import MARKS, SUFFIX_FIRST, Wish, unmarked
from midspan.lsp.settings.settings import Settings

TOKEN = "a-token-of-the-tests"
PREFIX = """import json


class Settings:
    def __init__(self, path):
        self.path = path
        self.values = {}

    def load(self):
        with open(self.path) as file:
            self.values = json.load(file)

    def save(self):
        with open("""
SUFFIX = """, "w") as file:
            json.dump(self.values, file)
"""


class Served:
    """A server process, and requests to it."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "midspan.lsp", "serve-http", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )
        assert self.process.stdout
        self.first = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)$", self.first.strip())
        self.port = int(found[1]) if found else 0

    def raw(self, request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as wire:
            wire.sendall(request)
            return read(wire)

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        given = {"host": "127.0.0.1", "authorization": f"Bearer {TOKEN}", "content-type": "application/json", **headers}
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if body is not None:
            given["content-length"] = str(len(data))
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items() if value)
        method = "GET" if body is None else "POST"
        answer = self.raw(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + data)
        status, _, rest = answer.partition(b"\r\n\r\n")
        text = rest.decode()
        return int(status.split()[1]), json.loads(text) if b"application/json" in status else text

    def close(self) -> int:
        self.process.terminate()
        return self.process.wait(20)


def read(wire: socket.socket) -> bytes:
    answer = b""
    while piece := wire.recv(65536):
        answer += piece
    return answer


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    server = Served("--port", "0", MIDSPAN_HTTP_TOKEN=TOKEN, MIDSPAN_MIN_CONFIDENCE="0", MIDSPAN_DEADLINE="20")
    until = time.monotonic() + 60
    while server.ask("/health")[0] == 503 and time.monotonic() < until:
        time.sleep(0.2)
    yield server
    assert server.close() == 0
    assert server.process.stdout and "Traceback" not in server.process.stdout.read()


# --- the two dialects


def infill(**fields: Any) -> dict[str, Any]:
    whole = {"input_prefix": PREFIX, "input_suffix": SUFFIX, "filename": "settings.py", "t_max_predict_ms": 20_000}
    return {**whole, **fields}


def test_llama_cpp_clients_get_the_fill(served: Served) -> None:
    lines, _, line = PREFIX.rpartition("\n")
    status, answer = served.ask("/infill", infill(input_prefix=lines + "\n", prompt=line))
    assert status == 200 and answer["reason"] == "shown"
    assert answer["content"] and "\n" not in answer["content"] and not answer["content"].endswith(SUFFIX[:3])
    assert answer["model"] == "midspan-mini" and answer["stop"] is True
    assert answer["timings"]["predicted_n"] > 0 and answer["timings"]["predicted_ms"] > 0
    wanted = ["content", "timings/predicted_n", "nothing/here"]
    status, picked = served.ask("/infill", infill(response_fields=wanted))
    assert set(picked) == {"content", "timings/predicted_n"} and picked["content"] == answer["content"]


def test_openai_clients_get_the_fill_whole_and_streamed(served: Served) -> None:
    body = {"model": "any", "prompt": PREFIX, "suffix": SUFFIX, "max_tokens": 64, "filename": "settings.py"}
    status, answer = served.ask("/v1/completions", body)
    assert status == 200 and answer["object"] == "text_completion"
    text = answer["choices"][0]["text"]
    assert text and answer["choices"][0]["finish_reason"] == "stop" and answer["usage"]["completion_tokens"] > 0
    status, stream = served.ask("/v1/completions", {**body, "stream": True})
    events = [line.removeprefix("data: ") for line in stream.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    assert "".join(json.loads(event)["choices"][0]["text"] for event in events[:-1]) == text
    assert json.loads(events[-2])["choices"][0]["finish_reason"] == "stop"
    for before, between, behind in MARKS[:1]:  # as Zed asks
        marked = {"prompt": before + PREFIX + between + SUFFIX + behind, "filename": "settings.py"}
        assert served.ask("/v1/completions", marked)[1]["choices"][0]["text"] == text
    cut = served.ask("/v1/completions", {**body, "stop": [text[1:3]]})[1]
    assert cut["choices"][0]["text"] == text.split(text[1:3])[0]


def test_infill_streams_one_chunk(served: Served) -> None:
    stream = served.ask("/infill", infill(stream=True))[1]
    events = [json.loads(line.removeprefix("data: ")) for line in stream.split("\n\n") if line]
    assert [event["stop"] for event in events] == [False, True] and events[0]["content"] and not events[1]["content"]


def test_warming_a_cache_costs_nothing_and_secrets_are_not_looked_at(served: Served) -> None:
    answer = served.ask("/infill", infill(n_predict=0))[1]
    assert answer["content"] == "" and answer["reason"] == "nothing was asked for"
    assert served.ask("/infill", infill(filename="/home/me/.env"))[1]["reason"] == "excluded"


def test_the_model_and_its_health_are_told(served: Served) -> None:
    assert served.ask("/health", authorization="") == (200, {"status": "ok"})
    assert served.ask("/v1/models")[1]["data"][0]["id"] == "midspan-mini"


# --- whom it refuses


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": ""}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": f"Bearer {TOKEN}x"}, 401),
        ({"authorization": f"Basic {TOKEN}"}, 401),
        ({"host": "midspan.example"}, 403),
        ({"host": "127.0.0.1.midspan.example:80"}, 403),
        ({"host": "192.168.0.2:8012"}, 403),
        ({"host": ""}, 403),
        ({"origin": "https://midspan.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"content_type": "text/plain", "content-type": ""}, 415),
        ({"host": "LocalHost:1", "origin": "http://127.0.0.1:99"}, 200),
        ({"host": "[::1]:8012"}, 200),
    ],
)
def test_who_may_ask(served: Served, headers: dict[str, str], status: int) -> None:
    got, answer = served.ask("/infill", infill(n_predict=0), **headers)
    assert got == status
    assert status == 200 or (answer["error"]["code"] == status and answer["error"]["message"])
    health, _ = served.ask("/health", **{name: headers[name] for name in headers if name in ("host", "origin")})
    assert health == (403 if status == 403 and "sec_fetch_site" not in headers else 200)


def test_it_listens_on_the_loopback_alone(served: Served) -> None:
    listening = [one for one in psutil.Process(served.process.pid).net_connections() if one.status == "LISTEN"]
    assert [one.laddr.ip for one in listening] == ["127.0.0.1"]


def test_a_preflight_gets_no_permission(served: Served) -> None:
    answer = served.raw(b"OPTIONS /infill HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://a.example\r\n\r\n")
    assert b" 403 " in answer.split(b"\r\n")[0] and b"access-control" not in answer.lower()


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b"[]", "object"),
        (b'{"input_prefix": 3}', "input_prefix"),
        (b'{"input_extra": {}}', "input_extra"),
        (b'{"input_extra": ["x"]}', "input_extra"),
        (b'{"n_predict": "many"}', "n_predict"),
        (b'{"n_predict": NaN}', "n_predict"),
        (b'{"stop": [3]}', "stop"),
    ],
)
def test_a_bad_body_is_named(served: Served, body: bytes, word: str) -> None:
    status, answer = served.ask("/infill", body)
    assert status == 400 and word in answer["error"]["message"]


def test_bad_requests_get_one_clear_error(served: Served) -> None:
    allowed = f"Host: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
    for request, status in (
        ("GET /infill HTTP/1.1\r\n" + allowed, 405),
        ("POST /health HTTP/1.1\r\n" + allowed, 405),
        ("POST /v1/chat/completions HTTP/1.1\r\n" + allowed, 404),
        ("POST /infill HTTP/1.1\r\n" + allowed, 411),
        ("POST /infill HTTP/1.1\r\n" + allowed + "Transfer-Encoding: chunked\r\n", 411),
        ("POST /infill HTTP/1.1\r\n" + allowed + "Content-Length: -1\r\n", 400),
        ("POST /infill HTTP/1.1\r\n" + allowed + "Content-Length: 99999999999\r\n", 413),
        ("POST /infill HTTP/1.1\r\n" + allowed + "Content-Length: " + "9" * 5000 + "\r\n", 413),
        ("GET /health HTTP/1.1\r\n" + allowed + "Host: a.example\r\n", 400),
        ("GET /health HTTP/1.1\r\n" + allowed + "no colon\r\n", 400),
        ("GET /health HTTP/1.1\r\n" + allowed + f"X: {'x' * 20_000}\r\n", 431),
        ("\x16\x03\x01 TLS?\r\n", 400),
    ):
        answer = served.raw(request.encode() + b"\r\n")
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), request[:60]
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == status
    assert served.ask("/health")[0] == 200


def test_any_text_is_answered(served: Served) -> None:
    for prefix in ("\ud800 \U0001f642", "\x00\ufeff\u2028", "<bos><mask>\r\n", ""):
        status, answer = served.ask("/infill", infill(input_prefix=prefix, input_suffix=prefix, n_predict=8))
        assert status == 200 and isinstance(answer["content"], str)


def test_curl_may_ask_whether_to_send(served: Served) -> None:
    body = json.dumps(infill(n_predict=0)).encode()
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as wire:
        wire.sendall(
            f"POST /infill HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nExpect: 100-continue\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        assert wire.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.sendall(body)
        assert read(wire).startswith(b"HTTP/1.1 200 ")


def test_the_newest_request_wins(served: Served) -> None:
    answers: dict[int, Any] = {}
    threads = []
    for number in range(4):
        body = infill(input_prefix=PREFIX + " " * number)
        thread = threading.Thread(target=lambda n=number, b=body: answers.update({n: served.ask("/infill", b)}))
        thread.start()
        threads.append(thread)
        time.sleep(0.02)
    for thread in threads:
        thread.join(60)
    assert [status for status, _ in answers.values()] == [200] * 4
    reasons = [answers[number][1]["reason"] for number in range(4)]
    assert reasons[0] == reasons[1] == "superseded" and reasons[3] != "superseded"


# --- starting


def test_a_token_is_made_up_and_printed_once_and_a_given_one_is_not(tmp_path: Path) -> None:
    quick = {"MIDSPAN_LOAD": "use"}
    server = Served("--port", "0", **quick)
    assert server.process.stdout
    token = server.process.stdout.readline().split()[-1]
    assert len(token) >= 32
    taken = Served("--port", str(server.port), **quick)
    assert "cannot listen" in taken.first and taken.process.wait(20) == 2
    assert server.ask("/v1/models", authorization=f"Bearer {token}")[0] == 200
    assert server.close() == 0
    assert token not in server.process.stdout.read()
    file = tmp_path / "token"
    file.write_text("short\n")
    assert "at least" in Served("--token-file", str(file)).first
    assert "cannot read" in Served("--token-file", str(tmp_path / "none")).first


# --- life of a request, watched from inside


def test_a_client_that_goes_away_takes_its_request_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def fill(wish: Wish, settings: Any, exclusions: Any, engine: Any, job: Any) -> Filled:
        seen.append("begun")
        until = time.monotonic() + 20
        while not job.cancelled() and time.monotonic() < until:
            time.sleep(0.005)
        seen.append("called off" if job.cancelled() else "ran on")
        return Filled(("x",), "shown")

    monkeypatch.setattr(http, "fill", fill)
    monkeypatch.setattr(worker, "load_engine", lambda spec, progress: SimpleNamespace(follows_instructions=False))

    async def story() -> None:
        endpoint = http.Endpoint(Settings(), TOKEN)
        async with await endpoint.start(0) as server:
            port = server.sockets[0].getsockname()[1]
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            body = json.dumps(infill()).encode()
            head = f"Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
            writer.write(f"POST /infill HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            while not seen:
                await asyncio.sleep(0.01)
            writer.close()
            while len(seen) < 2:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(story(), 30))
    assert seen == ["begun", "called off"]


# --- pure parts


@given(st.text(), st.text(), st.sampled_from(MARKS))
def test_marks_are_taken_off_as_they_were_put_on(prefix: str, suffix: str, marks: tuple[str, str, str]) -> None:
    before, between, behind = marks
    if between not in prefix + suffix:
        assert unmarked(before + prefix + between + suffix + behind) == (prefix, suffix)
    if SUFFIX_FIRST[1] not in suffix:
        assert unmarked(SUFFIX_FIRST[0] + suffix + SUFFIX_FIRST[1] + prefix) == (prefix, suffix)
    if not prefix.startswith(tuple(first for first, *_ in MARKS) + SUFFIX_FIRST[:1]):
        assert unmarked(prefix) == (prefix, "")


def test_the_language_comes_from_whatever_names_one() -> None:
    def language(**fields: Any) -> str:
        return language_of(Wish("infill", "", "", **fields))

    assert language() == "plaintext"
    assert language(filename="/src/a.py") == language(filename="C:\\src\\a.py") == "python"
    assert language(extra=(("a.rs", "x"), ("b/c.rs", "y"))) == "rust"
    assert language(extra=(("a.rs", "x"), ("b/c.py", "y"))) == "plaintext"
    assert language(language="go", filename="a.py") == "go"


def test_only_what_can_be_inserted_is_answered() -> None:
    document = "f(val_ue)  \nx"
    snapshot = Snapshot("", 0, "python", document, 5, 5)

    def insertions(start: int, end: int, text: str, filled: int) -> list[str]:
        return _insertions(snapshot, Outcome("shown", (Suggestion(start, end, text, filled),)))

    assert insertions(5, 11, "new_ue)  ", 3) == ["new"]  # the rest of the line stays
    assert insertions(5, 11, "ue)", 3) == []  # part of the rest is replaced
    assert insertions(9, 11, " + 1", 4) == [" + 1"]  # blanks are replaced
