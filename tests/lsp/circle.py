"""The document that tests of a real server open, and what they ask about it."""

from typing import Any

from midspan.lsp.wire.client import Client

MODEL: dict[str, Any] = {"threads": 1, "deadline": 20}

CODE = '''\
import math


class Circle:
    """A circle around a centre."""

    def __init__(self, x, y, radius):
        self.x = x
        self.y = y
        self.radius =

    def area(self):
        return math.pi * self.radius ** 2

    def contains(self, x, y):
        dx = x - self.x
        dy = y - self.y
        return math.hypot(dx, dy) <= self.radius


def largest(circles):
    return max(circles, key=lambda circle: circle.area())


def total(circles):
    return sum(
'''
GAPS = [(9, 21), (26, 15)]
"""Ends of unfinished lines."""


def opened(server: Client, text: str = CODE, language: str = "python", name: str = "circle.py") -> str:
    """The URI of a document that is open with this text, at version 1."""
    uri = f"file:///project/{name}"
    server.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    forget(server)
    server.open(uri, language, text)
    server.notifications.clear()
    return uri


def forget(server: Client) -> None:
    """From here on the engine has to compute what it is asked."""
    server.request("workspace/executeCommand", {"command": "midspan.clearCache"})


def outcome(server: Client) -> str:
    return server.notification("midspan/trace")["outcome"]
