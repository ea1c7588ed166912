"""LSP types ⇄ ours: nothing else of the server knows what a request or an answer looks like on the wire."""

from collections.abc import Sequence
from typing import Any

from lsprotocol import types as lsp

from .complete import Outcome, Suggestion
from .documents import Change, Document, Encoding, Position

TRACE = "midspan/trace"
STATUS = "midspan/status"


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


def completions(suggestion: Suggestion, document: Document) -> lsp.InlineCompletionList:
    """The replacement range: from the first changed character to the end of the line, never over a line's end.

    The text brings the rest of the line along, so what stood behind the cursor is not left standing behind the last
    inserted line, and editors that take an empty range for the word at the cursor have nothing to guess.
    """
    start, end = document.position(suggestion.start), document.position(suggestion.end)
    return lsp.InlineCompletionList(
        items=[
            lsp.InlineCompletionItem(
                insert_text=suggestion.text,
                range=lsp.Range(start=lsp.Position(*start), end=lsp.Position(*end)),
            )
        ]
    )


def trace(uri: str, version: int, outcome: Outcome, seconds: float) -> dict[str, Any]:
    """Parameters of `midspan/trace`: what became of a request and what it took."""
    return {
        "uri": uri,
        "version": version,
        "outcome": outcome.reason,
        "seconds": seconds,
        "model": outcome.model,
        "steps": outcome.steps,
        "tokens": outcome.tokens,
        "confidence": outcome.confidence,
        "stop": outcome.stop,
        "span": outcome.kind,
        "filled": outcome.suggestion.filled if outcome.suggestion else 0,
        "timings": outcome.timings,
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
