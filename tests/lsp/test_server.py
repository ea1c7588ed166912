"""Suggestions, as an editor gets them from a real server with the bundled model."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from midspan.lsp.documents import Document
from midspan.lsp.wire.client import AUTOMATIC, INVOKED, Client

from .circle import CODE, GAPS, MODEL, forget, opened, outcome
from .conftest import Launcher

CANCELLED = -32800


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
    typed, ids = " radius if radi", []
    for number, char in enumerate(typed):
        place = {"line": 9, "character": 21 + number}
        server.change(uri, number + 2, {"range": {"start": place, "end": place}, "text": char})
        ids.append(server.begin_completion(uri, 9, 22 + number, AUTOMATIC))
    results = [server.result(msg_id) for msg_id in ids]
    assert not server.replies, "a request was answered twice"
    final = CODE.replace("self.radius =\n", f"self.radius ={typed}\n")
    fresh = opened(server, final, name="fresh.py")
    assert results[-1] == server.result(server.begin_completion(fresh, 9, 21 + len(typed), AUTOMATIC))
    assert results[-1] is not None


def test_a_change_that_is_not_newer_changes_nothing(server: Client) -> None:
    uri = opened(server)
    before = fills(server, uri, GAPS)
    server.change(uri, 1, {"text": "not this"})
    assert fills(server, uri, GAPS) == before


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
