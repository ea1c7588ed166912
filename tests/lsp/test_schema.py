"""What is generated from the one schema says the same everywhere."""

import json
import subprocess
import sys
from typing import Any

import pytest
from midspan.lsp.settings import schema
from midspan.lsp.settings.settings import OPTIONS, resolve


def test_every_default_is_a_value_of_its_option() -> None:
    for option in OPTIONS.values():
        assert not resolve({option.name: option.default})[1], option.name


@pytest.mark.parametrize("name", [name for name, option in OPTIONS.items() if not option.wire])
def test_editors_offer_what_the_server_takes(name: str) -> None:
    offered = schema.vscode_properties()[f"midspan.{name}"]
    assert offered["default"] == OPTIONS[name].default
    values: list[Any] = [*offered.get("enum", ()), *(offered[end] for end in ("minimum", "maximum") if end in offered)]
    if offered["type"] == "boolean":
        values += [True, False]
    for value in values:
        assert not resolve({name: value})[1], value
    if "maximum" in offered:
        assert resolve({name: offered["maximum"] + 1})[1]


def test_what_a_client_sets_for_itself_is_offered_to_nobody() -> None:
    text = schema.readme_section() + schema.vim_section() + json.dumps(schema.vscode_properties())
    assert "midspan.trace" not in text and "`status`" not in text


def test_an_untrusted_workspace_cannot_choose_what_is_loaded_or_looked_at() -> None:
    restricted = set(schema.vscode_restricted())
    assert {"midspan.model", "midspan.device", "midspan.exclude"} <= restricted
    for name, offered in schema.vscode_properties().items():
        assert (offered["scope"] == "machine") == (name in restricted)


def test_the_help_keeps_to_its_width() -> None:
    assert all(len(line) <= schema.VIM_WIDTH for line in schema.vim_section().splitlines())


@pytest.mark.parametrize(("path", "made"), schema.PLACES, ids=lambda value: getattr(value, "name", ""))
def test_the_files_agree_with_the_schema(path: Any, made: Any) -> None:
    if not path.exists():
        pytest.skip("not there yet")
    text = path.read_text(encoding="utf-8")
    wanted = made(text)
    if wanted is None:
        pytest.skip("has no place for the settings yet")
    if path == schema.PACKAGE and "midspan.debounce" not in text:
        pytest.skip("was not written from the schema yet")
    hint = "run `python -m midspan.lsp.settings.schema --write`"
    if path == schema.PACKAGE:  # how it is laid out is its owner's
        assert json.loads(text) == json.loads(wanted), hint
    else:
        assert text == wanted, hint


def test_the_command_prints_all_three() -> None:
    command = [sys.executable, "-m", "midspan.lsp.settings.schema"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert schema.readme_section() in printed and schema.vim_section() in printed
    assert subprocess.run([*command, "--wrong"], capture_output=True, timeout=60, check=False).returncode == 2


def test_writing_twice_changes_nothing() -> None:
    readme = f"# A\n\n{schema.README_MARKS[0]}old\n{schema.README_MARKS[1]}\n\nend\n"
    once = schema.with_readme(readme)
    assert once is not None and schema.readme_section() in once and once.endswith("\n\nend\n")
    assert schema.with_readme(once) == once
    assert schema.with_readme("no marks") is None
    package = json.dumps(
        {"contributes": {"configuration": {"title": "x"}}, "capabilities": {"untrustedWorkspaces": {}}}
    )
    written = schema.with_package(package)
    assert written is not None and schema.with_package(written) == written
    assert schema.with_package("{}") is None
