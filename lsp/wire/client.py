"""A small LSP client over a child process's pipes: what `midspan fill`, the demo and the tests speak to a server with.

Knows JSON-RPC and the few messages of an editing session; knows nothing of the server's insides.
"""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

from .framing import FrameReader, FramingError, frame

SERVER = (sys.executable, "-m", "midspan.lsp", "--stdio")
INVOKED, AUTOMATIC = 1, 2


class ReplyError(Exception):
    """The server answered a request with an error."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(f"{error.get('message')} ({error.get('code')})")
        self.code = error.get("code")


class DisconnectedError(Exception):
    """The server ended, or stayed silent for longer than the caller would wait."""


class Client:
    """One server process. Methods are for one thread; they raise DisconnectedError instead of waiting for ever.

    configuration: what the server is told when it asks for its section of the settings.
    """

    def __init__(
        self,
        command: Sequence[str] = SERVER,
        *,
        configuration: Any = None,
        env: Mapping[str, str] | None = None,
        stderr: int | None = None,
    ) -> None:
        environ = None if env is None else {**os.environ, **env}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=environ
        )
        self.notifications: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []  # the server's; each was answered
        self.replies: dict[Any, dict[str, Any]] = {}
        self._configuration = configuration
        self._inbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._last_id = 0
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    # -- messages

    def send_bytes(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send(self, message: Any) -> None:
        self.send_bytes(frame(json.dumps(message).encode("utf-8")))

    def notify(self, method: str, params: Any = None) -> None:
        self.send({"jsonrpc": "2.0", "method": method, "params": params})

    def begin(self, method: str, params: Any = None) -> int:
        """Send a request; the id to ask for its reply with."""
        self._last_id += 1
        self.send({"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params})
        return self._last_id

    def reply(self, msg_id: Any, timeout: float = 30.0) -> dict[str, Any]:
        """The whole reply to a request, be it a result or an error."""
        self._until(lambda: msg_id in self.replies, timeout, f"no reply to request {msg_id}")
        return self.replies.pop(msg_id)

    def result(self, msg_id: Any, timeout: float = 30.0) -> Any:
        reply = self.reply(msg_id, timeout)
        if "error" in reply:
            raise ReplyError(reply["error"])
        return reply["result"]

    def request(self, method: str, params: Any = None, timeout: float = 30.0) -> Any:
        return self.result(self.begin(method, params), timeout)

    def notification(self, method: str, timeout: float = 30.0, **expected: Any) -> dict[str, Any]:
        """Parameters of the first notification of that name whose parameters include `expected`; it is used up."""

        def matching() -> list[dict[str, Any]]:
            return [
                message
                for message in self.notifications
                if message["method"] == method and expected.items() <= message["params"].items()
            ]

        self._until(lambda: bool(matching()), timeout, f"no {method} {expected or ''}")
        message = matching()[0]
        self.notifications.remove(message)
        return message["params"]

    def asked(self, method: str, timeout: float = 30.0) -> dict[str, Any]:
        """Parameters of the server's first request of that name."""

        def matching() -> list[dict[str, Any]]:
            return [message for message in self.requests if message["method"] == method]

        self._until(lambda: bool(matching()), timeout, f"the server did not ask for {method}")
        return matching()[0]["params"]

    # -- an editing session

    def initialize(self, options: Any = None, capabilities: Any = None, **params: Any) -> dict[str, Any]:
        result = self.request(
            "initialize",
            {
                "processId": os.getpid(),
                "rootUri": None,
                "capabilities": {"general": {"positionEncodings": ["utf-32", "utf-16"]}, **(capabilities or {})},
                "initializationOptions": options,
                **params,
            },
        )
        self.notify("initialized", {})
        return result

    def open(self, uri: str, language: str, text: str, version: int = 1) -> None:
        document = {"uri": uri, "languageId": language, "version": version, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": document})

    def change(self, uri: str, version: int, *changes: Mapping[str, Any]) -> None:
        identifier = {"uri": uri, "version": version}
        self.notify("textDocument/didChange", {"textDocument": identifier, "contentChanges": changes})

    def begin_completion(self, uri: str, line: int, character: int, kind: int = INVOKED, **context: Any) -> int:
        return self.begin(
            "textDocument/inlineCompletion",
            {
                "textDocument": {"uri": uri},
                "position": {"line": line, "character": character},
                "context": {"triggerKind": kind, **context},
            },
        )

    def shut_down(self, timeout: float = 10.0) -> int:
        """End the session as the specification has it; the server's exit code."""
        self.request("shutdown", timeout=timeout)
        self.notify("exit")
        return self.wait(timeout)

    def wait(self, timeout: float = 10.0) -> int:
        """The server's exit code, once it has ended by itself."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise DisconnectedError(f"the server is still running after {timeout:g} s") from error

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # unsent bytes of a stream the server had left
                    continue

    # -- reading

    def _read(self) -> None:
        assert self.process.stdout is not None
        frames = FrameReader()
        try:
            while data := os.read(self.process.stdout.fileno(), 1 << 16):
                for body in frames.feed(data):
                    self._inbox.put(json.loads(body))
        except (FramingError, ValueError, OSError) as error:
            self._inbox.put({"method": "unreadable", "params": {"error": str(error)}})
        self._inbox.put(None)

    def _until(self, satisfied: Any, timeout: float, otherwise: str) -> None:
        deadline = time.monotonic() + timeout
        while not satisfied():
            try:
                message = self._inbox.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise DisconnectedError(f"{otherwise} within {timeout:g} s") from None
            if message is None:
                self._inbox.put(None)
                raise DisconnectedError(f"{otherwise}: the server ended")
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        if "method" not in message:
            self.replies[message["id"]] = message
        elif "id" not in message:
            self.notifications.append(message)
        else:
            self.requests.append(message)
            answer = None
            if message["method"] == "workspace/configuration":
                answer = [self._configuration for _ in message["params"]["items"]]
            self.send({"jsonrpc": "2.0", "id": message["id"], "result": answer})
