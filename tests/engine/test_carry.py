"""A folder cut into parts comes back whole, or not at all."""

import os
from pathlib import Path

import pytest
from midspan.engine.training.carry import join, split


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    (folder / "deep").mkdir(parents=True)
    (folder / "text").write_bytes(bytes(i * i % 251 for i in range(200_000)))
    (folder / "deep" / "empty").touch()
    return folder


def test_parts_join_to_what_was_split(folder: Path, tmp_path: Path) -> None:
    parts = split(folder, tmp_path / "parts", part_bytes=100)
    assert len(parts) > 3 and all(path.stat().st_size <= 100 for path in parts)
    join(tmp_path / "parts", tmp_path / "back")
    for path in ("text", "deep/empty"):
        assert (tmp_path / "back" / path).read_bytes() == (folder / path).read_bytes()


def test_the_same_files_give_the_same_parts(folder: Path, tmp_path: Path) -> None:
    first = split(folder, tmp_path / "one", part_bytes=100)
    os.utime(folder / "text", (1, 1))
    second = split(folder, tmp_path / "two", part_bytes=100)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_some_folders_alone_can_travel(folder: Path, tmp_path: Path) -> None:
    split(folder, tmp_path / "parts", part_bytes=100, only=["deep"])
    join(tmp_path / "parts", tmp_path / "back")
    assert (tmp_path / "back" / "deep" / "empty").exists() and not (tmp_path / "back" / "text").exists()


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_half_a_transfer_is_refused(folder: Path, tmp_path: Path, damage: str) -> None:
    parts = split(folder, tmp_path / "parts", part_bytes=100)
    if damage == "missing":
        parts[1].unlink()
    else:
        parts[1].write_bytes(b"\0" * 100)
    with pytest.raises(ValueError, match=r"lacks part\.001|checksum"):
        join(tmp_path / "parts", tmp_path / "back")
    assert not (tmp_path / "back").exists()
