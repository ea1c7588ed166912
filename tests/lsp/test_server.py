"""Suggestions, as an editor gets them from a real server with the bundled model."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from midspan.lsp.documents import Document
from midspan.lsp.wire.client import AUTOMATIC, INVOKED, Client

from .conftest import Launcher

MODEL: dict[str, Any] = {"threads": 1, "deadline": 20}
CANCELLED = -32800

CODE = '''\
import math


class Circle:
    """A circle around a centre."""

    def __init__(self, x, y, radius):
        self.x = x
        self.y = y
        self.radius =

    def area(self):
        return math.pi * self.radius ** 2

    def contains(self, x, y):
        dx = x - self.x
        dy = y - self.y
        return math.hypot(dx, dy) <= self.radius


def largest(circles):
    return max(circles, key=lambda circle: circle.area())


def total(circles):
    return sum(
'''
GAPS = [(9, 21), (26, 15)]
"""Ends of unfinished lines."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One server with the bundled model loaded, for all tests that leave it as it was."""
    launcher = Launcher(tmp_path_factory.mktemp("server") / "stderr")
    client = launcher()
    client.initialize({**MODEL, "minConfidence": 0, "trace": True, "status": True})
    client.notification("midspan/status", kind="ready", timeout=120)
    yield client
    assert client.shut_down() == 0
    launcher.close()


def opened(server: Client, text: str = CODE, language: str = "python", name: str = "circle.py") -> str:
    """The URI of a document that is open with this text, at version 1."""
    uri = f"file:///project/{name}"
    server.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    forget(server)
    server.open(uri, language, text)
    server.notifications.clear()
    return uri


def forget(server: Client) -> None:
    """From here on the engine has to compute what it is asked."""
    server.request("workspace/executeCommand", {"command": "midspan.clearCache"})


def outcome(server: Client) -> str:
    return server.notification("midspan/trace")["outcome"]


def accepted(text: str, item: dict[str, Any], encoding: Any = "utf-32") -> str:
    """The document after the editor put the item into it."""
    document = Document("", "", 1, text, encoding)
    start, end = (
        document.offset((place["line"], place["character"])) for place in (item["range"]["start"], item["range"]["end"])
    )
    return document.text[:start] + item["insertText"] + document.text[end:]


def fills(server: Client, uri: str, places: list[tuple[int, int]], kind: int = INVOKED) -> list[dict[str, Any] | None]:
    results = [server.result(server.begin_completion(uri, *place, kind)) for place in places]
    return [result["items"][0] if result else None for result in results]


# -- the answer


def test_a_gap_is_filled_and_the_fill_explained(server: Client) -> None:
    uri = opened(server)
    for kind in (INVOKED, AUTOMATIC):
        items = fills(server, uri, GAPS, kind)
        traces = [server.notification("midspan/trace", uri=uri, version=1) for _ in GAPS]
        assert any(items), "nothing was filled"
        for item, trace in zip(items, traces, strict=True):
            assert (item is not None) == (trace["outcome"] == "shown")
            assert trace["model"] and trace["seconds"] > 0
            if item is not None:
                assert trace["steps"] > 0
                assert item["insertText"][: trace["filled"]].strip()


def test_the_same_request_gets_the_same_answer(server: Client) -> None:
    uri = opened(server)
    assert fills(server, uri, GAPS) == fills(server, uri, GAPS)


@pytest.mark.parametrize("line_ending", ["\n", "\r\n"])
def test_accepting_changes_nothing_but_the_gap(server: Client, line_ending: str) -> None:
    text = CODE.replace("centre", "centre 😀").replace("\n", line_ending)
    uri = opened(server, text)
    lines = text.split(line_ending)
    places = [(number, len(line)) for number, line in enumerate(lines)]
    places = places[8::2] + [(number, line.index("(") + 1) for number, line in enumerate(lines) if "(" in line]
    shown = 0
    for (line, character), item in zip(places, fills(server, uri, places), strict=True):
        if item is None:
            continue
        shown += 1
        assert item["range"]["start"] == {"line": line, "character": character}
        assert item["range"]["end"] == {"line": line, "character": len(lines[line])}
        result = accepted(text, item)
        kept = re.sub(r"^\w*[ \t]*", "", lines[line][character:])  # a word the cursor is in may be replaced
        offset = len(line_ending.join([*lines[:line], lines[line][:character]]))
        assert result.startswith(text[:offset])
        assert result.endswith(line_ending.join([kept, *lines[line + 1 :]]))
        assert "\n" not in result.replace(line_ending, "")
    assert shown >= 3


