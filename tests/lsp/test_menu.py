"""Clients without ghost text: fills as entries of the completion menu."""

import re
from typing import Any

import pytest

from .circle import CODE, MODEL
from .conftest import Launcher

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
