"""What a client sees of the protocol's life cycle, from a real server process over real pipes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from midspan.lsp.wire.client import SERVER, Client, ReplyError
from midspan.lsp.wire.framing import frame

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, NOT_INITIALIZED = -32700, -32600, -32601, -32602, -32002

URI = "file:///a.py"
POSITION = {"line": 0, "character": 0}
COMPLETION = {"textDocument": {"uri": URI}, "position": POSITION, "context": {"triggerKind": 1}}


def still_answers(server: Client) -> bool:
    """A request sent now gets its own reply, and nothing popped up in the editor before it."""
    server.request("textDocument/inlineCompletion", COMPLETION)
    return not [message for message in server.notifications if message["method"] == "window/showMessage"]


# -- every request gets exactly one reply


@pytest.mark.parametrize(
    "wrong",
    [
        {"position": None},
        {"position": {"line": -5, "character": 0}},
        {"position": {"line": 10**12, "character": 0}},
        {"position": {"line": "0", "character": 0}},
        {"position": {"line": 0.5, "character": 0}},
        {"position": {"line": True, "character": 0}},
        {"context": {"triggerKind": 9}},
        {"context": None},
        {"textDocument": {"uri": 5}},
        {"textDocument": {}},
    ],
)
def test_invalid_params_are_answered_with_their_id(enduring: Client, wrong: dict[str, Any]) -> None:
    reply = enduring.reply(enduring.begin("textDocument/inlineCompletion", {**COMPLETION, **wrong}))
    assert reply["error"]["code"] == INVALID_PARAMS
    assert still_answers(enduring)


@pytest.mark.parametrize("params", [[], [1], {}, "text", 5, None])
def test_params_of_another_shape(enduring: Client, params: Any) -> None:
    assert enduring.reply(enduring.begin("textDocument/inlineCompletion", params))["error"]["code"] == INVALID_PARAMS
    assert still_answers(enduring)


def test_unknown_method(enduring: Client) -> None:
    for method in ("textDocument/hover", "$/unknown", "", "__init__"):
        assert enduring.reply(enduring.begin(method, {}))["error"]["code"] == METHOD_NOT_FOUND
    enduring.notify("textDocument/unknown", {})
    enduring.notify("$/unknown", {})
    assert still_answers(enduring)


@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"\xff\xfe", b'{"jsonrpc": "2.0", "id": NaN}', b"[" * 200_000, '{"a": 1}'.encode("utf-16")],
    ids=["cut off", "empty", "not UTF-8", "NaN", "too deep", "UTF-16"],
)
def test_what_is_not_json_is_answered_once_without_id(enduring: Client, body: bytes) -> None:
    enduring.send_bytes(frame(body))
    assert enduring.reply(None)["error"]["code"] == PARSE_ERROR
    assert still_answers(enduring)
    assert None not in enduring.replies


@pytest.mark.parametrize(
    ("message", "msg_id"),
    [
        ({}, None),
        ([], None),
        ("text", None),
        (7, None),
        ({"jsonrpc": "1.0", "id": 70, "method": "shutdown"}, 70),
        ({"id": 71, "method": "shutdown"}, 71),
        ({"jsonrpc": "2.0", "id": 72}, 72),
        ({"jsonrpc": "2.0", "id": 73, "method": 5}, 73),
        ({"jsonrpc": "2.0", "id": {"a": 1}, "method": "shutdown"}, None),
        ({"jsonrpc": "2.0", "id": True, "method": "shutdown"}, None),
        ({"jsonrpc": "2.0", "id": None, "method": "shutdown"}, None),
        ([{"jsonrpc": "2.0", "id": 74, "method": "shutdown"}], None),
    ],
)
def test_json_that_is_no_message(enduring: Client, message: Any, msg_id: Any) -> None:
    enduring.send(message)
    assert enduring.reply(msg_id)["error"]["code"] == INVALID_REQUEST
    assert still_answers(enduring)


def test_unexpected_responses_are_ignored(enduring: Client) -> None:
    enduring.send({"jsonrpc": "2.0", "id": 99, "result": None})
    enduring.send({"jsonrpc": "2.0", "id": "x", "error": {"code": "?"}})
    enduring.send({"jsonrpc": "2.0", "id": None, "error": None})
    assert still_answers(enduring)
    assert not enduring.replies


def test_malformed_notifications_are_dropped(enduring: Client) -> None:
    enduring.notify("textDocument/didOpen", {"textDocument": {"uri": URI}})
    enduring.notify("textDocument/didChange", {"contentChanges": 3})
    enduring.notify("$/cancelRequest", {"id": {}})
    enduring.notify("$/cancelRequest", {"id": 12345})
    enduring.notify("workspace/didChangeConfiguration", [])
    enduring.notify("workspace/didChangeWorkspaceFolders", {"event": 1})
    assert still_answers(enduring)


def test_change_and_close_of_a_document_that_is_not_open(server: Client, stderr: Path) -> None:
    server.change("file:///never.py", 2, {"text": "x"})
    server.notify("textDocument/didClose", {"textDocument": {"uri": "file:///never.py"}})
    assert still_answers(server)
    assert stderr.read_text().count("file:///never.py, which is not open") == 2


def test_params_may_contain_anything(enduring: Client) -> None:
    nested = {**COMPLETION, "workDoneToken": 1, "x": {"jsonrpc": "2.0", "id": 5, "method": "exit"}}
    assert enduring.request("textDocument/inlineCompletion", nested) is None
    enduring.notify("workspace/didChangeConfiguration", {"settings": {"jsonrpc": "2.0", "id": 1, "result": 0}})
    assert still_answers(enduring)


def test_ids_come_back_as_they_were(enduring: Client) -> None:
    for msg_id in ("a", "", "1", 1, 0, -7, 2**53):
        message = {"jsonrpc": "2.0", "id": msg_id, "method": "textDocument/inlineCompletion", "params": COMPLETION}
        enduring.send(message)
        reply = enduring.reply(msg_id)
        assert reply["id"] == msg_id
        assert type(reply["id"]) is type(msg_id)


def test_library_output_never_reaches_the_protocol() -> None:
    # Printed by an import of the server: through sys.stdout, through the descriptor, and by a child process.
    program = (
        "import os, sys, subprocess\n"
        "class Noise:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'lsprotocol.types':\n"
        "            print('noise', flush=True); os.write(1, b'noise'); subprocess.run(['echo', 'noise'])\n"
        "sys.meta_path.insert(0, Noise())\n"
        "sys.argv = ['midspan', '--stdio']\n"
        "from midspan.lsp.cli import main\n"
        "main()\n"
    )
    with Client([sys.executable, "-c", program], stderr=subprocess.PIPE) as server:
        server.initialize({"enable": False})
        assert still_answers(server)
        assert server.shut_down() == 0
        assert server.process.stderr is not None
        assert server.process.stderr.read().count(b"noise") == 3


# -- states and exit codes


def test_before_initialize(start: Callable[..., Client]) -> None:
    server = start()
    assert server.reply(server.begin("shutdown"))["error"]["code"] == NOT_INITIALIZED
    assert server.reply(server.begin("unknown/method"))["error"]["code"] == NOT_INITIALIZED
    server.open(URI, "python", "dropped")
    assert server.reply(server.begin("initialize", {"capabilities": 5}))["error"]["code"] == INVALID_PARAMS
    server.initialize({"enable": False})
    with pytest.raises(ReplyError) as second:
        server.initialize({"enable": False})
    assert second.value.code == INVALID_REQUEST
    assert still_answers(server)


def test_after_shutdown(server: Client) -> None:
    server.request("shutdown")
    for method in ("shutdown", "initialize", "textDocument/inlineCompletion", "unknown/method"):
        assert server.reply(server.begin(method, COMPLETION))["error"]["code"] == INVALID_REQUEST
    server.notify("exit")
    assert server.wait() == 0


def test_exit_without_shutdown(server: Client, start: Callable[..., Client]) -> None:
    server.notify("exit")
    assert server.wait() == 1
    uninitialized = start()
    uninitialized.notify("exit")
    assert uninitialized.wait() == 1


def test_end_of_input_ends_the_server(server: Client, start: Callable[..., Client]) -> None:
    assert server.process.stdin is not None
    server.process.stdin.close()
    assert server.wait() == 1
    after_shutdown = start()
    after_shutdown.initialize({"enable": False})
    after_shutdown.request("shutdown")
    assert after_shutdown.process.stdin is not None
    after_shutdown.process.stdin.close()
    assert after_shutdown.wait() == 0


def test_what_editors_say_they_can_is_understood(start: Callable[..., Client], stderr: Path) -> None:
    server = start()
    kinds = {"valueSet": list(range(1, 27))}
    capabilities = {
        "general": {
            "positionEncodings": ["utf-16"],
            "regularExpressions": {"engine": "ECMAScript", "version": "ES2020"},
        },
        "workspace": {
            "applyEdit": True,
            "configuration": True,
            "workspaceEdit": {"documentChanges": True, "failureHandling": "textOnlyTransactional"},
            "symbol": {"dynamicRegistration": False, "symbolKind": kinds, "tagSupport": {"valueSet": [1]}},
            "fileOperations": {"didCreate": True, "willDelete": True},
        },
        "textDocument": {
            "synchronization": {"dynamicRegistration": True, "willSave": True, "didSave": True},
            "completion": {
                "completionItem": {"snippetSupport": True, "insertTextModeSupport": {"valueSet": [1, 2]}},
                "completionItemKind": kinds,
                "insertTextMode": 2,
            },
            "inlineCompletion": {"dynamicRegistration": False},
            "codeAction": {"codeActionLiteralSupport": {"codeActionKind": {"valueSet": ["", "quickfix", "x.y"]}}},
            "semanticTokens": {
                "requests": {"range": True, "full": {"delta": True}},
                "tokenTypes": ["type"],
                "tokenModifiers": [],
                "formats": ["relative"],
            },
            "diagnostic": {"relatedDocumentSupport": False},
        },
        "window": {
            "workDoneProgress": True,
            "showMessage": {"messageActionItem": {"additionalPropertiesSupport": True}},
        },
        "experimental": {"anything": [1, {"at": "all"}]},
    }
    result = server.initialize(
        {"enable": False},
        capabilities,
        clientInfo={"name": "editor", "version": "1.0"},
        locale="en",
        rootPath="/work",
        rootUri="file:///work",
        workspaceFolders=[{"uri": "file:///work", "name": "work"}],
        trace="off",
        workDoneToken="1",
    )
    assert result["capabilities"]["positionEncoding"] == "utf-16"
    assert still_answers(server)
    assert "malformed" not in stderr.read_text()


def test_a_malformed_capability_does_not_cost_the_server(start: Callable[..., Client]) -> None:
    server = start()
    capabilities = {
        "textDocument": {"completion": {"completionItem": {"snippetSupport": "yes", "tagSupport": 3}}, "hover": []},
        "window": 7,
        "general": {"positionEncodings": ["utf-8", "utf-7"]},
    }
    result = server.initialize({"enable": False}, capabilities)
    assert result["capabilities"]["positionEncoding"] == "utf-8"
    assert still_answers(server)


# -- broken streams


@pytest.mark.parametrize(
    "header",
    [
        lambda body: b"Content-Length: %d\r\n\r\n" % (len(body) + 20),
        lambda body: b"Content-Length: %d\r\n\r\n" % (len(body) - 5),
        lambda body: b"Content-Length: x\r\n\r\n",
        lambda body: b"Content-Size: %d\r\n\r\n" % len(body),
        lambda body: b"\r\n\r\n",
        lambda body: b"",
    ],
    ids=["too long", "too short", "no number", "no length", "no header", "bare"],
)
def test_a_stream_without_frames_ends_the_server(
    server: Client, stderr: Path, header: Callable[[bytes], bytes]
) -> None:
    message = {"jsonrpc": "2.0", "id": 50, "method": "textDocument/inlineCompletion", "params": COMPLETION}
    body = json.dumps(message).encode()
    server.send_bytes(header(body) + body)
    try:
        for _ in range(3):
            server.send(message)
    except BrokenPipeError:
        pass
    assert server.wait() == 1
    assert "broken stream" in stderr.read_text()


def test_a_length_too_large_does_not_leave_both_sides_waiting(server: Client, stderr: Path) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 50, "method": "shutdown"}).encode()
    server.send_bytes(b"Content-Length: %d\r\n\r\n" % (len(body) + 1) + body)
    assert server.wait() == 1
    assert "Content-Length is larger" in stderr.read_text()


def test_input_ending_inside_a_message(server: Client, stderr: Path) -> None:
    server.send_bytes(b"Content-Length: 100\r\n\r\n{")
    assert server.process.stdin is not None
    server.process.stdin.close()
    assert server.wait() == 1
    assert "inside a message" in stderr.read_text()


def test_headers_in_any_case(enduring: Client) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 50, "method": "textDocument/inlineCompletion", "params": COMPLETION})
    enduring.send_bytes(b"content-length: %d\r\n\r\n" % len(body) + body.encode())
    enduring.send_bytes(b"Content-Length: %d\n\n" % len(body) + body.encode())
    assert enduring.reply(50)["result"] is None
    assert enduring.reply(50)["result"] is None


def test_a_client_that_stops_reading_does_not_stop_the_server() -> None:
    # The pipe to the client is full long before the last of these; the server must still see the end of its input.
    silent = subprocess.Popen(SERVER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert silent.stdin is not None
    try:
        for number in range(1500):
            message = {"jsonrpc": "2.0", "id": number, "method": "unknown/" + "x" * 100, "params": {}}
            silent.stdin.write(frame(json.dumps(message).encode()))
        silent.stdin.close()
        assert silent.wait(10) == 1
    finally:
        silent.kill()
        silent.wait()
        assert silent.stdout is not None
        silent.stdout.close()


# -- the parent


def _gone(pid: int) -> bool:
    """Whether the process has ended; one that nobody reaped has."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("names_itself", [True, False])
