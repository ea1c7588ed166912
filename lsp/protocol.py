"""LSP types ⇄ ours: nothing else of the server knows what a request or an answer looks like on the wire."""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import attrs
import cattrs
from lsprotocol import converters
from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException
from pygls.protocol import JsonRPCNotification, JsonRPCRequestMessage, JsonRPCResponseMessage

from .actions.offers import INSTRUCTION, REPAIR, TITLES, Offer
from .actions.repairs import Edit
from .actions.rewrites import Order, RefusedError
from .complete import Outcome, Suggestion
from .documents import Change, Document, Encoding, Position
from .lines import common_prefix, line_start

log = logging.getLogger(__name__)

TRACE = "midspan/trace"
STATUS = "midspan/status"
REWRITE = "midspan.rewrite"

REFUSALS = {"changed": -32801, "cancelled": -32800, "failed": -32803}  # LSP 3.18, `LSPErrorCodes`
_WORD = re.compile(r"[\w$]+\Z")


def _integer(value: Any, cls: type[int]) -> int:
    """JSON's 3 and 3.0 are integers; its true, "3" and 2.7, which `int()` would take, are not. Enums come here too."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise TypeError(f"{value!r} is not an integer")
    return cls(value)


def _string(value: Any, cls: type[str]) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return cls(value)


def _boolean(value: Any, _: type) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is not a boolean")
    return value


def _as_sent(value: Any, cls: type) -> Any:
    """A message lsprotocol has no type for: its params or result stay the JSON they were."""
    return cls(**{field.name: value.get(field.name) for field in attrs.fields(cls)})


def _capabilities(value: Any, read: Callable[[Any, type], lsp.ClientCapabilities]) -> lsp.ClientCapabilities:
    """A client with one malformed capability must not lose the server: forget that capability alone."""

    def readable(capabilities: Any) -> bool:
        try:
            read(capabilities, lsp.ClientCapabilities)
        except Exception:  # cattrs, attrs validators and enums each raise their own kind
            return False
        return True

    if isinstance(value, dict) and not readable(value):
        value = dict(value)
        for group, entries in value.items():
            if isinstance(entries, dict):
                value[group] = {name: entry for name, entry in entries.items() if readable({group: {name: entry}})}
                dropped = entries.keys() - value[group].keys()
            else:
                value[group], dropped = None, {"*"}
            for name in dropped:
                log.warning("client capability %s.%s is malformed and ignored", group, name)
    return read(value, lsp.ClientCapabilities)


def converter() -> cattrs.Converter:
    """From JSON to lsprotocol's types, strictly: what the specification does not allow is an error."""
    # Without detailed validation cattrs generates its hooks several times faster, which `initialize` waits for.
    converter = converters.get_converter(cattrs.Converter(detailed_validation=False))
    converter.register_structure_hook(int, _integer)  # and its subclasses: enums, and bool but for the next line
    converter.register_structure_hook(bool, _boolean)
    converter.register_structure_hook(str, _string)
    readable = converter.get_structure_hook(lsp.ClientCapabilities)
    converter.register_structure_hook(lsp.ClientCapabilities, lambda value, _: _capabilities(value, readable))
    for message in (JsonRPCRequestMessage, JsonRPCResponseMessage, JsonRPCNotification):
        converter.register_structure_hook(message, _as_sent)
    return converter


def position(place: lsp.Position) -> Position:
    return place.line, place.character


def changes(events: Sequence[lsp.TextDocumentContentChangeEvent]) -> list[Change]:
    return [
        Change(event.text, position(event.range.start), position(event.range.end))
        if isinstance(event, lsp.TextDocumentContentChangePartial)
        else Change(event.text)
        for event in events
    ]


def chosen(params: lsp.InlineCompletionParams) -> tuple[Position, Position, str] | None:
    """The item selected in the completion menu.

    ValueError when no suggestion can begin with it: it does not lie around the cursor, on the cursor's line.
    """
    selected = params.context.selected_completion_info
    if selected is None:
        return None
    start, end, cursor = position(selected.range.start), position(selected.range.end), position(params.position)
    if not (start[0] == end[0] == cursor[0] and start <= cursor <= end) or "\n" in selected.text:
        raise ValueError("the selected item is not at the cursor")
    return start, end, selected.text


def completions(suggestions: Sequence[Suggestion], document: Document) -> lsp.InlineCompletionList:
    """The replacement range: from the first changed character to the end of the line, never over a line's end.

    The text brings the rest of the line along, so what stood behind the cursor is not left standing behind the last
    inserted line, and editors that take an empty range for the word at the cursor have nothing to guess.
    """
    return lsp.InlineCompletionList(
        items=[
            lsp.InlineCompletionItem(insert_text=one.text, range=span(document, one.start, one.end))
            for one in suggestions
        ]
    )