def test_utf_16_positions(tmp_path: Path) -> None:
    launcher = Launcher(tmp_path / "stderr")
    try:
        client = launcher()
        client.initialize(MODEL, {"general": {"positionEncodings": ["utf-16"]}})
        text = "names = ['😀😀', 'b']; first =\n"
        client.open("file:///a.py", "python", text)
        character = len(text.encode("utf-16-le")) // 2 - 1
        for item in fills(client, "file:///a.py", [(0, character)]):
            if item is not None:
                assert item["range"]["start"] == item["range"]["end"] == {"line": 0, "character": character}
                assert accepted(text, item, "utf-16").startswith(text[:-1])
    finally:
        launcher.close()


def test_text_no_encoding_knows(server: Client) -> None:
    uri = opened(server, "x = '\ud800'\ny =\n")
    server.result(server.begin_completion(uri, 1, 3))
    assert outcome(server) != "failed"


def test_a_language_without_grammar(server: Client) -> None:
    uri = opened(server, "alpha beta\nalpha \n", "plaintext", "notes.txt")
    server.result(server.begin_completion(uri, 1, 6))
    assert outcome(server) != "failed"


def test_the_answer_begins_with_the_item_chosen_in_the_menu(server: Client) -> None:
    text = CODE.replace("self.radius =\n", "self.radius = rad\n")
    uri = opened(server, text)
    place = {"start": {"line": 9, "character": 22}, "end": {"line": 9, "character": 25}}
    result = server.result(
        server.begin_completion(uri, 9, 25, selectedCompletionInfo={"range": place, "text": "radius"})
    )
    for item in result["items"] if result else []:
        assert item["insertText"].startswith("radius")
        assert item["range"] == place
        assert len(item["insertText"]) > len("radius")


def test_a_chosen_item_elsewhere_gets_no_answer(server: Client) -> None:
    uri = opened(server)
    for start, end in (((8, 0), (8, 3)), ((9, 0), (9, 3)), ((8, 0), (9, 21))):
        place = {
            "start": {"line": start[0], "character": start[1]},
            "end": {"line": end[0], "character": end[1]},
        }
        chosen = {"range": place, "text": "x"}
        assert server.result(server.begin_completion(uri, 9, 21, selectedCompletionInfo=chosen)) == []


def test_a_document_that_is_not_open(server: Client) -> None:
    assert server.result(server.begin_completion("file:///project/unknown.py", 0, 0)) is None


# -- the newest request wins


def test_only_the_newest_request_of_a_document_is_answered(server: Client) -> None:
    uri = opened(server)
    alone = server.result(server.begin_completion(uri, *GAPS[0]))
    forget(server)
    server.notifications.clear()
    ids = [server.begin_completion(uri, *GAPS[0]) for _ in range(6)]
    results = [server.result(msg_id) for msg_id in ids]
    outcomes = [outcome(server) for _ in ids]
    assert results[-1] == alone
    assert outcomes.count("superseded") >= 1
    assert all(result is None for result, what in zip(results, outcomes, strict=True) if what == "superseded")


def test_documents_do_not_supersede_each_other(server: Client) -> None:
    one, other = opened(server), opened(server, name="other.py")
    ids = [server.begin_completion(uri, *GAPS[0]) for uri in (one, other)]
    for msg_id in ids:
        server.result(msg_id)
    assert {outcome(server), outcome(server)}.isdisjoint({"superseded", "cancelled"})


def test_a_cancelled_request_gets_its_error_and_the_next_one_its_answer(server: Client) -> None:
    uri = opened(server)
    [alone] = fills(server, uri, GAPS[:1])
    running = 0
    for _ in range(5):
        forget(server)
        server.notifications.clear()
        msg_id = server.begin_completion(uri, *GAPS[0])
        server.notification("midspan/status", kind="busy")
        server.notify("$/cancelRequest", {"id": msg_id})
        reply = server.reply(msg_id)
        if "error" in reply:
            assert reply["error"]["code"] == CANCELLED
            running += 1
        assert fills(server, uri, GAPS[:1]) == [alone]
    assert running, "no request was cancelled while it ran"


