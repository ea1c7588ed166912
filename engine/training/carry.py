"""Files in parts, for a training machine that only small transfers reach.

    python -m midspan.engine.training.carry split FOLDER PARTS [--mb 32] [--only SUBFOLDER ...]
                                                                            FOLDER's files, compressed, as part.000 …
    python -m midspan.engine.training.carry join PARTS FOLDER               and back; every part has to be there

The parts are one xz-compressed tar archive, cut; a checksum of the whole stands in `parts.json`, which is written last,
so half a transfer is never taken for all of it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

INDEX = "parts.json"


def split(folder: Path, parts: Path, part_bytes: int, only: Sequence[str] = ()) -> list[Path]:
    """Writes the parts of `folder`, or of some folders in it, into `parts` and returns them."""
    parts.mkdir(parents=True, exist_ok=True)
    archive = parts / "whole.tar.xz"
    with lzma.open(archive, "wb", preset=6) as compressed, tarfile.open(fileobj=compressed, mode="w") as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and (not only or path.relative_to(folder).parts[0] in only):
                tar.add(path, path.relative_to(folder), filter=_plain)
    digest, written = hashlib.blake2b(digest_size=16), []
    with archive.open("rb") as whole:
        while piece := whole.read(part_bytes):
            digest.update(piece)
            written.append(parts / f"part.{len(written):03}")
            written[-1].write_bytes(piece)
    archive.unlink()
    (parts / INDEX).write_text(json.dumps({"parts": len(written), "blake2b": digest.hexdigest()}))
    return written


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without times and owners: the same files give the same parts, so parts of two calls fit together."""
    entry.mtime = entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def join(parts: Path, folder: Path) -> None:
    """Unpacks the parts into `folder`. Raises ValueError when one is missing or damaged."""
    index = json.loads((parts / INDEX).read_text())
    names = [parts / f"part.{number:03}" for number in range(index["parts"])]
    missing = [path.name for path in names if not path.is_file()]
    if missing:
        raise ValueError(f"{parts} lacks {', '.join(missing)}")
    digest = hashlib.blake2b(digest_size=16)
    for path in names:
        digest.update(path.read_bytes())
    if digest.hexdigest() != index["blake2b"]:
        raise ValueError(f"{parts} is damaged: its checksum differs")
    with tarfile.open(fileobj=_Joined(names), mode="r|xz") as tar:  # type: ignore[call-overload]
        tar.extractall(folder, filter="data")


class _Joined:
    """The parts as one stream: all of a file that tarfile's stream mode asks for."""

    def __init__(self, names: Sequence[Path]) -> None:
        self._pieces, self._rest = self._read(names), b""

    @staticmethod
    def _read(names: Sequence[Path]) -> Iterator[bytes]:
        for path in names:
            yield path.read_bytes()

    def read(self, n_bytes: int) -> bytes:
        while len(self._rest) < n_bytes and (piece := next(self._pieces, None)) is not None:
            self._rest += piece
        taken, self._rest = self._rest[:n_bytes], self._rest[n_bytes:]
        return taken


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("what", choices=("split", "join"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--mb", type=float, default=32, help="size of a part")
    parser.add_argument("--only", nargs="+", default=[], help="folders in it, instead of all it holds")
    args = parser.parse_args(argv)
    if args.what == "split":
        for path in split(args.source, args.target, int(args.mb * 1e6), args.only):
            print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
        return 0
    try:
        join(args.source, args.target)
    except (OSError, ValueError) as error:
        print(f"carry: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
