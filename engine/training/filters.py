"""Which source files are worth learning from. Pure: text in, a reason or None out.

Contract: `clean` normalises a file's bytes; `reject` names the first rule a text breaks (None: keep it);
`Seen` remembers lines and whole texts, so that a later copy is recognised; `Benchmarks` holds the word
n-grams of evaluation texts, so that no document that shares one is trained on.
Knows nothing of packages, archives, splits or tokens.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

RULES = 1  # raise it when a rule changes what is kept: cached corpora are then rebuilt
MIN_BYTES = 200
MAX_BYTES = 200_000
MAX_LINE = 1000
MEAN_LINE = 110
NEAR_DUPLICATE = 0.75
NGRAM = 10
TEST_SHARE = 0.3

GENERATED = re.compile(
    r"(?i)@generated|do not (edit|modify)|auto[- ]?generated|automatically generated|code generated|"
    r"generated (by|from|with|using)|machine[- ]generated"
)
MINIFIED_PATH = re.compile(
    r"(?i)[.-]min\.[cm]?js$|(^|/)(dist|build|umd|amd|bundles?|client-dist|generated|cjs)/|\.d\.[cm]?ts$"
)
VENDORED_PATH = re.compile(r"(?i)(^|/)(_?vendor(ed)?|third_party|node_modules|extern(al)?s?)/")
TEST_PATH = re.compile(
    r"(?i)(^|/)(tests?|testing|__tests__|spec)/|(^|/)(test_|conftest)[^/]*\.py$|_tests?\.py$|\.(test|spec)\.[cm]?[jt]sx?$"
)
STRING_LINE = re.compile(r"""^\s*[\[({]?\s*[rbuRBU]?["'].*["'][\])},;]*\s*$|^\s*["'].*["']\s*:\s*["'\d(\[].*$""")
SECRET = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_\w{40}|"
    r"\bxox[abprs]-[A-Za-z0-9-]{20}|\bAIza[\w-]{35}|\bsk-[A-Za-z0-9_-]{32}|\bglpat-[\w-]{20}|\bsk_live_\w{20}|"
    r"\beyJ[\w-]{20,}\.eyJ[\w-]{20,}\.[\w-]{10}|\bnpm_[A-Za-z0-9]{36}|\bpypi-[\w-]{60}"
)
BENCHMARK_NAME = re.compile(r"(?i)\b(human[_-]?eval|mbpp|safim|santacoder)\b")
LICENCE_HEADER = re.compile(r"(?i)copyright|licen[sc]e|spdx")
WORD = re.compile(r"[A-Za-z]+|\d+")


def clean(content: bytes) -> str | None:
    """The file as text: UTF-8 without mark, `\\n` line ends, no licence header, one newline at the end.
    None if it is not UTF-8 or holds control characters."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if re.search(r"[\x00-\x08\x0e-\x1f\ufffe\uffff]", text):
        return None
    text = _without_header(text).strip("\n")
    return re.sub(r"[ \t]+$", "", text, flags=re.M) + "\n"


def _without_header(text: str) -> str:
    """Drops the leading comment that only states who owns the file. The list of packages states it once."""
    match = re.match(r"(?:\s*(?:#[^\n]*|//[^\n]*|/\*.*?\*/)[ \t]*\n)+", text, flags=re.S)
    if match is None or match.end() > 5000 or not LICENCE_HEADER.search(match.group()):
        return text
    return text[match.end() :]


def is_test(path: str) -> bool:
    """Whether a path looks like test code."""
    return TEST_PATH.search(path) is not None


def sampled(path: str, share: float) -> bool:
    """A fixed pseudo-random choice by path: the same file is kept on every machine."""
    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=4).digest()) < share * 2**32


def reject(path: str, text: str) -> str | None:
    """The first rule that the file breaks, or None."""
    if len(text) < MIN_BYTES:
        return "tiny"
    if len(text) > MAX_BYTES:
        return "huge"
    if MINIFIED_PATH.search(path):
        return "built"
    if VENDORED_PATH.search(path):
        return "vendored"
    if GENERATED.search(text[:1500]):
        return "generated"
    lines = text.splitlines()
    if max(map(len, lines)) > MAX_LINE or len(text) > MEAN_LINE * len(lines):
        return "long lines"
    if _is_table(text, lines):
        return "table"
    if SECRET.search(text):
        return "secret"
    if BENCHMARK_NAME.search(text):
        return "names a benchmark"
    if is_test(path) and not sampled(path, TEST_SHARE):
        return "tests thinned"
    return None


def _is_table(text: str, lines: list[str]) -> bool:
    dense = len("".join(text.split())) or 1
    if sum(map(text.count, "0123456789")) > 0.2 * dense:
        return True
    if len(text) - len(text.encode("ascii", "ignore")) > 0.1 * dense:
        return True
    return sum(STRING_LINE.match(line) is not None for line in lines) > 0.5 * len(lines)


class Seen:
    """Lines and texts met so far. Add the held-out packages first: then their copies are what is dropped."""

    def __init__(self) -> None:
        self._texts: set[int] = set()
        self._lines: set[int] = set()

    def duplicate(self, text: str) -> str | None:
        """ "exact copy", "near copy" (over 75 % of its normalised lines of at least 12 characters were
        seen), or None; in the last case the text is remembered."""
        whole = hash(text)
        if whole in self._texts:
            return "exact copy"
        lines = [hash(n) for line in text.splitlines() if len(n := "".join(line.split())) >= 12]
        old = sum(line in self._lines for line in lines)
        if lines and old > NEAR_DUPLICATE * len(lines):
            return "near copy"
        self._texts.add(whole)
        self._lines.update(lines)
        return None


class Benchmarks:
    """Word n-grams of the texts that a model is judged on.

    A word is a run of letters or a run of digits, lower-cased; punctuation and layout do not count, so a
    reformatted copy is still caught. One shared run of 10 words condemns a document.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._grams: set[int] = set()
        for text in texts:
            self._grams.update(_grams(text))

    def __len__(self) -> int:
        return len(self._grams)

    @classmethod
    def read(cls, directory: Path) -> Benchmarks:
        """From every `*.jsonl` and `*.jsonl.gz` under `directory`: all string fields of each row joined in
        the order in which they make up the file."""
        return cls(_benchmark_texts(directory))

    def overlap(self, text: str) -> bool:
        """Whether `text` shares an n-gram."""
        return bool(self._grams) and not self._grams.isdisjoint(_grams(text))


ROW_FIELDS = ("prompt", "eval_prompt", "canonical_solution", "ground_truth", "suffix")


def _benchmark_texts(directory: Path) -> Iterable[str]:
    paths = sorted([*directory.rglob("*.jsonl"), *directory.rglob("*.jsonl.gz")])
    if not paths:
        raise FileNotFoundError(f"no .jsonl or .jsonl.gz file under {directory}")
    for path in paths:
        content = path.read_bytes()
        rows = map(json.loads, (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines())
        texts = {"".join(str(row.get(field) or "") for field in ROW_FIELDS) for row in rows}
        yield from sorted(texts)


def _grams(text: str) -> Iterable[int]:
    words = WORD.findall(text.lower())
    return (hash(gram) for gram in zip(*(words[i:] for i in range(NGRAM)), strict=False))
