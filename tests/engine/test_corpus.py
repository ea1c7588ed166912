"""What the corpus lets through, and what the tokenizer gives back."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from midspan.engine import bundled
from midspan.engine.training import archives, corpus, filters, packages
from midspan.engine.training import tokenizer as tokenizing
from midspan.engine.training.corpus import Builder, Documents
from midspan.engine.training.filters import Benchmarks, Seen
from midspan.engine.training.packages import Package, PackageError
from midspan.engine.training.tokenizer import SPECIAL, train
from tokenizers import Tokenizer

SOURCES = sorted(Path(corpus.__file__).parents[1].glob("**/*.py"))
CODE = '''"""Queues with a bounded wait."""

import time


class BoundedQueue:
    def __init__(self, capacity, clock=time.monotonic):
        self.capacity = capacity
        self.items = []
        self.clock = clock

    def put(self, item, timeout):
        deadline = self.clock() + timeout
        while len(self.items) >= self.capacity:
            if self.clock() > deadline:
                raise TimeoutError(f"no room for {item!r}")
        self.items.append(item)
'''


def _package(name: str = "sample", split: str = "train", **more) -> Package:
    return Package("python", name, "1.0", "MIT", split, **more)


def _other(n: int) -> str:
    """Plausible code that shares no line with `_other` of another number."""
    lines = [f"    total_{n}_{i} = measure_{n}(sample_{i}, offset={i})" for i in range(10)]
    return "\n".join([f"def summarise_{n}(sample):", *lines, f"    return total_{n}_0\n"])


def test_an_ordinary_file_is_kept():
    assert filters.reject("sample/queue.py", CODE) is None


@pytest.mark.parametrize(
    ("reason", "path", "text"),
    [
        ("tiny", "a.py", "x = 1\n"),
        ("huge", "a.py", CODE * 1000),
        ("built", "lib/a.min.js", CODE),
        ("built", "dist/a.js", CODE),
        ("vendored", "pip/_vendor/a.py", CODE),
        ("generated", "a.py", "# This file was automatically generated from a.proto\n" + CODE),
        ("generated", "a.js", "// DO NOT EDIT\n" + CODE),
        ("long lines", "a.js", CODE + "var a=" + "b(c);" * 300 + "\n"),
        ("long lines", "a.js", ("function q(a,b){return a+b};" * 7 + "\n") * 9),
        ("table", "a.py", "TABLE = [\n" + "    (0.1234, 0.5678, 0.9101),\n" * 40 + "]\n"),
        ("table", "a.py", "WORDS = [\n" + '    "harvest",\n    "meadow",\n' * 40 + "]\n"),
        ("secret", "a.py", CODE + 'KEY = """-----BEGIN RSA PRIVATE KEY-----"""\n'),
        ("secret", "a.py", CODE + 'TOKEN = "ghp_' + "aB3" * 12 + '"\n'),
        ("secret", "a.py", CODE + 'TOKEN = "AKIA' + "Z" * 16 + '"\n'),
        ("names a benchmark", "a.py", CODE + "# scored on HumanEval\n"),
    ],
)
def test_what_is_not_worth_learning_is_rejected_with_its_reason(reason, path, text):
    assert filters.reject(path, text) == reason


def test_about_three_tenths_of_the_tests_stay():
    kept = sum(filters.reject(f"pkg/tests/test_{i}.py", CODE) is None for i in range(1000))
    assert 250 < kept < 350
    assert all(filters.reject(f"pkg/contest_{i}.py", CODE) is None for i in range(100))


def test_text_is_cleaned_to_plain_lines():
    assert filters.clean(b"\xef\xbb\xbfx = 1  \r\ny = 2\r\n\r\n") == "x = 1\ny = 2\n"
    assert filters.clean(b"\xff\xfe\x00") is None
    assert filters.clean(b"a\x00b") is None


def test_only_the_ownership_header_goes():
    header = "#!/usr/bin/env python\n# Copyright (c) somebody\n# Licensed under terms\n\n"
    assert filters.clean((header + CODE).encode()) == CODE
    assert filters.clean(("/*\n * SPDX-License-Identifier: MIT\n */\n" + CODE).encode()) == CODE
    told = "# How the queue waits\n" + CODE
    assert filters.clean(told.encode()) == told


def test_a_copy_is_seen_through_its_layout():
    seen = Seen()
    assert seen.duplicate(CODE) is None
    assert seen.duplicate(CODE) == "exact copy"
    assert seen.duplicate(CODE.replace("    ", "\t").replace(" = ", "=")) == "near copy"
    assert seen.duplicate(_other(1)) is None


@pytest.fixture
def benchmark(tmp_path: Path) -> Benchmarks:
    start, middle, end = CODE[:200], CODE[200:240], CODE[240:]
    row = {"prompt": start, "suffix": end, "canonical_solution": middle, "task_id": "T/0", "n": 1}
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "tasks.jsonl.gz").write_bytes(gzip.compress(json.dumps(row).encode()))
    return Benchmarks.read(tmp_path)


def test_a_planted_benchmark_copy_is_caught_in_any_layout(benchmark: Benchmarks):
    assert benchmark.overlap(_other(1) + CODE + _other(2))
    assert benchmark.overlap(CODE.replace("\n", "\r\n").upper())
    assert benchmark.overlap(CODE[150:290]), "the run across the gap counts too"
    assert not benchmark.overlap(_other(1))


def test_the_builder_drops_and_names_contaminated_files(benchmark: Benchmarks):
    builder = Builder(["python"], benchmark)
    files = [("good.py", _other(1).encode()), ("bad.py", (_other(2) + CODE).encode())]
    builder.add(_package(), iter(files))
    assert builder.contaminated == ["sample: bad.py"]
    assert [entry["path"] for entry in builder.shards["train", "python"].index] == ["good.py"]


def test_an_empty_benchmark_folder_is_an_error_not_a_silent_pass(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no \.jsonl"):
        Benchmarks.read(tmp_path)


def test_training_loses_the_copy_of_held_out_code_and_reads_back_exactly(tmp_path: Path):
    builder = Builder(["python"], Benchmarks([]))
    builder.add(_package("held", "val"), iter([("held/queue.py", CODE.encode())]))
    mine = {"a.py": _other(1), "b.py": _other(2) + "# naïve — ✓\n", "copied.py": CODE + "\nqueue = None\n"}
    builder.add(_package(), iter((path, text.encode()) for path, text in mine.items()))
    for (split, language), shard in builder.shards.items():
        shard.write(tmp_path, split, language)
    train_documents = Documents("train", "python", tmp_path)
    assert list(train_documents) == [mine["a.py"], mine["b.py"]]
    assert train_documents.packages == ["sample 1.0", "sample 1.0"]
    assert train_documents.sizes.tolist() == [len(mine[path].encode()) for path in ("a.py", "b.py")]
    assert list(Documents("val", "python", tmp_path)) == [CODE]
    assert len(Documents("tune", "python", tmp_path)) == 0
    assert builder.dropped["near copy"] == 1
    with pytest.raises(IndexError):
        train_documents[2]


def test_no_package_takes_more_than_its_share():
    builder = Builder(["python"], Benchmarks([]))
    files = [(f"{i}.py", _other(i).encode()) for i in range(50)]
    builder.add(_package(cap_mb=0.005), iter(files))
    assert 0 < builder.shards["train", "python"].offsets[-1] <= 5000


def _wheel(path: Path, metadata: str, more: dict[str, str] | None = None) -> Path:
    contents = {"sample/a.py": CODE, "sample/data.json": "{}", "sample-1.0.dist-info/METADATA": metadata}
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in (contents | (more or {})).items():
            wheel.writestr(name, text)
    return path


def test_a_wheel_gives_its_sources(tmp_path: Path):
    wheel = _wheel(tmp_path / "sample-1.0-py3-none-any.whl", "Name: sample\nLicense-Expression: MIT\n\n")
    assert list(archives.sources(_package(), wheel)) == [("sample/a.py", CODE.encode())]


def test_a_wheel_that_states_no_licence_is_known_by_its_licence_text(tmp_path: Path):
    text = {"sample-1.0.dist-info/licenses/LICENSE": "Permission is hereby granted, free of charge, to any person"}
    wheel = _wheel(tmp_path / "sample-1.0-py3-none-any.whl", "Name: sample\n\n", text)
    assert len(list(archives.sources(_package(), wheel))) == 1


@pytest.mark.parametrize(
    "stated",
    [
        "License-Expression: GPL-3.0-or-later",
        "License: UNLICENSED",
        "License: MIT\nClassifier: License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)",
        "Summary: says nothing",
    ],
)
def test_a_licence_that_is_not_permissive_stops_the_build(tmp_path: Path, stated: str):
    wheel = _wheel(tmp_path / "sample-1.0-py3-none-any.whl", f"Name: sample\n{stated}\n\n")
    with pytest.raises(PackageError, match=r"sample 1\.0: licence .* is not on the permissive list"):
        list(archives.sources(_package(), wheel))


@pytest.mark.parametrize(
    ("licence", "good"),
    [
        ("MIT", True),
        ("Apache-2.0 AND MIT", True),
        ("GPL-2.0 OR MIT", True),
        ("MIT AND GPL-2.0", False),
        ("GPL-3+ or Apache-2.0", True),
        ("Expat", True),
        ("MPL-2.0", False),
        ("LGPL-3.0", False),
        ("", False),
    ],
)
def test_permissive_licences(licence: str, good: bool):
    assert archives.is_permissive(licence) is good


def test_an_npm_package_gives_its_scripts(tmp_path: Path):
    path = tmp_path / "sample-1.0.tgz"
    files = {"package.json": '{"license": "ISC"}', "lib/a.js": CODE, "src/b.ts": CODE, "README.md": "hello"}
    with tarfile.open(path, "w:gz") as tarball:
        for name, text in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            tarball.addfile(member, io.BytesIO(text.encode()))
    found = list(archives.sources(Package("javascript", "sample", "1.0", "ISC", "train"), path))
    assert [name for name, _ in found] == ["lib/a.js", "src/b.ts"]


DEBIAN_COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: lib/copied.go debian/*
Copyright: somebody
License: GPL-2+

Files: *
Copyright: somebody
License: House-style

Files: src/tools/* compat.h
Copyright: somebody else
License: LGPL-2.1

License: House-style
 Permission is hereby granted, free of charge, to any person
 .
 obtaining a copy

License: LGPL-2.1
 See /usr/share/common-licenses.
"""