def test_typing_on_makes_an_answer_stale(server: Client) -> None:
    uri = opened(server)
    msg_id = server.begin_completion(uri, *GAPS[0])
    place = {"line": 9, "character": 21}
    server.change(uri, 2, {"range": {"start": place, "end": place}, "text": " "})
    assert server.result(msg_id) is None
    assert outcome(server) == "the text changed"


def test_closing_the_document_ends_its_request(server: Client) -> None:
    uri = opened(server)
    msg_id = server.begin_completion(uri, *GAPS[0])
    server.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    assert server.result(msg_id) is None


def test_a_burst_of_typing(server: Client) -> None:
    uri = opened(server)
    typed, ids = " radius if radius else 0", []
    for number, char in enumerate(typed):
        place = {"line": 9, "character": 21 + number}
        server.change(uri, number + 2, {"range": {"start": place, "end": place}, "text": char})
        ids.append(server.begin_completion(uri, 9, 22 + number, AUTOMATIC))
    results = [server.result(msg_id) for msg_id in ids]
    assert not server.replies, "a request was answered twice"
    final = CODE.replace("self.radius =\n", f"self.radius ={typed}\n")
    fresh = opened(server, final, name="fresh.py")
    assert results[-1] == server.result(server.begin_completion(fresh, 9, 21 + len(typed)))


def test_a_change_that_is_not_newer_changes_nothing(server: Client) -> None:
    uri = opened(server)
    before = fills(server, uri, GAPS)
    server.change(uri, 1, {"text": "not this"})
    assert fills(server, uri, GAPS) == before


# -- registration, settings, life of the model


@pytest.mark.parametrize("dynamic", [True, False])
def test_the_capability_is_offered_once(tmp_path: Path, dynamic: bool) -> None:
    launcher = Launcher(tmp_path / "stderr")
    try:
        client = launcher()
        capabilities = {"textDocument": {"inlineCompletion": {"dynamicRegistration": dynamic}}}
        result = client.initialize({"enable": False}, capabilities)
        assert ("inlineCompletionProvider" in result["capabilities"]) != dynamic
        client.request("textDocument/inlineCompletion", _completion("file:///a.py"))
        if dynamic:
            [registration] = client.asked("client/registerCapability")["registrations"]
            assert registration["method"] == "textDocument/inlineCompletion"
        else:
            client.shut_down()
            assert not client.requests
    finally:
        launcher.close()


def _completion(uri: str) -> dict[str, Any]:
    return {
        "textDocument": {"uri": uri},
        "position": {"line": 0, "character": 0},
        "context": {"triggerKind": INVOKED},
    }


def _loaded(client: Client) -> bool:
    """Whether the process has torch in it."""
    return any("libtorch" in region.path for region in psutil.Process(client.process.pid).memory_maps())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads a process's memory map")
def test_off_means_no_model_until_it_is_turned_on(start: Launcher) -> None:
    client = start(configuration={"enable": True, **MODEL})
    client.initialize({"enable": False, "trace": True, "status": True, **MODEL}, {"workspace": {"configuration": True}})
    client.notification("midspan/status", kind="off")
    uri = opened(client)
    assert client.result(client.begin_completion(uri, *GAPS[0])) is None
    assert outcome(client) == "off"
    assert not _loaded(client)
    client.notify("workspace/didChangeConfiguration", {"settings": None})  # the server is to ask
    client.notification("midspan/status", kind="ready", timeout=120)
    assert _loaded(client)
    assert psutil.Process(client.process.pid).memory_info().rss < 900e6
    client.notify("workspace/didChangeConfiguration", {"settings": {"midspan": {"enable": False}}})
    client.notification("midspan/status", kind="off")
    assert client.result(client.begin_completion(uri, *GAPS[0])) is None
    assert client.shut_down() == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads a process's memory map")
def test_initialize_is_answered_before_torch_is_loaded(start: Launcher) -> None:
    client = start()
    client.request("initialize", {"processId": os.getpid(), "rootUri": None, "capabilities": {}})
    assert not _loaded(client)


