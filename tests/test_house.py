"""The house keeps its rules: imports run one way, packages that ship are listed, the README's tree is true."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = {"engine": set(), "grammars": set(), "lsp": {"engine", "grammars"}}
WIRE = {"server.py", "transport.py", "protocol.py"}  # the modules of lsp/ that may know the protocol's types


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path) -> list[tuple[int, str]]:
    """(level, dotted name) of every import in a file, also those inside functions."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or ""))
            if not node.module:
                found += [(node.level, alias.name) for alias in node.names]
    return found


@pytest.mark.parametrize("folder", LAYERS)
def test_imports_run_one_way(folder: str) -> None:
    for path in modules(folder):
        depth = len(path.relative_to(ROOT).parts) - 1
        for level, name in imports(path):
            top = name.split(".")[0]
            if level == 0:
                assert top not in {*LAYERS, "midspan"}, f"{path}: absolute import of {name}"
            elif level > depth:
                assert level == depth + 1, f"{path}: import reaches outside the repository"
                assert not top or top in LAYERS[folder] | {folder}, f"{path}: {folder} must not import {top}"


def test_only_the_wire_knows_the_protocol() -> None:
    for path in modules("lsp"):
        if path.name not in WIRE:
            known = {name.split(".")[0] for level, name in imports(path) if level == 0}
            assert not known & {"pygls", "lsprotocol"}, f"{path} imports the protocol's types"


def test_every_package_ships() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    on_disk = {
        "midspan." + ".".join(path.parent.relative_to(ROOT).parts)
        for folder in LAYERS
        for path in modules(folder)
        if path.name == "__init__.py"
    }
    assert set(listed) == on_disk


def test_top_level_is_the_fixed_one() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    folders = {name.split("/")[0] for name in tracked if "/" in name}
    assert folders <= {"lsp", "engine", "grammars", "tests", "editors", ".ci", ".github"}


def test_readme_tree_is_true() -> None:
    """Every path in README's tree exists, and every module and package of the three folders' first level is in it."""
    tree = re.search(r"```text\n(lsp/.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert tree, "README.md has no tree"
    shown: set[str] = set()
    folder = ""
    for line in tree[1].splitlines():
        name = line.split()[0] if line.split() else ""
        if not name:
            continue
        if not line.startswith(" "):
            folder = name
            shown.add(folder)
            assert (ROOT / folder).is_dir(), folder
        else:
            shown.add(folder + name)
            assert (ROOT / folder / name).exists(), folder + name
    for top in LAYERS:
        modules_here = {f"{top}/{path.name}" for path in (ROOT / top).glob("[!_]*.py")}
        packages_here = {f"{top}/{path.parent.name}/" for path in (ROOT / top).glob("*/__init__.py")}
        assert modules_here | packages_here <= shown, f"README's tree lacks {(modules_here | packages_here) - shown}"


@pytest.mark.parametrize("path", [p for folder in LAYERS for p in modules(folder)], ids=lambda p: p.name)
def test_files_can_be_read_in_a_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
