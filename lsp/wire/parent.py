"""Watches the process that started the server, so that the server never outlives its editor.

`initialize.processId` names the client; without it the process that started us is watched. Where the system has no
pidfd the process is polled; on Windows only the end of standard input tells. Knows nothing of the protocol.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Callable

log = logging.getLogger(__name__)

POLL = 1.0  # seconds


def watch(pid: int | None, on_death: Callable[[], None]) -> None:
    """Call `on_death` on the running event loop once process `pid` (None: our parent) has ended.

    A pid that cannot be seen from here (another container's, say) is not watched: killing a healthy session
    would be worse than relying on the end of standard input.
    """
    if sys.platform == "win32":
        return
    loop = asyncio.get_running_loop()
    pid = pid or os.getppid()
    if pid <= 1:
        return
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        log.warning("process %d is not visible from here; not watching it", pid)
        return
    except (AttributeError, OSError):
        if _alive(pid):
            _poll(loop, pid, os.getppid() == pid, on_death)
        return

    def ended() -> None:
        loop.remove_reader(fd)
        os.close(fd)
        on_death()

    loop.add_reader(fd, ended)


def _poll(loop: asyncio.AbstractEventLoop, pid: int, ours: bool, on_death: Callable[[], None]) -> None:
    # A dead but unreaped process still takes signals; for our own parent the changed ppid tells.
    if not _alive(pid) or (ours and os.getppid() != pid):
        on_death()
    else:
        loop.call_later(POLL, _poll, loop, pid, ours, on_death)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
