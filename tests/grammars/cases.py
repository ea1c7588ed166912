"""Reads the span cases: files of fixtures, one file for each language.

    #### KIND [TOKENS] [ROLE] [indent=N | indent=tab+tab]: what the user sees
    the fixture, up to the next such line

KIND is a span's kind, or `nothing` where no span is offered; ROLE is its role, where the case says so. The fixture
marks the cursor, what the span replaces and, where there is an insertion, a fill that the parse check must pass.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.fixture import Fixture, parse

_HEAD = re.compile(
    r"^#### (?P<kind>\w+)(?: (?P<tokens>\d+))?(?: (?P<role>[a-z]+))?(?: indent=(?P<indent>\S+))?: (?P<story>.+)\n",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Case:
    language_id: str
    story: str
    kind: str
    max_tokens: int
    role: str
    indent: str
    fixture: Fixture


def span_cases() -> list[Case]:
    folder = Path(__file__).parent / "cases"
    return [case for path in sorted(folder.glob("*.txt")) for case in _read(path)]


def _read(path: Path) -> list[Case]:
    source = path.read_text(encoding="utf-8")
    heads = list(_HEAD.finditer(source))
    assert source.startswith("####") and len(heads) == source.count("####"), f"{path.name}: a case without its heading"
    ends = [head.start() for head in heads[1:]] + [len(source)]
    return [
        Case(
            path.stem,
            head["story"],
            head["kind"],
            int(head["tokens"] or 0),
            head["role"] or "",
            _indent(head["indent"] or "0"),
            parse(source[head.end() : end].removesuffix("\n")),
        )
        for head, end in zip(heads, ends, strict=True)
    ]


def _indent(words: str) -> str:
    return "\t" * words.count("tab") if "tab" in words else " " * int(words)