def _deb(folder: Path, contents: dict[str, str]) -> Path:
    root = folder / "root"
    control = {"DEBIAN/control": "Package: sample\nVersion: 1:1.0\nArchitecture: all\nMaintainer: a\nDescription: b\n"}
    for name, text in (control | contents).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    path = folder / "sample_1%3a1.0_all.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", root, path], check=True, capture_output=True)
    return path


needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="Debian's tools are not here")


@needs_dpkg
def test_a_debian_package_gives_its_sources_without_those_under_another_licence(tmp_path: Path):
    files = ["a.go", "lib.rs", "x/b.hpp", "src/tools/c.c", "compat.h", "lib/copied.go", "setup.py"]
    contents = {f"usr/share/sample/{name}": CODE for name in files}
    deb = _deb(tmp_path, contents | {"usr/share/doc/sample/copyright": DEBIAN_COPYRIGHT})
    package = Package("debian", "sample", "1:1.0", "MIT", "train")
    kept = [f"usr/share/sample/{name}" for name in ("a.go", "lib.rs", "x/b.hpp")]
    assert [name for name, _ in archives.sources(package, deb)] == kept
    (tmp_path / "apt-get").mkdir()
    deb.rename(tmp_path / "apt-get" / deb.name)
    assert package.fetch(tmp_path) == tmp_path / "apt-get" / deb.name, "an epoch's colon is escaped in the file's name"


