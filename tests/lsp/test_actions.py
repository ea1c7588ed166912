"""Rewriting, as an editor gets it from a real server with the bundled model.

What is offered, what is resolved, and that nothing is ever changed but what was asked for; what the model writes is its
own affair.
"""

import ast
from collections.abc import Iterator
from typing import Any

import pytest
from midspan.lsp.documents import Document
from midspan.lsp.wire.client import Client, ReplyError

from .conftest import ENVIRONMENT

CANCELLED, CHANGED, FAILED, INVALID = -32800, -32801, -32803, -32602
REPAIR, BODY = "quickfix.midspan.repair", "refactor.rewrite.midspan.body"
LIGHTLY, REFILL = "refactor.rewrite.midspan.lightly", "refactor.rewrite.midspan.refill"
TITLES = {
    REPAIR: "Midspan: repair the syntax error here",
    BODY: "Midspan: fill this body",
    LIGHTLY: "Midspan: rewrite the selection lightly",
    REFILL: "Midspan: write the selection anew",
}
URI = "file:///project/code.py"
CODE = """\
import os


def names(folder):
    result = []
    for name in os.listdir(folder):
        result.append(name)
    return result


def first(folder):
    pass


print(max(1, 2)
"""
LISTING, PASS, BROKEN = ((n, 0, n, 40) for n in (6, 11, 14))
LITERALS = {"codeActionLiteralSupport": {"codeActionKind": {"valueSet": []}}}
LAZY = {**LITERALS, "dataSupport": True, "resolveSupport": {"properties": ["edit"]}}


class Editor(Client):
    """A client that answers edits it is asked to apply as `applied` says."""

    applied: Any = None

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("method") == "workspace/applyEdit" and self.applied is not None:
            self.requests.append(message)
            self.send({"jsonrpc": "2.0", "id": message["id"], "result": self.applied})
        else:
            super()._take(message)


def capabilities(action: Any = LAZY, encoding: str = "utf-16", **workspace: Any) -> dict[str, Any]:
    return {
        "general": {"positionEncodings": [encoding]},
        "textDocument": {"codeAction": action},
        "workspace": workspace,
        "window": {"workDoneProgress": True},
    }


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    """A full client and a server with the bundled model, for all tests that leave them as they were."""
    client = Editor(env=ENVIRONMENT)
    wanted = capabilities(LAZY, workspaceEdit={"documentChanges": True}, applyEdit=True)
    client.initialize({"threads": 1, "status": True, "diskCache": False}, wanted)
    client.notification("midspan/status", kind="ready", timeout=120)
    yield client
    assert client.shut_down() == 0
    client.kill()


@pytest.fixture
def uri(editor: Editor) -> str:
    return opened(editor, CODE)


def opened(client: Client, text: str, language: str = "python", uri: str = URI) -> str:
    client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    client.open(uri, language, text)
    client.requests.clear()
    client.notifications.clear()
    return uri


def span(place: tuple[int, int, int, int]) -> dict[str, Any]:
    return {
        "start": {"line": place[0], "character": place[1]},
        "end": {"line": place[2], "character": place[3]},
    }


def offered(client: Client, place: tuple[int, int, int, int], uri: str = URI, **context: Any) -> list[dict[str, Any]]:
    params = {"textDocument": {"uri": uri}, "range": span(place), "context": {"diagnostics": [], **context}}
    return client.request("textDocument/codeAction", params)


def action(client: Client, kind: str, place: tuple[int, int, int, int]) -> dict[str, Any]:
    (found,) = offered(client, place, only=[kind])
    return found