def test_the_server_does_not_outlive_its_parent(names_itself: bool) -> None:
    # The parent dies without a word while a stranger holds the server's stdin open, so no end of input tells of it.
    program = (
        "import os, subprocess, sys\n"
        "from midspan.lsp.wire.client import SERVER\n"
        "child = subprocess.Popen(SERVER, stdin=0, stdout=1)\n"
        "print(child.pid, file=sys.stderr, flush=True)\n"
        "child.wait()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    assert parent.stderr is not None
    server = int(parent.stderr.readline())
    params = {"processId": parent.pid if names_itself else None, "rootUri": None, "capabilities": {}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {**params, "initializationOptions": {}}}
    try:
        parent.stdin.write(frame(json.dumps(message).encode()))
        parent.stdin.flush()
        assert parent.stdout.readline().lower().startswith(b"content-length")
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        limit = time.monotonic() + 10
        while not _gone(server):
            assert time.monotonic() < limit, "the server is still running"
            time.sleep(0.05)
    finally:
        if not _gone(server):
            os.kill(server, signal.SIGKILL)
        for pipe in (parent.stdin, parent.stdout, parent.stderr):
            pipe.close()


def test_a_client_in_another_container_does_not_end_the_server(start: Callable[..., Client]) -> None:
    server = start()
    server.initialize({"enable": False}, processId=2**22 - 3)  # nobody's
    assert still_answers(server)