@needs_dpkg
def test_half_a_debian_package_is_said_to_be_damaged(tmp_path: Path):
    deb = _deb(tmp_path, {"usr/include/a.h": CODE})
    deb.write_bytes(deb.read_bytes()[:100])
    with pytest.raises(PackageError, match="is damaged"):
        list(archives.sources(Package("debian", "sample", "1:1.0", "MIT", "train"), deb))


@needs_dpkg
@pytest.mark.parametrize("stated", ["Files: *\nLicense: GPL-2+\n", "Plain words, no format.\n", ""])
def test_a_debian_package_under_no_permissive_licence_stops_the_build(tmp_path: Path, stated: str):
    deb = _deb(tmp_path, {"usr/include/a.h": CODE, "usr/share/doc/sample/copyright": stated})
    with pytest.raises(PackageError, match=r"sample 1:1\.0: licence .* is not on the permissive list"):
        list(archives.sources(Package("debian", "sample", "1:1.0", "MIT", "train"), deb))


def test_the_list_is_pinned_permissive_and_keeps_whole_packages_apart():
    listed = packages.read_list()
    assert all(p.version and archives.is_permissive(p.licence) for p in listed)
    assert len({(p.ecosystem, p.name) for p in listed}) == len(listed)
    held = {p.name for p in listed if p.split != "train"}
    assert {"httpx", "tornado", "attrs", "koa", "flask", "click"} <= held
    table = corpus.third_party(listed)
    assert all(f"| {p.name} | {p.version} | {p.licence} |" in table for p in listed)


