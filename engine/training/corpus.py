"""Builds the text that midspan-mini is trained, tuned and validated on.

    python -m midspan.engine.training.corpus [--languages python javascript ...] [--benchmarks DIR]

Contract: one command, cached under `$MIDSPAN_CACHE` (default `~/.cache/midspan`); reads `packages.toml`,
writes for every split (train, val, tune) and language

    corpus/{split}.{language}.txt           UTF-8, the documents one after the other
    corpus/{split}.{language}.offsets.npy   int64 [documents + 1], byte offsets into the text
    corpus/{split}.{language}.index.jsonl   one {"path", "package"} per document
    corpus/corpus.json                      what was kept, what was dropped and why, licences

A document is one source file; in `train.functions` it is one of Python's functions that stand alone (`functions`).
Held-out packages go through the filters first, so a vendored copy of them is what is dropped from training. Knows
nothing of tokens or models; `Documents` is how others read it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from . import archives, filters, functions, packages
from .filters import Benchmarks, Seen
from .packages import Package, PackageError

SPLITS = ("val", "tune", "train")  # in this order, see the module's docstring
LANGUAGES = tuple(chain.from_iterable(packages.LANGUAGES.values()))
FUNCTIONS = "functions"  # stands for a language among the training split's shards
CAP_MB = {"python": 10.0, "javascript": 3.0, "typescript": 4.0, "go": 6.0, "rust": 6.0, "cpp": 3.0}  # of one package


def cache_directory() -> Path:
    """Where everything that training fetches or builds lies; `$MIDSPAN_CACHE` overrides the default."""
    return Path(os.environ.get("MIDSPAN_CACHE") or Path.home() / ".cache" / "midspan")


class Documents:
    """One split of one language, memory-mapped: `documents[i]` is the text of source file i."""

    def __init__(self, split: str, language: str, directory: Path | None = None) -> None:
        self._base = base = (directory or cache_directory() / "corpus") / f"{split}.{language}"
        self._offsets = np.load(base.with_name(base.name + ".offsets.npy"))
        path = base.with_name(base.name + ".txt")
        empty = self._offsets[-1] == 0  # which cannot be mapped
        self._text = np.zeros(0, np.uint8) if empty else np.memmap(path, dtype=np.uint8, mode="r")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(index)
        start, end = self._offsets[index : index + 2]
        return self._text[start:end].tobytes().decode("utf-8")

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))

    @property
    def packages(self) -> list[str]:
        """ "name version" of the package that each document is from."""
        return [entry["package"] for entry in self._index()]

    @property
    def paths(self) -> list[str]:
        """Of each document, within its package."""
        return [entry["path"] for entry in self._index()]

    def _index(self) -> list[dict[str, str]]:
        lines = self._base.with_name(self._base.name + ".index.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    @property
    def sizes(self) -> np.ndarray:
        """Bytes of each document, int64 [documents]."""
        return np.diff(self._offsets)


@dataclass
class _Shard:
    """The documents of one split and language on their way to disk."""

    offsets: list[int] = field(default_factory=lambda: [0])
    texts: list[bytes] = field(default_factory=list)
    index: list[dict[str, str]] = field(default_factory=list)

    def add(self, package: Package, path: str, text: str) -> None:
        encoded = text.encode()
        self.texts.append(encoded)
        self.offsets.append(self.offsets[-1] + len(encoded))
        self.index.append({"path": path, "package": f"{package.name} {package.version}"})

    def write(self, directory: Path, split: str, language: str) -> None:
        offsets = io.BytesIO()
        np.save(offsets, np.asarray(self.offsets, dtype=np.int64))
        index = "".join(json.dumps(entry) + "\n" for entry in self.index)
        contents = {"txt": b"".join(self.texts), "offsets.npy": offsets.getvalue(), "index.jsonl": index.encode()}
        for suffix, content in contents.items():
            path = directory / f"{split}.{language}.{suffix}"
            fresh = path.with_name(path.name + ".new")
            fresh.write_bytes(content)
            fresh.replace(path)  # a training that has the old file mapped keeps reading the old one


class Builder:
    """Runs packages through the filters; holds the shards and the counts."""

    def __init__(self, languages: Sequence[str], benchmarks: Benchmarks) -> None:
        self.languages = tuple(languages)
        self.benchmarks = benchmarks
        self.shards = {(split, language): _Shard() for split in SPLITS for language in languages}
        if "python" in languages:
            self.shards["train", FUNCTIONS] = _Shard()
        self.dropped: Counter[str] = Counter()
        self.contaminated: list[str] = []
        self.package_mb: dict[str, float] = {}
        self._seen = Seen()

    def add(self, package: Package, files: Iterator[tuple[str, bytes]]) -> None:
        """Files come in a fixed pseudo-random order, so that a capped package is sampled evenly."""
        capped = package.split == "train"
        room = {language: (package.cap_mb or CAP_MB[language]) * 1e6 for language in self.languages}
        kept = []
        for path, content in sorted(files, key=lambda file: hashlib.blake2b(file[0].encode()).digest()):
            language = archives.SUFFIXES[Path(path).suffix]
            if language not in room:
                continue
            if capped and room[language] < len(content):
                self.dropped["over the package's cap"] += 1
                continue
            text = filters.clean(content)
            reason = self._reject(package, path, text)
            if reason is not None or text is None:
                self.dropped[reason or "not text"] += 1
                continue
            room[language] -= len(content)
            kept.append((language, path, text))
        for language, path, text in sorted(kept):
            self.shards[package.split, language].add(package, path, text)
            for function in functions.alone(text) if (package.split, language) == ("train", "python") else ():
                self.shards["train", FUNCTIONS].add(package, path, function)
        self.package_mb[package.name] = sum(len(text.encode()) for _, _, text in kept) / 1e6

    def _reject(self, package: Package, path: str, text: str | None) -> str | None:
        if text is None:
            return "not text"
        reason = filters.reject(path, text)
        if reason is None and self.benchmarks.overlap(text):
            self.contaminated.append(f"{package.name}: {path}")
            return "shares a benchmark's n-gram"
        return reason or self._seen.duplicate(text)


def build(listed: Sequence[Package], languages: Sequence[str], benchmarks: Benchmarks, console: Console) -> Builder:
    """Fetches and filters the packages, held-out ones first. Raises PackageError."""
    builder = Builder(languages, benchmarks)
    kept = cache_directory() / "packages"
    columns = (TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("corpus", total=len(listed))
        for package in sorted(listed, key=lambda p: SPLITS.index(p.split)):
            progress.update(task, description=f"{package.name} {package.version}")
            builder.add(package, archives.sources(package, package.fetch(kept)))
            progress.advance(task)
    return builder


def report(builder: Builder, listed: Sequence[Package]) -> dict:
    """What corpus.json holds."""
    shards = {
        f"{split}.{language}": {"files": len(shard.texts), "mb": round(shard.offsets[-1] / 1e6, 2)}
        for (split, language), shard in builder.shards.items()
    }
    return {
        "shards": shards,
        "dropped": dict(builder.dropped.most_common()),
        "benchmark_ngrams": len(builder.benchmarks),
        "contaminated": sorted(builder.contaminated),
        "packages": [
            {
                "ecosystem": p.ecosystem,
                "name": p.name,
                "version": p.version,
                "licence": p.licence,
                "split": p.split,
                "mb": round(builder.package_mb[p.name], 3),
            }
            for p in listed
        ],
    }


def print_report(summary: dict, console: Console) -> None:
    """The summary as two tables."""
    table = Table("split", "files", "MB", title="corpus")
    for name, shard in summary["shards"].items():
        table.add_row(name, f"{shard['files']:,}", f"{shard['mb']:.1f}")
    console.print(table)
    licences: Counter[tuple[str, str]] = Counter()
    for package in summary["packages"]:
        licences[package["ecosystem"], package["licence"]] += package["mb"]
    table = Table("ecosystem", "licence", "MB", title="licences")
    for (ecosystem, licence), mb in sorted(licences.items(), key=lambda item: (item[0][0], -item[1])):
        table.add_row(ecosystem, licence, f"{mb:.1f}")
    console.print(table)
    dropped = ", ".join(f"{reason} {count:,}" for reason, count in summary["dropped"].items())
    console.print(f"dropped files: {dropped}")
    ngrams, hits = summary["benchmark_ngrams"], len(summary["contaminated"])
    console.print(f"benchmarks: {ngrams:,} n-grams, {hits} documents dropped for sharing one")


def third_party(listed: Sequence[Package]) -> str:
    """THIRD_PARTY.md: every package whose text the bundled weights learned from or were measured on."""
    lines = [
        "# Third-party code behind midspan-mini",
        "",
        "The bundled weights were trained on source text of these packages; none of it is redistributed",
        "here. `val` and `tune` packages were held out of training. Licences as the packages state them.",
        "",
        "| ecosystem | package | version | licence | split |",
        "|---|---|---|---|---|",
    ]
    ordered = sorted(listed, key=lambda p: (p.ecosystem != "python", p.name.lower()))
    lines += [f"| {p.ecosystem} | {p.name} | {p.version} | {p.licence} | {p.split} |" for p in ordered]
    return "\n".join(lines) + "\n"


def _fingerprint(args: argparse.Namespace) -> str:
    settings = (filters.RULES, functions.RULES, CAP_MB, sorted(args.languages))
    parts = packages.LIST.read_bytes() + repr((settings, sys.version_info[:3])).encode()
    return hashlib.blake2b(parts, digest_size=16).hexdigest()


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 0, or 1 with one clear sentence."""
    parser = argparse.ArgumentParser(description="Build the training corpus.")
    parser.add_argument("--languages", nargs="+", default=list(LANGUAGES), choices=LANGUAGES)
    parser.add_argument("--benchmarks", type=Path, help="folder of .jsonl(.gz) files that must not be trained on")
    parser.add_argument("--third-party", type=Path, help="also write the list of packages and licences there")
    parser.add_argument("--rebuild", action="store_true", help="even if nothing changed")
    args = parser.parse_args(argv)
    console = Console()
    directory = cache_directory() / "corpus"
    directory.mkdir(parents=True, exist_ok=True)
    state = directory / "corpus.json"
    fingerprint = _fingerprint(args)
    try:
        wanted = set(args.languages)
        listed = [p for p in packages.read_list() if wanted.intersection(packages.LANGUAGES[p.ecosystem])]
        summary = json.loads(state.read_text(encoding="utf-8")) if state.exists() else {}
        undecontaminated = args.benchmarks is not None and not summary.get("benchmark_ngrams")
        if args.rebuild or summary.get("fingerprint") != fingerprint or undecontaminated:
            if args.benchmarks is None:
                console.print("[yellow]no --benchmarks folder: only files that name a benchmark are dropped[/]")
            benchmarks = Benchmarks.read(args.benchmarks) if args.benchmarks else Benchmarks([])
            builder = build(listed, args.languages, benchmarks, console)
            for (split, language), shard in builder.shards.items():
                shard.write(directory, split, language)
            summary = {"fingerprint": fingerprint, **report(builder, listed)}
            state.write_text(json.dumps(summary, indent=1), encoding="utf-8")
        print_report(summary, console)
        if args.third_party:
            args.third_party.write_text(third_party(listed), encoding="utf-8")
    except (PackageError, OSError) as error:
        console.print(f"corpus: {error}", style="red", highlight=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
