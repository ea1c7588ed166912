"""What the user set: options as they are sent → one frozen `Settings` the server reads.

`Settings` is the one schema: a field says its default, which values it takes, what it does and whether a project may
ask for it; `schema.py` writes the documentation and the editors' settings from it. An option that is unknown or has a
bad value never stops the server: it is left as it was and described in one sentence. Pure; knows nothing of the
protocol or of where options come from (`sources.py`).

A project's own file comes with code from strangers. So it may only ask for *less*: each such option has a rule that
combines the user's value with the project's, and no rule gives more than the user has allowed. An option without a
rule (the model, the device, …) a project may not set.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from .kinds import Choice, Directory, Flag, Integer, Kind, Number, Patterns, PerLanguage, Text, json_type

SECTION = "midspan"
HOW = ("automatic", "invoked", "off")
"""From the most to the least: suggestions while typing, when asked for, never."""

REACHES = ("folder", "open", "off")
"""From the most to the least: how far what a suggestion draws on may come from."""

Narrow = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Option:
    """One option of the schema. `wire`: the client sets it for itself, it is no choice of the user's."""

    name: str  # camelCase, as it is sent
    field: str
    kind: Kind
    text: str
    narrow: Narrow | None
    wire: bool

    @property
    def guarded(self) -> bool:
        """Whether what a stranger's workspace wishes must not be taken as the user's own word."""
        return self.narrow in (None, _added)

    @property
    def variable(self) -> str:
        """Of the environment."""
        return "MIDSPAN_" + self.field.upper()

    @property
    def default(self) -> Any:
        """As it would be sent."""
        value: Any = getattr(Settings(), self.field)
        if value is None:
            nothing = {Directory: "", Integer: 0}
            return self.kind.nothing if isinstance(self.kind, Choice) else nothing[type(self.kind)]
        if isinstance(self.kind, PerLanguage):
            return dict(value)
        return list(value) if isinstance(value, tuple) else value


def _option(default: Any, kind: Kind, text: str, narrow: Narrow | None = None, *, wire: bool = False) -> Any:
    return field(default=default, metadata={"kind": kind, "text": text, "narrow": narrow, "wire": wire})


def _both(mine: bool, theirs: bool) -> bool:
    return mine and theirs


def _less_often(mine: str, theirs: str) -> str:
    return max(mine, theirs, key=HOW.index)


def _less_far(mine: str, theirs: str) -> str:
    return max(mine, theirs, key=REACHES.index)