def resolved(client: Client, wanted: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The edits; None where the model has nothing better to say, which is its own affair."""
    try:
        answer = client.request("codeAction/resolve", wanted, timeout=60)
    except ReplyError as error:
        assert (error.code, str(error)) == (FAILED, f"no better text was found ({FAILED})")
        return None
    (change,) = answer["edit"]["documentChanges"]
    assert change["textDocument"]["uri"] == URI
    return change["edits"]


def after(text: str, edits: list[dict[str, Any]], encoding: Any = "utf-16") -> str:
    (edit,) = edits
    document = Document("", "", 1, text, encoding)
    start, end = (document.offset(tuple(edit["range"][side].values())) for side in ("start", "end"))
    return text[:start] + edit["newText"] + text[end:]


def code_of(client: Client, method: str, params: Any) -> int:
    reply = client.reply(client.begin(method, params), timeout=60)
    return reply["error"]["code"] if "error" in reply else 0


# -- what is offered


def test_what_is_offered_depends_on_the_code_and_is_named_for_people(editor: Editor, uri: str) -> None:
    for place, kinds in (
        (LISTING, [LIGHTLY, REFILL]),
        ((6, 3, 6, 3), []),
        ((11, 6, 11, 6), [BODY]),
        ((10, 18, 10, 18), [BODY]),
        ((14, 3, 14, 3), [REPAIR]),
        (BROKEN, [REPAIR, LIGHTLY, REFILL]),
    ):
        found = offered(editor, place)
        assert [(one["kind"], one["title"]) for one in found] == [(kind, TITLES[kind]) for kind in kinds], place
        assert all("edit" not in one and one["data"]["version"] == 1 for one in found), "computed when chosen"
    assert not editor.requests, "no bar, no popup"


def test_an_editor_gets_the_kinds_it_asks_for(editor: Editor, uri: str) -> None:
    def kinds(*only: str) -> list[str]:
        return [one["kind"] for one in offered(editor, BROKEN, only=list(only), triggerKind=2)]

    assert kinds("refactor") == kinds("refactor.rewrite") == kinds("refactor.rewrite.midspan") == [LIGHTLY, REFILL]
    assert kinds("quickfix") == [REPAIR]
    assert kinds("quickfix", REFILL) == [REPAIR, REFILL]
    assert kinds("refactor.extract") == kinds("source.fixAll") == kinds("refactor.rewrit") == []


def test_a_repair_belongs_to_the_diagnostics_of_its_error(editor: Editor, uri: str) -> None:
    here = {"range": span(BROKEN), "message": "'(' was never closed"}
    there = {"range": span((4, 4, 4, 10)), "message": "unused"}
    repair = offered(editor, BROKEN, diagnostics=[there, here])[0]
    assert [one["message"] for one in repair["diagnostics"]] == ["'(' was never closed"]


def test_clients_that_cannot_resolve_get_a_command_and_the_oldest_nothing_else(editor: Editor) -> None:
    for wanted, is_action in ((LITERALS, True), ({}, False)):
        with Client(env=ENVIRONMENT) as client:
            client.initialize({"load": "use"}, capabilities(wanted))
            opened(client, CODE)
            (found,) = offered(client, BROKEN, only=["quickfix"])
            command = found["command"] if is_action else found
            assert command["command"] == "midspan.rewrite"
            assert command["arguments"][0]["kind"] == REPAIR
            if is_action:
                assert client.request("codeAction/resolve", found) == found, "there is nothing to add"


def test_files_that_are_not_looked_at_get_no_offers_and_no_rewrites(editor: Editor, enduring: Client) -> None:
    secret = opened(editor, CODE, uri="file:///project/.env")
    assert offered(editor, LISTING, secret) == []
    assert offered(editor, LISTING, "file:///project/unknown.py") == []
    argument = {"uri": secret, "range": span(LISTING)}
    with pytest.raises(ReplyError, match="this file is excluded"):
        editor.request("workspace/executeCommand", {"command": "midspan.rewrite", "arguments": [argument]})
    enduring.open("file:///off.py", "python", CODE)
    assert offered(enduring, LISTING, "file:///off.py") == []
    assert (
        code_of(enduring, "codeAction/resolve", {"title": "", "data": {**argument, "uri": "file:///off.py"}}) == FAILED
    )


# -- what comes of it


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize(("kind", "place"), [(LIGHTLY, LISTING), (REFILL, (5, 0, 7, 0)), (BODY, PASS)])
def test_a_rewrite_changes_what_was_selected_and_nothing_beside_it(
    editor: Editor, kind: str, place: tuple[int, int, int, int], ending: str
) -> None:
    text = CODE.replace("import os", "import os  # 😀").replace("print(max(1, 2)\n", "").replace("\n", ending)
    opened(editor, text)
    edits = resolved(editor, action(editor, kind, place))
    if edits is None:
        return
    result, lines = after(text, edits), text.split(ending)
    assert result.startswith(ending.join(lines[: place[0]]))
    assert result.endswith(ending.join(lines[place[2] + (place[3] > 0) :]))
    assert "\n" not in result.replace(ending, "") if ending != "\n" else "\r" not in result
    assert result.split() != text.split()
    ast.parse(result)


def test_a_repair_mends_the_line_and_says_so_in_a_version_of_the_text(editor: Editor, uri: str) -> None:
    answer = editor.request("codeAction/resolve", action(editor, REPAIR, (14, 0, 14, 0)))
    (change,) = answer["edit"]["documentChanges"]
    assert change["textDocument"] == {"uri": URI, "version": 1}
    assert after(CODE, change["edits"]) == CODE.replace("max(1, 2)", "max(1, 2))")
    assert resolved(editor, answer) == change["edits"], "and twice is the same"


# -- what goes wrong


def test_a_text_that_has_changed_is_not_rewritten(editor: Editor, uri: str) -> None:
    wanted = action(editor, REPAIR, BROKEN)
    editor.change(uri, 2, {"range": span((0, 0, 0, 0)), "text": "# "})
    assert code_of(editor, "codeAction/resolve", wanted) == CHANGED
    editor.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    assert code_of(editor, "codeAction/resolve", wanted) == CHANGED


LONG = "\n".join(f"value_{i} = compute(value_{i - 1}, {i})" for i in range(1, 26)) + "\n"


def test_an_edit_or_the_user_calls_a_running_rewrite_off(editor: Editor) -> None:
    opened(editor, LONG)
    wanted = action(editor, LIGHTLY, (0, 0, 25, 0))

    running = editor.begin("codeAction/resolve", wanted)
    editor.notify("$/cancelRequest", {"id": running})
    assert editor.reply(running)["error"]["code"] == CANCELLED

    editor.requests.clear()
    running = editor.begin("codeAction/resolve", wanted)
    token = editor.asked("window/workDoneProgress/create")["token"]
    editor.notify("window/workDoneProgress/cancel", {"token": token})
    assert editor.reply(running)["error"]["code"] == CANCELLED

    first, second = editor.begin("codeAction/resolve", wanted), editor.begin("codeAction/resolve", wanted)
    assert editor.reply(first)["error"]["code"] == CANCELLED, "one rewrite of a document at a time"
    editor.begin_completion(URI, 3, 0)  # and a suggestion is none
    editor.change(URI, 2, {"range": span((0, 0, 0, 0)), "text": "# "})
    assert editor.reply(second)["error"]["code"] == CHANGED


def test_a_bar_is_shown_while_the_model_writes_and_ends_with_it(editor: Editor, uri: str) -> None:
    resolved(editor, action(editor, REFILL, LISTING))
    token = editor.asked("window/workDoneProgress/create")["token"]
    begun = editor.notification("$/progress", token=token)["value"]
    assert (begun["kind"], begun["cancellable"], begun["title"]) == ("begin", True, "Midspan: rewriting")
    assert editor.notification("$/progress", token=token)["value"] == {"kind": "end"}
    editor.notify("window/workDoneProgress/cancel", {"token": token})
    editor.notify("window/workDoneProgress/cancel", {"token": 7})
    assert offered(editor, LISTING), "cancelling what is over is nobody's business"


def test_a_command_without_an_edit_says_why(editor: Editor, uri: str) -> None:
    argument = {"uri": uri, "range": span(BROKEN), "kind": REPAIR}

    def run(argument: Any) -> Any:
        return editor.request("workspace/executeCommand", {"command": "midspan.rewrite", "arguments": [argument]})

    with pytest.raises(ReplyError, match="midspan-mini follows no instructions"):
        run({"uri": uri, "range": span(LISTING), "instruction": "use a set"})
    with pytest.raises(ReplyError, match="there is no syntax error here"):
        run({**argument, "range": span(LISTING)})
    editor.applied = {"applied": False, "failureReason": "it is read-only"}
    with pytest.raises(ReplyError, match="the editor did not take the edit: it is read-only"):
        run(argument)
    editor.applied = {"applied": True}
    assert run(argument) == {"applied": True}


TAMPERED = [
    None,
    [],
    "x",
    {},
    {"uri": URI},
    {"uri": 3, "range": span(LISTING)},
    {"uri": URI, "range": None},
    {"uri": URI, "range": {"start": {"line": 0, "character": 0}}},
    {"uri": URI, "range": span((-1, 0, 0, 0))},
    {"uri": URI, "range": span((0, 0, True, 0))},
    {"uri": URI, "range": span((0, 0, 1.5, 0))},  # type: ignore[arg-type]
    {"uri": URI, "range": span(LISTING), "kind": "refactor.rewrite.midspan.elsewhere"},
    {"uri": URI, "range": span(LISTING), "kind": ["quickfix"]},
    {"uri": URI, "range": span(LISTING), "version": "1"},
    {"uri": URI, "range": span(LISTING), "strength": 0},
    {"uri": URI, "range": span(LISTING), "strength": "much"},
    {"uri": URI, "range": span(LISTING), "instruction": 3},
    {"uri": URI, "range": span(LISTING), "instruction": "x", "kind": REPAIR},
]


@pytest.mark.parametrize("data", TAMPERED)
def test_malformed_data_gets_an_error_and_does_no_harm(editor: Editor, uri: str, data: Any) -> None:
    assert code_of(editor, "codeAction/resolve", {"title": "", "data": data}) == INVALID
    command = {"command": "midspan.rewrite", "arguments": [data]}
    assert code_of(editor, "workspace/executeCommand", command) == INVALID
    assert not editor.requests


def test_commands_that_do_not_exist_or_get_too_much(editor: Editor, uri: str) -> None:
    assert code_of(editor, "workspace/executeCommand", {"command": "midspan.unknown"}) == INVALID
    command = {"command": "midspan.rewrite", "arguments": [{"uri": URI, "range": span(LISTING)}] * 2}
    assert code_of(editor, "workspace/executeCommand", command) == INVALID
    assert code_of(editor, "workspace/executeCommand", {"command": "midspan.rewrite"}) == INVALID


@pytest.mark.parametrize("text", ["", "\n", "\r\n\r\n", "x", "😀", "def f(:\r\n\tpass\r\n", "\ud800(", "a\fb\u2028c\n"])
def test_ranges_that_are_not_of_the_text(editor: Editor, text: str) -> None:
    opened(editor, text)
    for place in ((0, 0, 0, 0), (9, 9, 9, 9), (0, 99, 0, 0), (5, 0, 0, 0), (0, 1, 0, 2), (0, 0, 2**31 - 1, 2**31 - 1)):
        found = offered(editor, place)
    for one in found[:1]:  # the model takes its time for each
        editor.reply(editor.begin("codeAction/resolve", one), timeout=60)
    assert not editor.notifications or all(one["method"] != "window/showMessage" for one in editor.notifications)
