"""midspan-mini's tokenizer, and the corpus written as tokens: the one that ships, or one trained on the corpus.

    python -m midspan.engine.training.tokenizer [--retrain] [--vocabulary 8192]

Contract: a byte-level BPE whose pieces never cross a line end. A piece is a word with at most one space
before it, one digit, a run of punctuation, one newline, or a run of other white space (an indentation is one
token up to 24 characters). Decoding an encoded text gives that text back, for every text.

The 32 ids below `len(SPECIAL)` are special. They are in the model's vocabulary but not among its added
tokens, and no merge leads to them: text that reads "<mask>" becomes ordinary tokens, never id 3. So a caller
places special ids itself and drops ids below 32 before decoding.

Writes `tokenizer/tokenizer.json` and `tokens/{split}.{language}.npz`: `tokens` uint16 (documents one after
the other, without bos or eos) and `offsets` int64 [documents + 1], under the corpus' cache directory.
Knows nothing of models, packages or gaps.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from .. import bundled
from .corpus import LANGUAGES, SPLITS, Documents, cache_directory

SPECIAL = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<mask>",
    "<delete>",
    "<expand>",
    "<far_suffix>",
    "<prefix>",
    "<file>",
    "<instruction>",
    "<lang:python>",
    "<lang:javascript>",
    "<lang:typescript>",
    "<lang:rust>",
    "<lang:go>",
    "<lang:java>",
    "<lang:c>",
    "<lang:cpp>",
    "<lang:other>",
    *(f"<reserved:{i}>" for i in range(19, 32)),
)
PIECES = r" ?[\p{L}_]+| ?\p{N}| ?[^\s\p{L}\p{N}_]+|\n|[^\S\n]+"
MAX_TOKEN = 24
SHIPPED = Path(bundled.__path__[0]) / "midspan-mini" / "tokenizer.json"
TRAIN_BYTES = {"python": 32_000_000, "javascript": 6_000_000, "typescript": 2_000_000}


def train(texts: Iterator[str], vocabulary: int = 8192) -> Tokenizer:
    """A tokenizer of `vocabulary` ids, the special ones included, learned from `texts`."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=MAX_TOKEN,
        min_frequency=20,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _unmatchable(tokenizer)


def _unmatchable(tokenizer: Tokenizer) -> Tokenizer:
    """The library looks for added tokens in every text it encodes; ours must never come from text."""
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = []
    return Tokenizer.from_str(json.dumps(state, ensure_ascii=False))


def sample(language: str, limit: int, directory: Path | None = None) -> Iterator[str]:
    """Documents of the training split in a fixed random order, until `limit` bytes.

    No package gives more than twice its even share, or its own names would fill the vocabulary.
    """
    documents = Documents("train", language, directory)
    sizes, sources = documents.sizes.tolist(), documents.packages
    room = dict.fromkeys(sources, 2 * limit // max(1, len(set(sources))))
    for index in np.random.default_rng(0).permutation(len(documents)).tolist():
        if limit <= 0:
            return
        if room[sources[index]] < sizes[index]:
            continue
        room[sources[index]] -= sizes[index]
        limit -= sizes[index]
        yield documents[index]


def encode_documents(tokenizer: Tokenizer, documents: Documents, batch: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """(tokens uint16 [total], offsets int64 [documents + 1])."""
    pieces: list[np.ndarray] = []
    offsets = [0]
    for start in track(range(0, len(documents), batch), description="tokens", transient=True):
        texts = [documents[i] for i in range(start, min(start + batch, len(documents)))]
        for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
            pieces.append(np.asarray(encoding.ids, dtype=np.uint16))
            offsets.append(offsets[-1] + len(pieces[-1]))
    tokens = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.uint16)
    return tokens, np.asarray(offsets, dtype=np.int64)


def write_tokens(tokenizer: Tokenizer, cache: Path, console: Console) -> None:
    """Token files of every split and language that the corpus has, and a table of how dense they are."""
    directory = cache / "tokens"
    directory.mkdir(parents=True, exist_ok=True)
    table = Table("split", "tokens", "bytes/token", "tokens/line", title="tokens")
    newline = tokenizer.token_to_id("Ċ")
    for split in SPLITS:
        for language in LANGUAGES:
            if not (cache / "corpus" / f"{split}.{language}.txt").exists():
                continue
            documents = Documents(split, language, cache / "corpus")
            if not len(documents):
                continue
            tokens, offsets = encode_documents(tokenizer, documents)
            path = directory / f"{split}.{language}.npz"
            fresh = path.with_name(f"new.{path.name}")
            np.savez(fresh, tokens=tokens, offsets=offsets)
            fresh.replace(path)
            lines = int((tokens == newline).sum()) or 1
            density = documents.sizes.sum() / len(tokens)
            row = (f"{len(tokens):,}", f"{density:.2f}", f"{len(tokens) / lines:.1f}")
            table.add_row(f"{split}.{language}", *row)
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 0, or 1 with one clear sentence."""
    parser = argparse.ArgumentParser(description="Train the tokenizer and write the corpus as tokens.")
    parser.add_argument("--vocabulary", type=int, default=8192, help="ids of a new one, special ones included")
    parser.add_argument(
        "--retrain",
        action="store_true",
        help="a new tokenizer, of this corpus; weights trained with another, those that ship too, become useless to it",
    )
    args = parser.parse_args(argv)
    console = Console()
    if not 512 <= args.vocabulary <= 65536:
        console.print("tokenizer: the vocabulary must have 512 to 65536 ids", style="red", highlight=False)
        return 1
    cache = cache_directory()
    path = cache / "tokenizer" / "tokenizer.json"
    try:
        corpus = cache / "corpus"
        there = [language for language in TRAIN_BYTES if (corpus / f"train.{language}.txt").exists()]
        if not there:
            raise FileNotFoundError(f"no corpus in {corpus}")
        if args.retrain:
            samples = (sample(language, TRAIN_BYTES[language], corpus) for language in there)
            tokenizer = train(chain.from_iterable(samples), args.vocabulary)
        else:
            kept = path if path.exists() else SHIPPED
            tokenizer = Tokenizer.from_str(kept.read_text(encoding="utf-8"))
        path.parent.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(path))
        console.print(f"{path}: {tokenizer.get_vocab_size():,} ids")
        write_tokens(tokenizer, cache, console)
    except OSError as error:
        console.print(f"tokenizer: {error}; build the corpus first", style="red", highlight=False)
        return 1
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main())