def _added(mine: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[str, ...]:
    """What the user has taken out of the exclusions stays out only for the user's own patterns."""
    if any(pattern.startswith("!") for pattern in theirs):
        raise ValueError("of a project may only add patterns, not take any out with '!'")
    return (*mine, *theirs)


def _each_less_often(mine: tuple[tuple[str, str], ...], theirs: tuple[tuple[str, str], ...]) -> Any:
    own, wanted = dict(mine), dict(theirs)
    names = sorted({*own, *wanted})
    return tuple((name, _less_often(_for(own, name), _for(wanted, name))) for name in names)


def _for(languages: Mapping[str, str], name: str) -> str:
    return languages.get(name, languages.get("*", HOW[0]))


@dataclass(frozen=True)
class Settings:
    """Every setting, resolved. The name of an option is its field's in camelCase."""

    enable: bool = _option(True, Flag(), "`false`: no model is loaded and no request is looked at.", _both)
    trigger: str = _option(
        "automatic",
        Choice(HOW[:2]),
        "`automatic`: suggest while typing; `invoked`: only when asked for.",
        _less_often,
    )
    languages: tuple[tuple[str, str], ...] = _option(
        (),
        PerLanguage(HOW),
        'The same for single languages, by language identifier, `"*"` for all others: `{"markdown": "off"}`.',
        _each_less_often,
    )
    prose: bool = _option(False, Flag(), "Suggest inside comments and strings too.", _both)
    min_confidence: float = _option(
        0.15,
        Number(0, 1),
        "While typing, fills that are less likely right than this are not shown; when asked for, all are.",
        max,
    )
    max_tokens: int = _option(256, Integer(1, 256), "No gap is given more tokens than this.", min)
    alternatives: int = _option(3, Integer(1, 8), "How many different fills are offered when asked for.", min)
    deadline: float = _option(
        1.0,
        Number(0.05, 60),
        "Seconds from a request to its answer; then nothing is answered rather than something late.",
    )
    debounce: int = _option(
        200,
        Integer(0, 1000),
        "Milliseconds the server waits at most for the next key before it begins; it waits only while keys come "
        "faster than it can answer.",
    )
    prefetch: bool = _option(
        True, Flag(), "While a suggestion is shown, compute what follows if it is accepted.", _both
    )
    disk_cache: bool = _option(
        True, Flag(), "Keep recent suggestions in the user's cache directory, for the next start.", _both
    )
    exclude: tuple[str, ...] = _option(
        (),
        Patterns(),
        "Files that are never looked at, as globs, beyond those that look like secrets (`.env`, keys, …); "
        "`!glob` takes files out again.",
        _added,
    )
    context: str = _option(
        "folder",
        Choice(REACHES),
        "Other code that suggestions may draw on: open files and those in the same folder of the workspace (`folder`), "
        "only `open` ones, or none (`off`). What is excluded or ignored by git never is.",
        _less_far,
    )
    model: Path | None = _option(  # noqa: RUF009
        None,
        Directory(),
        "Directory of a checkpoint in the Hugging Face layout; empty: the bundled midspan-mini.",
    )
    device: str = _option("cpu", Text(), "Where the model runs: `cpu`, `cuda`, `cuda:1`, `mps`, or `auto`.")
    quantize: str | None = _option(
        None,
        Choice(("auto", "bf16", "fp8", "int8", "int4"), "auto"),
        "Precision of the weights; `auto`: what the device has room for.",
    )
    threads: int | None = _option(
        None,
        Integer(1, 256, unset=True),
        "CPU threads of the engine; 0: two. midspan-mini, too small to share, drafts on one and denoises on the other.",
    )
    memory_limit: int | None = _option(
        None,
        Integer(200, 1_000_000, unset=True),
        "Megabytes the server may take; above it the model is unloaded, and the user told. 0: no limit.",
    )
    load: str = _option(
        "start", Choice(("start", "use")), "When the model is loaded: at the editor's `start`, or at its first `use`."
    )
    idle_unload: float = _option(
        10.0, Number(0, 1440), "Minutes without a request after which the model is unloaded until the next; 0: never."
    )
    seed: int = _option(0, Integer(0, 2**31 - 1), "The same seed, text and model give the same fill.")
    status: bool = _option(
        False, Flag(), "Send `midspan/status` notifications (the client understands them).", wire=True
    )
    trace: bool = _option(False, Flag(), "Send a `midspan/trace` notification before every answer.", wire=True)

    @property
    def engine_threads(self) -> int:
        return self.threads or min(2, _cores())

    @property
    def engine_key(self) -> tuple[object, ...]:
        """What a loaded engine depends on; when it changes, the engine is loaded anew."""
        return (self.model, self.device, self.engine_threads, self.quantize, self.memory_limit)

    @property
    def answer_key(self) -> tuple[object, ...]:
        """What an answer depends on besides its text and the model."""
        return (self.max_tokens, self.seed, self.prose, self.quantize, self.context)

    def how(self, language_id: str) -> str:
        """One of HOW: when a document of this language gets suggestions."""
        if not self.enable:
            return "off"
        return _less_often(self.trigger, _for(dict(self.languages), language_id))


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


OPTIONS = {
    option.name: option for option in (Option(_camel(one.name), one.name, **one.metadata) for one in fields(Settings))
}


def resolve(options: object, base: Settings | None = None) -> tuple[Settings, list[str]]:
    """`base` (default: the defaults) with `options` over it, and one sentence for each option that was not taken."""
    return _over(options, base or Settings(), lambda option, value, _: option.kind.read(value))


def narrow(options: object, base: Settings) -> tuple[Settings, list[str]]:
    """`base` with a project's wishes in it, as far as they ask for less; a sentence for each that does not."""

    def less(option: Option, value: Any, mine: Any) -> Any:
        if option.narrow is None:
            raise ValueError("may not be set by a project")
        return option.narrow(mine, option.kind.read(value))

    return _over(options, base, less)


def from_environment(variables: Mapping[str, str], base: Settings) -> tuple[Settings, list[str]]:
    """`base` with the MIDSPAN_* variables over it. Variables of other names are somebody else's."""
    by_name = {option.variable: option for option in OPTIONS.values()}
    wanted = {by_name[name].name: text for name, text in variables.items() if name in by_name and text.strip()}
    settings, problems = _over(wanted, base, lambda option, text, _: option.kind.parse(text))
    return settings, [f"environment: {problem}" for problem in problems]


def _over(
    options: object, settings: Settings, value_of: Callable[[Option, Any, Any], Any]
) -> tuple[Settings, list[str]]:
    if isinstance(options, Mapping) and SECTION in options:
        options = options[SECTION]
    if options is None:
        return settings, []
    if not isinstance(options, Mapping):
        return settings, [f"options must be an object, not {json_type(options)}"]
    problems: list[str] = []
    for name, value in options.items():
        option = OPTIONS.get(name)
        if option is None:
            problems.append(f"unknown option {name!r}")
            continue
        if value is None:  # "not set", as editors send it for a key without a value
            continue
        mine = getattr(settings, option.field)
        try:
            settings = replace(settings, **{option.field: value_of(option, value, mine)})
        except ValueError as error:
            problems.append(f"option {name!r} {error}; keeping {mine!r}")
    return settings, problems


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
