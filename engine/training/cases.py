"""Gaps with known answers, cut out of packages that training never sees; for fitting (`tune`) and measuring (`val`).

Each comes with the files beside it, as an editor's server would find them: those of its folder, what its text imports
first.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cache
from pathlib import PurePosixPath

import numpy as np

from ..filling.openings.line import margin
from .corpus import Documents
from .examples import cut_point

LONGEST_LINE = 120
MOST_LINES = 4
MOST_INSIDE = 32  # characters
LONGEST_FILE = 60_000  # characters
MOST_BESIDE = 200_000  # characters of all files beside one
MOST_FILES = 12
_IMPORT = re.compile(r"^(?:[ \t]*(?:import|from|export|use|require|#\s*include)\b.*|.*\brequire\(.*)", re.MULTILINE)
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Case:
    """prefix + truth + suffix is a whole file, `path` its package's name and its place there. beside: the files of its
    folder by their paths, those of most worth first."""

    prefix: str
    truth: str
    suffix: str
    path: str = ""
    beside: tuple[tuple[str, str], ...] = ()

    @property
    def library(self) -> tuple[str, ...]:
        """What a request may draw drafts from."""
        return tuple(text for _, text in self.beside)

    def while_writing(self) -> Case:
        """The same gap while its block is written from top to bottom: nothing of that stands below yet. A block is
        what stands at least as far in as the gap's line; of a line that is not indented, what stands further in."""
        line = self.prefix[self.prefix.rfind("\n") + 1 :] + self.truth
        least = max(margin(line), 1)
        rest, *below = self.suffix.split("\n")
        end = next((n for n, one in enumerate(below) if one.strip() and margin(one) < least), len(below))
        while end and not below[end - 1].strip():
            end -= 1
        return replace(self, suffix="\n".join((rest, *below[end:])))


def cases(split: str, kind: str, n_cases: int, seed: int, language: str = "python") -> list[Case]:
    """kind "line": all of a line behind its indentation; "next": the same while its block is written, if something of
    that stood below; "rest": from a place inside it on; "inside": from a place in it to another, behind which it goes
    on; "lines": two to MOST_LINES lines, none of them blank. Lines by their share of the text, so long files count for
    more."""
    documents = Documents(split, language)
    folders = Folders(documents)
    shares = documents.sizes / documents.sizes.sum()
    rng = np.random.default_rng(seed)
    found: list[Case] = []
    while len(found) < n_cases:
        index = int(rng.choice(len(documents), p=shares))
        text = documents[index]
        at = int(rng.integers(0, len(text)))
        start, end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
        line = text[start:end]
        if end < 0 or not line.strip() or len(line) > LONGEST_LINE:
            continue
        indent = margin(line)
        cut = start + (cut_point(line, indent, rng) if kind in ("rest", "inside") else indent)
        begun = text[start:cut].strip()
        if kind == "inside":
            end = start + cut_point(line, min(cut - start + 1, len(line)), rng)
            if end - cut > MOST_INSIDE or not line[end - start :].strip():
                continue
        if kind == "lines":
            for _ in range(int(rng.integers(1, MOST_LINES))):
                following = text.find("\n", end + 1)
                if following < 0 or not text[end:following].strip():
                    break
                end = following
            if "\n" not in text[cut:end]:
                continue
        if text[cut:end].strip() and (kind != "rest" or begun):
            beside = folders.beside(index, text[:cut] + text[end:])
            case = Case(text[:cut], text[cut:end], text[end:], folders.paths[index], beside)
            if kind == "next":
                whole, case = case, case.while_writing()
                if case.suffix == whole.suffix:
                    continue
            found.append(case)
    return found


class Folders:
    """Which files of a split stand beside each other. paths: of each, behind its package's name."""

    def __init__(self, documents: Documents) -> None:
        named = zip(documents.packages, documents.paths, strict=True)
        self.paths = [f"{package.split()[0]}/{path}" for package, path in named]
        self._text = cache(documents.__getitem__)
        self._files: dict[PurePosixPath, list[int]] = defaultdict(list)
        for number, path in enumerate(self.paths):
            self._files[PurePosixPath(path).parent].append(number)

    def beside(self, index: int, text: str) -> tuple[tuple[str, str], ...]:
        """Paths and texts of the files beside file `index`, whose text is `text` but for a gap."""
        imported = set(_WORD.findall(" ".join(_IMPORT.findall(text))))
        others = [number for number in self._files[PurePosixPath(self.paths[index]).parent] if number != index]
        others.sort(key=lambda number: (PurePosixPath(self.paths[number]).stem not in imported, self.paths[number]))
        found: list[tuple[str, str]] = []
        room = MOST_BESIDE
        for number in others:
            text = self._text(number)
            most = min(LONGEST_FILE, room)
            kept = text if len(text) <= most else text[: text.rfind("\n", 0, most) + 1]
            if kept and len(found) < MOST_FILES:
                found.append((self.paths[number], kept))
                room -= len(kept)
        return tuple(found)