def menu(suggestion: Suggestion | None, document: Document, markdown: bool) -> lsp.CompletionList:
    """One entry for the completion menu of a client without ghost text, in a list that is asked for again at each key.

    The entry replaces from the start of the word at the cursor, which menus filter by. What stays as it is at the
    line's end is not in it: editors leave the cursor where an edit ends, and there the fill should end.
    """
    nothing = lsp.CompletionList(is_incomplete=True, items=[])
    if suggestion is None:
        return nothing
    text, start, end = document.text, suggestion.start, suggestion.end
    before = text[line_start(text, start) : start]
    word = _WORD.search(before)
    typed = word[0] if word else ""
    kept = common_prefix(text[start:end][::-1], suggestion.text[::-1])
    new = typed + suggestion.text[: len(suggestion.text) - kept]
    lines = new.strip().splitlines()
    if not lines:
        return nothing
    whole = before.lstrip() + suggestion.text
    preview = f"```{document.language_id}\n{whole}\n```" if markdown else whole
    item = lsp.CompletionItem(
        label=lines[0] + (" …" if len(lines) > 1 else ""),
        kind=lsp.CompletionItemKind.Text,
        detail="Midspan",
        documentation=lsp.MarkupContent(lsp.MarkupKind.Markdown if markdown else lsp.MarkupKind.PlainText, preview),
        preselect=False,
        sort_text="\U0010ffff",  # behind what language servers know for certain
        filter_text=typed + (lines[0][len(typed) :] if lines[0].startswith(typed) else ""),
        insert_text_format=lsp.InsertTextFormat.PlainText,
        insert_text_mode=lsp.InsertTextMode.AsIs,
        text_edit=lsp.TextEdit(range=span(document, start - len(typed), end - kept), new_text=new),
    )
    return lsp.CompletionList(is_incomplete=True, items=[item])


def code_actions(
    params: lsp.CodeActionParams, document: Document, capabilities: lsp.ClientCapabilities
) -> Callable[[Sequence[Offer]], list[lsp.CodeAction | lsp.Command]]:
    """How offers for a range of the document as it is now are told to a client: to be resolved, as commands of ours,
    or, where it knows no actions, as bare commands. A repair takes the client's diagnostics of its error along."""
    data = {"uri": document.uri, "version": document.version, "range": _range_as_sent(params.range)}
    lazy, literal = resolves_edits(capabilities), takes_literals(capabilities)
    diagnostics = [
        (document.offset(position(one.range.start)), document.offset(position(one.range.end)), one)
        for one in params.context.diagnostics
    ]

    def told(offer: Offer) -> lsp.CodeAction | lsp.Command:
        wanted = {**data, "kind": offer.kind}
        command = lsp.Command(offer.title, REWRITE, arguments=[wanted])
        if not literal:
            return command
        about = None
        if offer.kind == REPAIR and offer.broken is not None:
            first, last = offer.broken
            about = [one for start, end, one in diagnostics if start <= last and end >= first] or None
        if lazy:
            return lsp.CodeAction(offer.title, offer.kind, about, data=wanted)
        return lsp.CodeAction(offer.title, offer.kind, about, command=command)

    return lambda offers: [told(offer) for offer in offers]


class Refusal(JsonRpcException):
    """An answer that a client shows to its user. It is no failure of ours."""

    @classmethod
    def to(cls, error: RefusedError) -> "Refusal":
        return cls(str(error), REFUSALS[error.kind])


def is_failure(record: logging.LogRecord) -> bool:
    """Whether an error reply that pygls logs is worth a line there."""
    return not (record.exc_info and isinstance(record.exc_info[1], Refusal))


def order(data: Any) -> Order:
    """What a client wants rewritten, from an action's data or a command's argument. ValueError says what is wrong."""
    if not isinstance(data, dict):
        raise ValueError("expected an object {uri, range}")
    uri, version, kind = data.get("uri"), data.get("version"), data.get("kind", "")
    instruction, strength = data.get("instruction"), data.get("strength")
    if not isinstance(uri, str):
        raise ValueError("uri is not a string")
    if version is not None and (isinstance(version, bool) or not isinstance(version, int)):
        raise ValueError("version is not an integer")
    if kind not in ("", *TITLES):
        raise ValueError(f"{kind!r} is no kind of rewrite")
    if instruction is not None and not isinstance(instruction, str):
        raise ValueError("instruction is not a string")
    if strength is not None and (isinstance(strength, bool) or not isinstance(strength, (int, float))):
        raise ValueError("strength is not a number")
    if strength is not None and not 0 < strength <= 1:
        raise ValueError("strength is not above 0 and at most 1")
    span = data.get("range")
    start, end = _place(span, "start"), _place(span, "end")
    told = (instruction or "").strip()
    if told and kind not in ("", INSTRUCTION):
        raise ValueError(f"{kind} takes no instruction")
    return Order(uri, version, start, end, kind, told, float(strength or 0.0))


