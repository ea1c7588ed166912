"""Gaps cut for fitting and measuring come with the files that stand beside theirs, and never with the answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from midspan.engine.training.cases import LONGEST_FILE, MOST_BESIDE, Case, Folders, cases
from midspan.engine.training.corpus import Documents

FILES = {
    ("one 1.0", "pkg/main.py"): "from .zeta import last\n" + "".join(f"main_{n} = last({n})\n" for n in range(50)),
    ("one 1.0", "pkg/alpha.py"): "alpha = 1\n",
    ("one 1.0", "pkg/long.py"): "long = 1\n" * 8_000,
    ("one 1.0", "pkg/zeta.py"): "def last(n):\n    return n\n",
    ("one 1.0", "pkg/sub/main.py"): "sub = 1\n" * 30,
    ("two 1.0", "pkg/alpha.py"): "another = 1\n" * 30,
}


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(tmp_path, monkeypatch, FILES)


def lay_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[tuple[str, str], str]) -> None:
    """files: texts by package and path."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "val.python.txt").write_text("".join(files.values()))
    np.save(folder / "val.python.offsets.npy", np.cumsum([0, *map(len, files.values())]))
    index = [json.dumps({"path": path, "package": package}) + "\n" for package, path in files]
    (folder / "val.python.index.jsonl").write_text("".join(index))
    monkeypatch.setenv("MIDSPAN_CACHE", str(tmp_path))


@pytest.mark.parametrize("kind", ["rest", "line", "inside", "lines"])
def test_what_stands_beside_a_gap(corpus: None, kind: str) -> None:
    found = cases("val", kind, 60, seed=1)
    texts = {f"{package.split()[0]}/{path}": text for (package, path), text in FILES.items()}
    for case in found:
        assert case.prefix + case.truth + case.suffix == texts[case.path]
        assert ("\n" in case.truth) == (kind == "lines") and case.truth.strip()
        assert bool(case.suffix.split("\n")[0].strip()) == (kind == "inside")
        names = [path for path, _ in case.beside]
        assert case.path not in names
        assert all(name.rpartition("/")[0] == case.path.rpartition("/")[0] for name in names)
        assert all(texts[name].startswith(text) and text.endswith("\n") for name, text in case.beside)
        assert sum(map(len, case.library)) <= MOST_BESIDE


@pytest.mark.parametrize(
    ("text", "below"),
    [
        ("def f(x):\n    ║y = x║\n\n    if y:\n        go()\n    return y\n\n\ndef g():\n", "\n\n\ndef g():\n"),
        ("def f(x):\n    y = ║x║\n    return y\n", "\n"),
        ("if (x) {\n  ║go();║\n  stop();\n}\nend();\n", "\n}\nend();\n"),
        ("if x:\n    ║if y:║\n        go()\nelse:\n    stop()\n", "\nelse:\n    stop()\n"),
        ("║class A:║\n    a = 1\n\n    b = 2\n\nc = 3\n", "\n\nc = 3\n"),
        ("║a = 1║\nb = 2\n", "\nb = 2\n"),
        ("def f():\n    ║return 1║\n\n\n", "\n\n\n"),
        ("def f():\n    ║return 1║", ""),
    ],
)
def test_while_a_block_is_written_nothing_of_it_stands_below(text: str, below: str) -> None:
    case = Case(*text.split("║"), path="a.py")
    assert case.while_writing() == Case(case.prefix, case.truth, below, case.path)


def test_a_next_line_has_others_of_its_block_behind_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(tmp_path, monkeypatch, {("one 1.0", "a.py"): "def f():\n    one()\n    two()\n    six()\n"})
    found = {case.truth: case for case in cases("val", "next", 60, seed=1)}
    assert sorted(found) == ["def f():", "one()", "two()"]
    assert found["two()"].prefix == "def f():\n    one()\n    " and found["two()"].suffix == "\n"


def test_what_is_imported_comes_first_and_long_files_are_cut(corpus: None) -> None:
    folders = Folders(Documents("val", "python"))
    beside = folders.beside(0, FILES["one 1.0", "pkg/main.py"])
    assert [path for path, _ in beside] == ["one/pkg/zeta.py", "one/pkg/alpha.py", "one/pkg/long.py"]
    assert len(beside[2][1]) <= LONGEST_FILE < len(FILES["one 1.0", "pkg/long.py"])
    assert folders.beside(5, "") == ()
