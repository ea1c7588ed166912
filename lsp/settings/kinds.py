"""The kinds of values an option may have: how one is read, what it is called, and its JSON schema.

A kind reads what an editor sends (`read`) and what an environment variable holds (`parse`); both raise ValueError with
the end of a sentence that begins "option 'x' …". Pure, but for `Directory`, which looks whether there is one. Knows
nothing of which options there are.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Kind(Protocol):
    def read(self, value: Any) -> Any: ...
    def parse(self, text: str) -> Any: ...
    @property
    def schema(self) -> dict[str, Any]: ...
    @property
    def words(self) -> str: ...


@dataclass(frozen=True)
class Flag:
    def read(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError(f"must be true or false, not {json_type(value)}")
        return value

    def parse(self, text: str) -> bool:
        known = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}
        if text.strip().lower() not in known:
            raise ValueError("must be true or false")
        return known[text.strip().lower()]

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}

    @property
    def words(self) -> str:
        return "true, false"


@dataclass(frozen=True)
class Text:
    """Not empty, unless `default` is, which then means what the option's text says."""

    empty: bool = False

    def read(self, value: Any) -> str:
        if not isinstance(value, str) or not (value.strip() or self.empty):
            raise ValueError(f"must be a {'' if self.empty else 'non-empty '}string, not {json_type(value)}")
        return value

    def parse(self, text: str) -> str:
        return self.read(text)

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "string"}

    @property
    def words(self) -> str:
        return "text"


@dataclass(frozen=True)
class Directory:
    """An existing directory; "" is None."""

    def read(self, value: Any) -> Path | None:
        if value == "":
            return None
        path = Path(Text().read(value)).expanduser()
        if not path.is_dir():
            raise ValueError(f"is not a directory: {path}")
        return path

    def parse(self, text: str) -> Path | None:
        return self.read(text)

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "string"}

    @property
    def words(self) -> str:
        return "directory"


@dataclass(frozen=True)
class Choice:
    """One of `values`; each is what it stands for, or stands for None where `nothing` names it."""

    values: tuple[str, ...]
    nothing: str = ""

    def read(self, value: Any) -> str | None:
        if not isinstance(value, str) or value not in self.values:
            raise ValueError(f"must be one of {', '.join(self.values)}")
        return None if value == self.nothing else value

    def parse(self, text: str) -> str | None:
        return self.read(text.strip())

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.values)}

    @property
    def words(self) -> str:
        return ", ".join(self.values)


@dataclass(frozen=True)
class Number:
    low: float
    high: float

    def read(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not self.low <= value <= self.high:
            raise ValueError(f"must be a number from {self.low:g} to {self.high:g}")
        return float(value)

    def parse(self, text: str) -> float:
        return self.read(_json(text))

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": self.low, "maximum": self.high}

    @property
    def words(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Integer:
    """A whole number; 0 is None where `unset` says that it means "not set"."""

    low: int
    high: int
    unset: bool = False

    def read(self, value: Any) -> int | None:
        if self.unset and value == 0 and not isinstance(value, bool):
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise ValueError(f"must be an integer from {self.low} to {self.high}")
        return value

    def parse(self, text: str) -> int | None:
        return self.read(_json(text))

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": 0 if self.unset else self.low, "maximum": self.high}

    @property
    def words(self) -> str:
        return f"{0 if self.unset else self.low} to {self.high}"


@dataclass(frozen=True)
class Patterns:
    """A list of globs; in the environment separated by commas."""

    def read(self, value: Any) -> tuple[str, ...]:
        if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) and one.strip() for one in value):
            raise ValueError("must be a list of non-empty strings")
        return tuple(value)

    def parse(self, text: str) -> tuple[str, ...]:
        return tuple(one.strip() for one in text.split(",") if one.strip())

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": "string"}}

    @property
    def words(self) -> str:
        return "list of globs"


@dataclass(frozen=True)
class PerLanguage:
    """A map from language identifiers, or "*" for all others, to one of `values`; true is the first, false the last.

    In the environment `python=off,go=invoked`.
    """

    values: tuple[str, ...]

    def read(self, value: Any) -> tuple[tuple[str, str], ...]:
        if not isinstance(value, Mapping):
            raise ValueError(f"must be an object, not {json_type(value)}")
        return tuple((str(language), self._one(language, how)) for language, how in sorted(value.items()))

    def parse(self, text: str) -> tuple[tuple[str, str], ...]:
        pairs = [one.partition("=") for one in text.split(",") if one.strip()]
        return self.read({language.strip(): how.strip() for language, _, how in pairs})

    def _one(self, language: str, how: Any) -> str:
        if isinstance(how, bool):
            return self.values[0] if how else self.values[-1]
        if how not in self.values:
            raise ValueError(f"must have one of {', '.join(self.values)} for {language!r}")
        return how

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": {"type": "string", "enum": list(self.values)}}

    @property
    def words(self) -> str:
        return f"map of {', '.join(self.values)}"


def json_type(value: object) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
