"""The server's own log, told to the editor (`window/logMessage`) as well as to standard error.

Warnings and errors; with `verbose` also what became of each request. No text of a document is in it. Records may come
from any thread.
"""

import logging
from collections.abc import Callable
from typing import Literal

Kind = Literal["error", "warning", "info"]
TOLD = {"told": True}
"""`extra` of a record the client has heard of in another way."""


class ClientLog(logging.Handler):
    """send: called with the kind and the message, in whatever thread the record comes from."""

    def __init__(self, send: Callable[[Kind, str], None]) -> None:
        super().__init__(logging.WARNING)
        self._send = send

    def verbose(self, verbose: bool) -> None:
        self.setLevel(logging.INFO if verbose else logging.WARNING)
        package = logging.getLogger("midspan.lsp")
        if verbose and package.getEffectiveLevel() > logging.INFO:
            package.setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "told", False):
            return
        kind: Kind = "info" if record.levelno < logging.WARNING else "warning"
        try:
            message = record.getMessage()
            if record.exc_info and record.exc_info[0] is not None:
                message += f" ({record.exc_info[0].__name__})"  # its message may quote a document
            self._send("error" if record.levelno >= logging.ERROR else kind, message)
        except Exception:  # a log that cannot be written must not stop the server
            self.handleError(record)
