"""Gaps cut for fitting and measuring come with the files that stand beside theirs, and never with the answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from midspan.engine.training.cases import LONGEST_FILE, MOST_BESIDE, Folders, cases
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
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "val.python.txt").write_text("".join(FILES.values()))
    np.save(folder / "val.python.offsets.npy", np.cumsum([0, *map(len, FILES.values())]))
    index = [json.dumps({"path": path, "package": package}) + "\n" for package, path in FILES]
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


def test_what_is_imported_comes_first_and_long_files_are_cut(corpus: None) -> None:
    folders = Folders(Documents("val", "python"))
    beside = folders.beside(0, FILES["one 1.0", "pkg/main.py"])
    assert [path for path, _ in beside] == ["one/pkg/zeta.py", "one/pkg/alpha.py", "one/pkg/long.py"]
    assert len(beside[2][1]) <= LONGEST_FILE < len(FILES["one 1.0", "pkg/long.py"])
    assert folders.beside(5, "") == ()
