"""The table of languages: which grammar parses a document, and what its nodes and its lexis are called.

Read from `languages.toml`, which says what the fields mean. Knows nothing of documents, cursors or models. A grammar is
loaded when its language is first asked for; where there is none, every caller works from `literals`, the comments and
`header` alone. An unknown languageId gets a row of its own that knows only brackets and quotes.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from typing import Any

from tree_sitter import Language as Grammar

from .bridge import load
from .literals import LITERALS, Literal


@dataclass(frozen=True)
class Language:
    """One row of the table; immutable and hashable.

    `blocks` are the nodes whose braces (or header colon) hold statements or members, as against a literal's braces.
    `embedded` are nodes of code inside a string. `prose` nodes are silent unless prose is asked for.
    """

    id: str
    wheel: str = ""  # "module" or "module:function" of an official grammar wheel
    bridged: str = ""  # the grammar's name in tree-sitter-languages
    known: bool = False  # whether the table has a row for it; its grammar may still be missing
    indented: bool = False  # indentation makes blocks, not braces or words
    unit: str = "    "  # one level of indentation where the file does not show its own
    line_comments: tuple[str, ...] = ()
    comment_guard: str = ""  # pattern of no width: what must stand around the marker of a line comment
    block_comment: tuple[str, str] | None = None
    literals: tuple[Literal, ...] = (LITERALS["double"], LITERALS["quoted"])
    long_quotes: tuple[str, ...] = ()  # quotes that close a string of several lines as they open it
    types_first: bool = False  # a function's type stands before its name
    flat: bool = False  # a header's body is not indented
    braces: bool = False  # blocks stand in braces, and `divisible`
    interpolation: str = ""  # what begins code inside a string
    header: str = r":\Z"  # what a statement is like, beside one that ends in a brace, whose body is to follow
    hazard: str = ""  # text that the grammar's C code does not survive: it must not be parsed
    statements: frozenset[str] = frozenset()
    blocks: frozenset[str] = frozenset()
    strings: frozenset[str] = frozenset()
    comments: frozenset[str] = frozenset()
    embedded: frozenset[str] = frozenset()

    @property
    def line_comment(self) -> str:
        """What begins a comment to the end of the line; "" in a language without one."""
        return self.line_comments[0] if self.line_comments else ""

    @property
    def divisible(self) -> bool:
        """Whether a run of statements, with what opens and closes the blocks it is in, parses alone as in its file."""
        return self.braces or self.id == "python"

    def survives(self, data: bytes) -> bool:
        """Whether the grammar's C code can be given this text (UTF-8): some text it dies of, or never returns from."""
        return not self.hazard or re.search(self.hazard.encode(), data) is None

    def grammar(self) -> Grammar | None:
        """The tree-sitter grammar, loaded at the first call; None where there is none to load. Never raises."""
        return load(self.wheel, self.bridged) if self.wheel or self.bridged else None


def language_for(language_id: str) -> Language:
    """The row for an LSP languageId or a common alias (case does not matter); a bare row where the table has none."""
    key = language_id.lower()
    return LANGUAGES.get(key) or LEXICAL.get(key) or Language(language_id)


def id_of(name: str, interpreter: str = "") -> str:
    """The row's name for a file's name, or for the interpreter its first line names; "" where no row claims it."""
    suffixes = [name[at:] for at, char in enumerate(name) if char == "."]
    wanted = [name, *[ending.lower() for ending in suffixes], f"#!{interpreter}"]
    return next((_FILES[key] for key in wanted if key in _FILES), "")


def _row(name: str, table: dict[str, dict[str, Any]]) -> Language:
    written = dict(table[name])
    like = written.pop("like", "")
    row = replace(_row(like, table), id=name) if like else Language(name, known=True, header=r"(?!)")
    values: dict[str, Any] = {}
    for key, value in written.items():
        field = key.removeprefix("+")
        if field == "literals":
            values[field] = tuple(LITERALS[literal] for literal in value)
        elif field in _SETS:
            values[field] = frozenset(value.split()) | (getattr(row, field) if key != field else frozenset())
        elif field not in ("ids", "files"):
            values[field] = tuple(value) if isinstance(value, list) else value
    return replace(row, **values)


_SETS = {field.name for field in fields(Language) if field.type == "frozenset[str]"}
_TABLE: dict[str, dict[str, Any]] = tomllib.loads(
    files(__package__ or "midspan.grammars").joinpath("languages.toml").read_text(encoding="utf-8")
)
_ROWS = {name: _row(name, _TABLE) for name in _TABLE}
_KEYS = {key: _ROWS[name] for name, row in _TABLE.items() for key in (name, *row.get("ids", ()))}
_FILES = {file: name for name, row in _TABLE.items() for file in row.get("files", ())}

LANGUAGES: dict[str, Language] = {key: row for key, row in _KEYS.items() if row.wheel or row.bridged}
"""languageId → row, of languages that have a grammar."""

LEXICAL: dict[str, Language] = {key: row for key, row in _KEYS.items() if key not in LANGUAGES}
"""languageId → row, of languages read by brackets, quotes, comments and indentation alone."""