def test_a_request_while_the_model_loads(start: Launcher) -> None:
    client = start()
    client.initialize({**MODEL, "deadline": 0.05, "trace": True, "status": True})
    client.open("file:///project/circle.py", "python", CODE)
    impatient = client.begin_completion("file:///project/circle.py", *GAPS[0], AUTOMATIC)
    assert client.result(impatient) is None
    assert outcome(client) == "the model is still loading"
    client.notify("workspace/didChangeConfiguration", {"settings": {"deadline": 20}})
    while True:  # on a busy machine loading may outlast even a patient request
        client.result(client.begin_completion("file:///project/circle.py", *GAPS[0], INVOKED))
        trace = client.notification("midspan/trace")
        if trace["outcome"] != "the model is still loading":
            break
    assert trace["model"]


def test_a_model_that_cannot_be_loaded_is_told_once(start: Launcher, tmp_path: Path) -> None:
    client = start()
    client.initialize({"model": str(tmp_path), "trace": True, "status": True})
    uri = opened(client)
    for _ in range(3):
        assert client.result(client.begin_completion(uri, *GAPS[0])) is None
        assert outcome(client) == "there is no model"
    popups = [message["params"] for message in client.notifications if message["method"] == "window/showMessage"]
    popups += [{}] if client.shut_down() else []
    assert len(popups) == 1
    assert "config.json" in popups[0]["message"]


def test_bad_settings_are_told_in_the_log_and_not_in_a_popup(start: Launcher) -> None:
    client = start()
    client.initialize({"enable": False, "deadline": "soon", "colour": 1})
    client.request("textDocument/inlineCompletion", _completion("file:///a.py"))
    told = [
        message["params"]["message"] for message in client.notifications if message["method"] == "window/logMessage"
    ]
    assert len(told) == 2
    assert "'deadline'" in told[0] and "'colour'" in told[1]
    assert not [message for message in client.notifications if message["method"] == "window/showMessage"]


# -- what is known already


def test_typing_through_a_suggestion_is_answered_without_the_model(server: Client) -> None:
    uri = opened(server)
    [item] = fills(server, uri, GAPS[:1], AUTOMATIC)
    assert item is not None
    shown, place = item["insertText"], GAPS[0]
    text = CODE
    server.notifications.clear()
    for typed, char in enumerate(shown[:-1]):
        at = {"line": place[0], "character": place[1] + typed}
        server.change(uri, 2 + typed, {"range": {"start": at, "end": at}, "text": char})
        [rest] = fills(server, uri, [(place[0], place[1] + typed + 1)], AUTOMATIC)
        text = accepted(text, {"insertText": char, "range": {"start": at, "end": at}})
        assert rest is not None and rest["insertText"] == shown[typed + 1 :]
        assert accepted(text, rest) == accepted(CODE, item)
        assert server.notification("midspan/trace")["origin"] == "remembered"
    assert not [message for message in server.notifications if message["params"].get("kind") == "busy"]


def test_alternatives_are_different_and_fit_the_same_place(server: Client) -> None:
    uri = opened(server)
    counts = []
    for place in GAPS:
        [automatic] = [server.result(server.begin_completion(uri, *place, AUTOMATIC))]
        assert automatic is None or len(automatic["items"]) == 1
        result = server.result(server.begin_completion(uri, *place))
        items = result["items"] if result else []
        counts.append(len(items))
        assert len({item["insertText"] for item in items}) == len(items) <= 3
        assert len({str(item["range"]) for item in items}) <= 1
    assert max(counts) > 1


# -- clients without ghost text

MENU = {"textDocument": {"completion": {"completionItem": {"documentationFormat": ["markdown", "plaintext"]}}}}
GHOST = {"textDocument": {**MENU["textDocument"], "inlineCompletion": {"dynamicRegistration": False}}}


@pytest.mark.parametrize(("capabilities", "offered"), [(MENU, True), (GHOST, False), ({}, False)])
def test_the_menu_is_for_clients_without_ghost_text(
    start: Launcher, capabilities: dict[str, Any], offered: bool
) -> None:
    client = start()
    provided = client.initialize({"enable": False}, capabilities)["capabilities"]
    assert ("completionProvider" in provided) == offered
    params = {"textDocument": {"uri": "file:///a.py"}, "position": {"line": 0, "character": 0}}
    reply = client.reply(client.begin("textDocument/completion", params))
    assert ("error" in reply) != offered