def test_an_unreadable_benchmark_folder_ends_the_command_with_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MIDSPAN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "none").mkdir()
    assert corpus.main(["--benchmarks", str(tmp_path / "none")]) == 1
    said = capsys.readouterr().out
    assert "no .jsonl or .jsonl.gz file" in said
    assert "Traceback" not in said


def _shipped() -> list[Path]:
    return sorted(Path(bundled.__file__).parent.glob("*/tokenizer.json"))


@pytest.fixture(scope="module", params=["trained here", *(str(path.parent.name) for path in _shipped())])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    if request.param == "trained here":
        texts = [path.read_text(encoding="utf-8") for path in SOURCES]
        return train(iter([*texts, "x = 2048\n\n\n\n1000, 2048\n" * 500]), vocabulary=600)
    return Tokenizer.from_file(str(Path(bundled.__file__).parent / request.param / "tokenizer.json"))


TEXT = st.text() | st.lists(
    st.sampled_from(["\n", "\r\n", "    ", "\t", " ", "  ", "0", "9", "é", "🙂", "def", "_x", "<", ">", *SPECIAL])
).map("".join)


@settings(max_examples=200, deadline=None)
@given(text=TEXT)
@example(text="<mask>\n<lang:python> <pad><reserved:31>")
@example(text="\ufeff\u2028 \u00a0\t x\r\r\n\n  \n")
def test_every_text_comes_back_and_never_as_special_ids(tokenizer: Tokenizer, text: str):
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert all(i >= len(SPECIAL) for i in ids)


@settings(max_examples=100, deadline=None)
@given(text=TEXT)
@example(text="x = 2048\n\n\n\n1000")
def test_lines_and_digits_stand_apart(tokenizer: Tokenizer, text: str):
    encoding = tokenizer.encode(text, add_special_tokens=False)
    for token in encoding.tokens:
        assert "Ċ" not in token or token == "Ċ"
        assert sum(c.isascii() and c.isdigit() for c in token) <= 1
    lines = text.split("\n")
    apart = [tokenizer.encode(line, add_special_tokens=False).ids for line in lines]
    newline = tokenizer.token_to_id("Ċ")
    joined = [i for n, line in enumerate(apart) for i in ([newline] if n else []) + line]
    assert encoding.ids == joined, "a line is encoded alike wherever it stands"


def test_the_special_ids_are_the_documented_ones(tokenizer: Tokenizer):
    assert [tokenizer.token_to_id(name) for name in SPECIAL] == list(range(32))
    assert SPECIAL.index("<mask>") == 3
    assert SPECIAL.index("<delete>") == 4
    assert SPECIAL.index("<lang:other>") == 18


def test_an_indentation_is_one_token(tokenizer: Tokenizer):
    for width in (4, 8, 12):
        assert tokenizer.encode(" " * width + "return", add_special_tokens=False).tokens[0] == "Ġ" * width


def test_the_ids_fit_the_token_files(tokenizer: Tokenizer):
    assert tokenizer.get_vocab_size() <= np.iinfo(np.uint16).max + 1


def test_the_tokenizer_is_the_one_that_ships_unless_a_new_one_is_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MIDSPAN_CACHE", str(tmp_path))
    assert tokenizing.main([]) == 1
    assert "build the corpus first" in " ".join(capsys.readouterr().out.split())
    builder = Builder(["python"], Benchmarks([]))
    builder.add(_package(), iter([("a.py", CODE.encode())]))
    (tmp_path / "corpus").mkdir()
    for (split, language), shard in builder.shards.items():
        shard.write(tmp_path / "corpus", split, language)
    assert tokenizing.main([]) == 0
    written = tmp_path / "tokenizer" / "tokenizer.json"
    assert written.read_bytes() == tokenizing.SHIPPED.read_bytes()
    assert tokenizing.main(["--retrain", "--vocabulary", "512"]) == 0
    assert written.read_bytes() != tokenizing.SHIPPED.read_bytes()
