"""What stands at a place in the code: an argument, an element, a statement, a whole function.

Read from the brackets and words before the place, since in broken code the tree names something else in every grammar;
the tree is asked only whether a brace holds statements. Knows nothing of spans or sizes.
"""

from __future__ import annotations

import re

from tree_sitter import Node

from .balance import Balance
from .prose import Prose
from .syntax import Syntax, ancestors


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split())


LOOK_BACK = 256
"""Code points read before a bracket for the word it belongs to."""

_FUNCTION = re.compile(
    r"\b(?:def|defp|defun|defmacro|fn|fun|func|function|proc|procedure|sub|subroutine|method|macro|constructor|init|deinit)\b"
)
_CONTROL = re.compile(
    r"\b(?:if|elif|elsif|elseif|else|for|foreach|while|until|unless|switch|select|match|when|case|do|try|catch|except"
    r"|finally|guard|with|using|lock|synchronized|fixed|loop|class|struct|enum|union|interface|trait|impl|namespace"
    r"|module|object|record|protocol|extension|service|message|data)\b"
)
_PARAMETERS = re.compile(r"\b(?:def|defp|fn|fun|func|function|sub|proc)\b[^()=;{}\r\n]*\Z")
_TYPED_NAME = re.compile(r"(?P<type>\w[\w<>\[\]*&:.,]*)[ \t]+[*&]*[\w:~]+[ \t]*\Z")
_NO_TYPES = _words("await case defer delete do else emit go goto in new not or and return throw typeof yield")
_CALLED = re.compile(r"(?P<word>[\w$]+)[!?]?[ \t]*\Z|[)\]>}\"'`][ \t]*\Z")
_NO_CALLS = _words("if elif elseif while until for foreach switch match select catch return and or not in is")
_NEW_STATEMENT = re.compile(r"(?:.*[;{}])?[ \t]*[\w$.]*\Z")
_DOCUMENTATION = ("/**", "///", "//!", "/*!")
_DELIMITER = re.compile(r"[A-Za-z@$#]{0,4}(\"\"\"|'''|\"|'|`)")


def role_at(syntax: Syntax, offset: int, before: str, seen: Balance) -> str:
    """ "argument", "parameter", "element", "expression" or "statement". `before`: the cursor's line up to it."""
    text = syntax.text
    opener = seen.open[-1] if seen.open else -1
    left = text[max(0, opener - LOOK_BACK) : max(0, opener)]
    if opener >= 0 and text[opener] == "(":
        called = _CALLED.search(left)
        typed = _TYPED_NAME.search(left) if syntax.language.types_first else None
        if _PARAMETERS.search(left) or (typed and typed["type"] not in _NO_TYPES):
            return "parameter"
        return "argument" if called and called["word"] not in _NO_CALLS else "expression"
    if opener >= 0 and text[opener] == "[":
        return "expression" if _CALLED.search(left) else "element"
    if opener >= 0 and text[opener] == "{" and not holds_statements(syntax, opener):
        holder = _holder(syntax, opener)
        return "expression" if holder and holder.type in (*syntax.language.embedded, "jsx_expression") else "element"
    return "statement" if _NEW_STATEMENT.match(before) else "expression"


def holds_statements(syntax: Syntax, brace: int) -> bool:
    """Whether the brace at `brace` opens a block (or who knows what) rather than a literal."""
    if syntax.language.indented:
        return False
    holder = _holder(syntax, brace)
    return holder is None or holder.is_error or holder.type in syntax.language.blocks


def _holder(syntax: Syntax, brace: int) -> Node | None:
    at = syntax.byte(brace)
    node = syntax.node_over(at, at + 1)
    if node is None or node.is_error:
        return None
    return next((outer for outer in ancestors(node.parent, 4) if outer.child_count > 1), None)


def body_role(header: str) -> str:
    """ "function" if a body under `header`, a statement's text up to its brace or colon, is a whole function's; else
    "body"."""
    if _CONTROL.search(_without_brackets(header)):
        return "body"
    return "function" if _FUNCTION.search(header) or "(" in header else "body"


def begins_statement(header: str) -> bool:
    """Whether a word in the header says what kind of statement it is."""
    bare = _without_brackets(header)
    return _CONTROL.search(bare) is not None or _FUNCTION.search(bare) is not None


def prose_role(syntax: Syntax, inside: Prose) -> str:
    """ "docstring" for documentation, else what `inside` is."""
    head = syntax.text[inside.start : inside.start + 8]
    if inside.kind == "comment":
        return "docstring" if head.startswith(_DOCUMENTATION) else "comment"
    line = syntax.text[max(0, inside.start - LOOK_BACK) : inside.start].replace("\r", "\n").rpartition("\n")[2]
    long = any(quote in head for quote in syntax.language.long_quotes)
    return "docstring" if syntax.language.indented and long and not line.strip() else "string"


def prose_end(syntax: Syntax, inside: Prose) -> str:
    """What would end the comment or string if it were written in it; "" for the end of the line."""
    if inside.kind == "comment":
        block = syntax.language.block_comment
        return block[1] if block and syntax.text.startswith(block[0], inside.start) else ""
    delimiter = _DELIMITER.match(syntax.text, inside.start)
    return delimiter[1] if delimiter else ""


def _without_brackets(header: str) -> str:
    """The header without what stands in its round and square brackets: a parameter may be called anything."""
    while (shorter := re.sub(r"\([^()]*\)|\[[^\[\]]*\]", "", header)) != header:
        header = shorter
    return header
