"""The one exception that leaves the engine."""

from __future__ import annotations


class EngineError(Exception):
    """A checkpoint that cannot be loaded or a device that cannot run it, in one sentence a user can act on."""
