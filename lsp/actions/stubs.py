"""Functions that wait for their body: nothing, `pass`, `...`, `{}`, a TODO, an error that says "not implemented".

Reads the tree, and where a header has no body at all the blank line under it. Pure; knows nothing of models. What a
body's comments and documentation say stays, for the model to read; a comment that says no more than TODO goes.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..lines import line_end, line_start
from .places import Place

if TYPE_CHECKING:
    from tree_sitter import Node

    from ...grammars import Syntax

LONGEST = 2000  # code points of a body that may still be a stub
_TODO = (
    r"(?:TODO|FIXME|XXX|to\s+be\s+(?:done|written|implemented)|implement\s+(?:me|this)|not\s+(?:yet\s+)?implemented)"
)
_BARE_TODO = re.compile(
    rf"(?://|#|--|;|%|/\*)[\s*!]*{_TODO}\b[\s:.…(]*(?:[\w ]{{0,12}}\))?[\s:.]*(?:\*/)?", re.IGNORECASE
)
_STUB = re.compile(
    rf"""(?: pass | \.\.\. | … | ; | \?\?\?
    | raise\s+NotImplemented(?:Error)?\b.* | throw\s+new\s+[\w.]*(?:Unsupported|NotImplemented|NotSupported)\w*\s*\(.*
    | (?: todo | unimplemented | panic | fatalError | error | failwith | throw\s+new\s+\w+ | raise\s+\w* | TODO )
      !?\s*\(? \s* ["'`]? \s* (?:{_TODO}[^\n]*)? ["'`]? \s* \)? \s* ;?
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_HOLLOW = re.compile(r"\{\s*\}")
MAX_CLIMB = 64  # ancestors looked at


@dataclass(frozen=True)
class _Body:
    """A function's body: code points of what is between its braces (or of its lines), and whether it has braces."""

    start: int
    end: int
    braced: bool


def is_stub(code: str) -> bool:
    """Whether code without comments says no more than that something is missing."""
    return not code.strip() or _STUB.fullmatch(code.strip()) is not None


def stub_at(syntax: "Syntax", start: int, end: int) -> Place | None:
    """Where the body of the function around [start, end) goes, when it has none worth the name. Never raises."""
    text = syntax.text
    start, end = sorted((min(max(start, 0), len(text)), min(max(end, 0), len(text))))
    # A cursor behind the header's colon or brace means that function: the line from its first code on.
    for first in dict.fromkeys((start, _code(text, start))):
        for node in _around(syntax, min(first, start), end):
            body = _body_of(node, syntax)
            if body is not None:
                place = _place(syntax, node, body)
                if place is not None or first == start:
                    return place
                break
    return _under_header(syntax, start)


def _around(syntax: "Syntax", start: int, end: int) -> "list[Node]":
    """Nodes over the range, innermost first; none where the code is broken around it."""
    node = syntax.node_over(syntax.byte(start), syntax.byte(max(end, min(start + 1, len(syntax.text)))))
    found: list[Node] = []
    while node is not None and not node.is_error and len(found) < MAX_CLIMB:
        found.append(node)
        node = node.parent
    return found


def _body_of(node: "Node", syntax: "Syntax") -> _Body | None:
    """The body if the node is a function."""
    from ...grammars.roles import body_role  # noqa: PLC0415  (loads tree-sitter)

    body = node.child_by_field_name("body")
    if body is None:
        body = next((child for child in node.children if child.type in syntax.language.blocks), None)
    if body is None or body.has_error or body.is_missing:
        return None
    if body.type not in syntax.language.blocks:
        return None
    start = syntax.point(node.start_byte)
    colon = next((child for child in node.children if child.type == ":"), None) if syntax.language.indented else None
    header = syntax.text[start : syntax.point(colon.end_byte if colon else body.start_byte)].rstrip()
    if body_role(header) != "function":
        return None
    first, last = syntax.point(body.start_byte), syntax.point(body.end_byte)
    braced = syntax.text[first : first + 1] == "{" and syntax.text[last - 1 : last] == "}"
    if braced:
        return _Body(first + 1, last - 1, True)
    if not syntax.language.indented:
        return None
    # Comments above the first statement are not of the block in the tree; they are of the body.
    return _Body(start + len(header), last, False)


def _place(syntax: "Syntax", function: "Node", body: _Body) -> Place | None:
    from ...grammars.indentation import margin, unit  # noqa: PLC0415  (loads tree-sitter)

    text, language = syntax.text, syntax.language
    inner = text[body.start : body.end]
    if len(inner) > LONGEST:
        return None
    kept, code = _comments_and_code(inner, syntax)
    if not is_stub(code):
        return None
    outer = margin(text, syntax.point(function.start_byte))
    lines = [line for line in re.split(r"\r\n|\r|\n", inner) if line.strip()]
    own = [line[: len(line) - len(line.lstrip())] for line in lines[1 if inner[:1] not in "\r\n" else 0 :]]
    inward = outer + unit(text, body.start, language)
    indent = own[0] if own and len(own[0]) > len(outer) else inward
    lead = "".join(f"\n{indent}{line.strip()}" for line in kept) + f"\n{indent}"
    return Place("body", body.start, body.end, indent, False, lead, f"\n{outer}" if body.braced else "")


def _comments_and_code(inner: str, syntax: "Syntax") -> tuple[list[str], str]:
    """The lines of a body that stay above what is filled in, and its code."""
    kept: list[str] = []
    code: list[str] = []
    quote = ""
    markers = (*syntax.language.line_comments, *(() if syntax.language.indented else ("/*", "*")))
    for line in re.split(r"\r\n|\r|\n", inner):
        words = line.strip()
        if quote:
            kept.append(words)
            quote = "" if words.endswith(quote) else quote
        elif words.startswith(markers):
            if _BARE_TODO.fullmatch(words) is None:
                kept.append(words)
        elif syntax.language.indented and words.startswith(syntax.language.long_quotes):
            kept.append(words)
            quote = "" if len(words) >= 6 and words.endswith(words[:3]) else words[:3]
        elif words:
            code.append(words)
    return [words for words in kept if words], "\n".join(code)


def _under_header(syntax: "Syntax", offset: int) -> Place | None:
    """A header whose body is not even begun: the cursor on it, or on the blank line below."""
    from ...grammars import choose_span  # noqa: PLC0415  (loads tree-sitter)

    text = syntax.text
    at = line_end(text, offset)
    lead = ""
    if text[line_start(text, at) : at].strip():
        # As if a line were opened under the header.
        lead, syntax = "\n", syntax.edited(at, at, "\n\n")
    span = choose_span(syntax, at + len(lead))
    if span is None or span.kind != "block" or span.role != "function":
        return None
    start = at if lead else line_start(text, at)
    return Place("body", start, at, span.indent, False, f"{lead}{span.indent}")


def _code(text: str, offset: int) -> int:
    """Where the code of the line of `offset` begins; its end where the line is blank."""
    start = line_start(text, offset)
    line = text[start : line_end(text, start)]
    return start + len(line) - len(line.lstrip())