def test_a_menu_has_one_entry_that_edits_one_line(start: Launcher) -> None:
    client = start()
    client.initialize({**MODEL, "minConfidence": 0, "status": True}, MENU)
    client.notification("midspan/status", kind="ready", timeout=120)
    uri = "file:///project/circle.py"
    text = CODE.replace("self.radius =\n", "self.radius = rad\n")
    client.open(uri, "python", text)
    lines, shown = text.split("\n"), 0
    for line, character in ((9, 25), (26, 15), (18, 25), (8, 14), (16, 11)):
        at = {"textDocument": {"uri": uri}, "position": {"line": line, "character": character}}
        menu = client.request("textDocument/completion", {**at, "context": {"triggerKind": 3}})
        assert menu["isIncomplete"] and len(menu["items"]) <= 1
        for item in menu["items"]:
            shown += 1
            edit, before = item["textEdit"], lines[line][:character]
            word = re.search(r"\w*$", before)
            assert word is not None
            start_, end = edit["range"]["start"], edit["range"]["end"]
            assert start_ == {"line": line, "character": word.start()}
            assert end == {"line": line, "character": len(lines[line])}
            assert edit["newText"].startswith(word[0]) and len(edit["newText"]) > len(word[0])
            assert item["filterText"].startswith(word[0]) and item["label"]
            assert item["insertTextFormat"] == 1 and not item.get("preselect")
            assert edit["newText"] in item["documentation"]["value"]
    assert shown
    at = {"textDocument": {"uri": uri}, "position": {"line": 4, "character": 8}}  # in a docstring
    assert client.request("textDocument/completion", at) == {"isIncomplete": True, "items": []}
    client.shut_down()


# -- telling


def test_why_there_was_no_suggestion(server: Client) -> None:
    uri = opened(server)
    server.result(server.begin_completion(uri, 4, 8))
    last = server.request("workspace/executeCommand", {"command": "midspan.why", "arguments": [uri, 1]})
    assert [(event["outcome"], event["position"]) for event in last] == [("no span here", [4, 8])]
    assert "comment" in last[0]["why"]
    assert len(server.request("workspace/executeCommand", {"command": "midspan.why"})) <= 10
    for arguments in ([1, "2"], [uri, -5], [None], []):
        answer = server.request("workspace/executeCommand", {"command": "midspan.why", "arguments": arguments})
        assert isinstance(answer, list)


def test_loading_has_a_progress_bar_where_the_client_has_one(start: Launcher) -> None:
    client = start()
    client.initialize({**MODEL, "status": True}, {"window": {"workDoneProgress": True}})
    client.notification("midspan/status", kind="ready", timeout=120)
    client.request("workspace/executeCommand", {"command": "midspan.why"})
    token = client.asked("window/workDoneProgress/create")["token"]
    told = [message["params"] for message in client.notifications if message["method"] == "$/progress"]
    assert {one["token"] for one in told} == {token}
    kinds = [one["value"]["kind"] for one in told]
    assert kinds[0] == "begin" and kinds[-1] == "end" and set(kinds[1:-1]) <= {"report"}
    assert client.shut_down() == 0


def test_a_project_can_only_ask_for_less(start: Launcher, tmp_path: Path) -> None:
    (tmp_path / "midspan.toml").write_text('exclude = ["private.py"]\nmodel = "/tmp"\n')
    client = start()
    client.initialize({"load": "use", "trace": True}, rootUri=tmp_path.as_uri())
    uri = (tmp_path / "private.py").as_uri()
    for _ in range(2):
        opened_here = client.begin_completion(uri, 0, 4)
        client.result(opened_here)
        client.open(uri, "python", "x = \n")
        client.result(client.begin_completion(uri, 0, 4))
        assert outcome(client) == "excluded"
    told = [
        message["params"]["message"] for message in client.notifications if message["method"].endswith("logMessage")
    ]
    assert len([one for one in told if "'model' may not be set by a project" in one]) == 1
