"""Registration, settings, and the life of the model, as an editor sees them."""

import os
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from midspan.lsp.wire.client import AUTOMATIC, INVOKED, Client

from .circle import CODE, GAPS, MODEL, opened, outcome
from .conftest import Launcher


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