def _place(span: Any, name: str) -> Position:
    place = span.get(name) if isinstance(span, dict) else None
    numbers: list[Any] = [place.get(axis) for axis in ("line", "character")] if isinstance(place, dict) else []
    if any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in numbers) or not numbers:
        raise ValueError(f"range.{name} is not a position")
    line, character = numbers
    return line, character


def _range_as_sent(span: lsp.Range) -> dict[str, dict[str, int]]:
    return {
        "start": {"line": span.start.line, "character": span.start.character},
        "end": {"line": span.end.line, "character": span.end.character},
    }


def workspace_edit(edit: Edit, document: Document, capabilities: lsp.ClientCapabilities) -> lsp.WorkspaceEdit:
    """The edit, of this version of the document where the client can be told so."""
    change = lsp.TextEdit(range=span(document, edit.start, edit.end), new_text=edit.text)
    if takes_versions(capabilities):
        identifier = lsp.OptionalVersionedTextDocumentIdentifier(uri=document.uri, version=document.version)
        return lsp.WorkspaceEdit(document_changes=[lsp.TextDocumentEdit(identifier, [change])])
    return lsp.WorkspaceEdit(changes={document.uri: [change]})


def span(document: Document, start: int, end: int) -> lsp.Range:
    return lsp.Range(start=lsp.Position(*document.position(start)), end=lsp.Position(*document.position(end)))


def trace(uri: str, version: int, outcome: Outcome, seconds: float) -> dict[str, Any]:
    """Parameters of `midspan/trace`: what became of a request and what it took."""
    return {
        "uri": uri,
        "version": version,
        "outcome": outcome.reason,
        "origin": outcome.origin,
        "alternatives": len(outcome.suggestions),
        "seconds": seconds,
        "model": outcome.model,
        "source": outcome.source,
        "steps": outcome.steps,
        "tokens": outcome.tokens,
        "confidence": outcome.confidence,
        "stop": outcome.stop,
        "span": outcome.kind,
        "filled": outcome.suggestion.filled if outcome.suggestion else 0,
        "timings": outcome.timings,
        "context": [asdict(one) for one in outcome.context],
    }


def encoding(chosen: lsp.PositionEncodingKind | str | None) -> Encoding:
    match str(getattr(chosen, "value", chosen)):
        case "utf-8":
            return "utf-8"
        case "utf-32":
            return "utf-32"
        case _:
            return "utf-16"


def wants_dynamic_registration(capabilities: lsp.ClientCapabilities) -> bool:
    inline = capabilities.text_document and capabilities.text_document.inline_completion
    return bool(inline and inline.dynamic_registration)


def wants_configuration_registration(capabilities: lsp.ClientCapabilities) -> bool:
    change = capabilities.workspace and capabilities.workspace.did_change_configuration
    return bool(change and change.dynamic_registration)


def answers_configuration(capabilities: lsp.ClientCapabilities) -> bool:
    return bool(capabilities.workspace and capabilities.workspace.configuration)


def has_no_ghost_text(capabilities: lsp.ClientCapabilities) -> bool:
    """Whether the client has a completion menu and no inline completion."""
    document = capabilities.text_document
    return bool(document and document.completion and not document.inline_completion)


def reads_markdown(capabilities: lsp.ClientCapabilities) -> bool:
    completion = capabilities.text_document and capabilities.text_document.completion
    formats = completion and completion.completion_item and completion.completion_item.documentation_format
    return lsp.MarkupKind.Markdown in (formats or ())


def resolves_edits(capabilities: lsp.ClientCapabilities) -> bool:
    """Whether the client asks for an action's edit when the user has chosen it, with the data that came along."""
    action = capabilities.text_document and capabilities.text_document.code_action
    lazy = action and action.data_support and action.resolve_support
    return bool(lazy and "edit" in lazy.properties)


def takes_literals(capabilities: lsp.ClientCapabilities) -> bool:
    action = capabilities.text_document and capabilities.text_document.code_action
    return bool(action and action.code_action_literal_support)


def takes_versions(capabilities: lsp.ClientCapabilities) -> bool:
    edit = capabilities.workspace and capabilities.workspace.workspace_edit
    return bool(edit and edit.document_changes)


def applies_edits(capabilities: lsp.ClientCapabilities) -> bool:
    return bool(capabilities.workspace and capabilities.workspace.apply_edit)


def has_progress_bars(capabilities: lsp.ClientCapabilities) -> bool:
    return bool(capabilities.window and capabilities.window.work_done_progress)


def folders(params: lsp.InitializeParams) -> list[str]:
    """URIs of the workspace folders a client starts with."""
    if params.workspace_folders:
        return [str(folder.uri) for folder in params.workspace_folders]
    return [params.root_uri] if params.root_uri else []
