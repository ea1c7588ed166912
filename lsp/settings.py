"""What the user set: options as an editor sends them → one frozen `Settings` the server reads.

An option that is unknown or has a bad value never stops the server: it is left as it was and described in one
sentence. Options come from `initializationOptions` and from the `midspan` section of
`workspace/didChangeConfiguration`. Pure; knows nothing of the protocol.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

SECTION = "midspan"


@dataclass(frozen=True)
class Settings:
    """Every setting, resolved. The JSON name of a field is its camelCase."""

    enable: bool = True
    """False: no model is loaded and no request is looked at."""

    model: Path | None = None
    """Directory of a checkpoint in the Hugging Face layout; None: the bundled midspan-mini."""

    device: str = "cpu"
    """Where the model runs: `cpu`, `cuda`, `cuda:1`, …"""

    threads: int | None = None
    """CPU threads of the engine; None: two, or one where there is only one core."""

    trigger: str = "automatic"
    """`automatic`: suggest while typing; `invoked`: only when asked for."""

    deadline: float = 1.0
    """Seconds from a request to its answer; then nothing is answered rather than something late."""

    min_confidence: float = 0.15
    """While typing, fills the engine is less sure of (0 to 1) are not shown; when asked for, all are."""

    max_tokens: int = 256
    """No gap is given more tokens than this."""

    seed: int = 0
    """The same seed, text and model give the same fill."""

    status: bool = False
    """Send `midspan/status` notifications (the client understands them)."""

    trace: bool = False
    """Send a `midspan/trace` notification before every answer."""

    @property
    def engine_threads(self) -> int:
        return self.threads or min(2, _cores())

    @property
    def engine_key(self) -> tuple[object, ...]:
        """What a loaded engine depends on; when it changes, the engine is loaded anew."""
        return (self.model, self.device, self.engine_threads)


def resolve(options: object, base: Settings | None = None) -> tuple[Settings, list[str]]:
    """`base` (default: the defaults) with `options` over it, and one sentence for each option that was not taken."""
    settings = base or Settings()
    if options is None:
        return settings, []
    if not isinstance(options, Mapping):
        return settings, [f"options must be an object, not {_json_type(options)}"]
    section = options.get(SECTION)
    if isinstance(section, Mapping):
        options = section
    problems: list[str] = []
    for name, value in options.items():
        if name not in OPTIONS:
            problems.append(f"unknown option {name!r}")
            continue
        field, read = OPTIONS[name]
        if value is None:  # "not set", as editors send it for a key without a value
            continue
        try:
            settings = replace(settings, **{field: read(value)})
        except ValueError as error:
            problems.append(f"option {name!r} {error}; keeping {getattr(settings, field)!r}")
    return settings, problems


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {_json_type(value)}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"must be a non-empty string, not {_json_type(value)}")
    return value


def _directory(value: Any) -> Path | None:
    if value == "":
        return None
    path = Path(_text(value)).expanduser()
    if not path.is_dir():
        raise ValueError(f"is not a directory: {path}")
    return path


def _one_of(*choices: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return read


def _number(low: float, high: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return float(value)

    return read


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be an integer from {low} to {high}")
        return value

    return read


def _json_type(value: object) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


_BY_FIELD: dict[str, Callable[[Any], Any]] = {
    "enable": _flag,
    "model": _directory,
    "device": _text,
    "threads": _integer(1, 256),
    "trigger": _one_of("automatic", "invoked"),
    "deadline": _number(0.05, 60),
    "min_confidence": _number(0, 1),
    "max_tokens": _integer(1, 256),
    "seed": _integer(0, 2**31 - 1),
    "status": _flag,
    "trace": _flag,
}
OPTIONS = {_camel(field.name): (field.name, _BY_FIELD[field.name]) for field in fields(Settings)}
