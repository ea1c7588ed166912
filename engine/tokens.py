"""Text to token ids and back, and what a checkpoint says about its special ids.

Contract: text never becomes a special token, ids never become text that is not valid Unicode, no string fails. Knows
nothing of networks, canvases or where text comes from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from .checkpoints.checkpoint import read_json
from .config import NetworkConfig
from .errors import EngineError

REPLACEMENT = "\ufffd"
MANIFEST = "midspan.json"
COMMIT_THRESHOLD = 0.9
LONGEST_TOKEN = 32  # characters; longer ones only make `lines` stop early
# Added tokens that structure a conversation; some tokenizers do not mark them special.
CONTROL = re.compile(r"<\|\S+>|<\S+\|>|<unused\d+>")


@dataclass(frozen=True)
class Manifest:
    """`midspan.json` beside `config.json`: what the Hugging Face layout has no field for.

    A checkpoint without the file is DiffusionGemma's kind: uniform noise, no delete token, nothing committed.
    """

    name: str
    mask_token_id: int | None  # None: uniform noise
    delete_token_id: int | None
    bos_token_id: int
    special_token_ids: frozenset[int]
    prefix_tokens: int  # the most the encoder gets, <bos> included
    gap_buckets: tuple[int, ...]
    canvas_tokens: int  # gap and pinned slots together
    commit_threshold: float | None  # SamplerConfig.commit_threshold
    drafts: bool  # whether copies and the causal mode propose beside the canvas, and a gate chooses
    prompt: str | None = None  # "base" | "gemma"; None: what the tokenizer suggests
    context_tokens: int = 0  # the most of prefix_tokens that context gets; 0: the checkpoint is shown none
    suffix_tokens: int = 0  # the same for suffix shown to the encoder, where the form has a place for it
    fim_tokens: int = 0  # of the suffix' head that its causal mode was taught to be told of; 0: it was not
    healing: bool = True  # whether the tokens next to a gap go back into it

    @classmethod
    def load(cls, directory: Path, config: NetworkConfig) -> Manifest:
        """Raises EngineError naming the field that is wrong."""
        path = directory / MANIFEST
        ours = path.exists()
        fields = read_json(path) if ours else {"name": directory.name, "noise": "uniform"}

        def token(name: str, default: int | None) -> int | None:
            value = fields.get(name, default)
            if value is not None and not (type(value) is int and 0 <= value < config.vocab_size):
                raise EngineError(f"{MANIFEST}: {name} is {value!r}, expected a token id below {config.vocab_size}")
            return value

        def size(name: str, value: Any, most: int, least: int = 1) -> int:
            if not (type(value) is int and least <= value <= most):
                raise EngineError(f"{MANIFEST}: {name} is {value!r}, expected a whole number from {least} to {most}")
            return value

        noise, name = fields.get("noise", "uniform"), fields.get("name")
        if noise not in ("mask", "uniform"):
            raise EngineError(f"{MANIFEST}: noise is {noise!r}, expected 'mask' or 'uniform'")
        if not isinstance(name, str) or not name:
            raise EngineError(f"{MANIFEST}: name is {name!r}, expected a name")
        mask = token("mask_token_id", None) if noise == "mask" else None
        if noise == "mask" and mask is None:
            raise EngineError(f"{MANIFEST}: mask_token_id is missing, and noise is 'mask'")
        special = fields.get("special_token_ids", [])
        if not isinstance(special, list) or not all(type(n) is int for n in special):
            raise EngineError(f"{MANIFEST}: special_token_ids must be a list of token ids")
        commit = fields.get("commit_threshold", COMMIT_THRESHOLD if noise == "mask" else None)
        if commit is not None and not (isinstance(commit, (int, float)) and 0 < commit <= 1):
            raise EngineError(f"{MANIFEST}: commit_threshold is {commit!r}, expected a probability or null")
        bos = token("bos_token_id", config.bos_token_id)
        gaps = fields.get("gap_buckets", [n for n in (16, 32, 64, 128) if n < config.canvas_length])
        if not isinstance(gaps, list) or not gaps:
            raise EngineError(f"{MANIFEST}: gap_buckets is {gaps!r}, expected a list of sizes")
        buckets = tuple(sorted(size("gap_buckets", gap, config.canvas_length) for gap in gaps))
        canvas = fields.get("canvas_tokens", min(buckets[-1] + 16, config.canvas_length))
        context = config.max_position_embeddings - config.canvas_length
        prefix = size("prefix_tokens", fields.get("prefix_tokens", min(2048, context)), context)
        prompt = fields.get("prompt")
        if prompt not in (None, "base", "gemma"):
            raise EngineError(f"{MANIFEST}: prompt is {prompt!r}, expected 'base' or 'gemma'")
        shares = {
            share: size(share, fields.get(share, 0 if ours else prefix // part), prefix // 2, least=0)
            for share, part in (("context_tokens", 4), ("suffix_tokens", 8))
        }
        return cls(
            name=name,
            mask_token_id=mask,
            delete_token_id=token("delete_token_id", None),
            bos_token_id=config.bos_token_id if bos is None else bos,
            special_token_ids=frozenset(special),
            prefix_tokens=prefix,
            gap_buckets=buckets,
            canvas_tokens=max(buckets[-1], size("canvas_tokens", canvas, config.canvas_length)),
            commit_threshold=commit,
            drafts=fields.get("drafts") is True,
            prompt=prompt,
            fim_tokens=size("fim_tokens", fields.get("fim_tokens", 0), config.canvas_length, least=0),
            healing=fields.get("healing") is not False,
            **shares,
        )


class Tokens:
    """A checkpoint's `tokenizer.json`. `newline`, `unwritable`: bool [V], ids whose text breaks a line, and ids that
    stand for no text (special, unused)."""

    def __init__(self, tokenizer: Tokenizer, special: frozenset[int], vocab_size: int) -> None:
        self._tokenizer = tokenizer
        # Without this a document that says "<bos>" would put the token itself into the prefix.
        tokenizer.encode_special_tokens = True
        tokenizer.no_padding()
        tokenizer.no_truncation()
        added = tokenizer.get_added_tokens_decoder()
        self._control = {
            token.content: id_ for id_, token in added.items() if token.special or CONTROL.fullmatch(token.content)
        }
        self.special = special | set(self._control.values())
        self.newline = torch.zeros(vocab_size, dtype=torch.bool)
        self.unwritable = torch.ones(vocab_size, dtype=torch.bool)
        used = sorted(tokenizer.get_vocab(with_added_tokens=True).values())
        self._used = [id_ for id_ in used if id_ not in self.special]
        self._breaking = frozenset(id_ for id_, text in self.texts().items() if "\n" in text or "\r" in text)
        self.newline[list(self._breaking)] = True
        self.unwritable[self._used] = False

    @classmethod
    def load(cls, directory: Path, manifest: Manifest, config: NetworkConfig) -> Tokens:
        """Raises EngineError."""
        path = directory / "tokenizer.json"
        try:
            tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise EngineError(f"{path} cannot be read: {error.strerror}") from error
        except Exception as error:  # the library raises bare Exception
            raise EngineError(f"{path} is not a tokenizer: {error}") from error
        largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
        if largest >= config.vocab_size:
            raise EngineError(f"{path} has token id {largest}, config.json a vocabulary of {config.vocab_size}")
        return cls(tokenizer, manifest.special_token_ids, config.vocab_size)

    def texts(self) -> dict[int, str]:
        """Text of every id that stands for text; computed anew at every call."""
        decoded = self._tokenizer.decode_batch([[id_] for id_ in self._used], skip_special_tokens=False)
        return dict(zip(self._used, decoded, strict=True))

    def control(self, name: str) -> int | None:
        """Id of the control token of that name, which no text becomes; None where there is none."""
        return self._control.get(name)

    def encode(self, text: str) -> list[int]:
        """Ids of any string. Lines end in \\n, as in training; lone surrogates, which are no characters, are U+FFFD."""
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        try:
            encoding = self._tokenizer.encode(text, add_special_tokens=False)
        except (TypeError, UnicodeError):
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
            encoding = self._tokenizer.encode(text, add_special_tokens=False)
        ids = encoding.ids
        if self.special.isdisjoint(ids):
            return ids
        # A tokenizer that reads text as a special token all the same: cut the text inside of the look-alike.
        first = next(i for i, id_ in enumerate(ids) if id_ in self.special)
        start, end = encoding.offsets[first]
        if end - start <= 1:
            return self.encode(text[:start]) + self.encode(text[end:])
        return self.encode(text[: start + 1]) + self.encode(text[start + 1 :])

    def head(self, text: str, n_tokens: int) -> tuple[list[int], bool]:
        """The first `n_tokens` ids of `text`, and whether that is all of it. Does not read text it does not need."""
        length = 4 * n_tokens + 64
        while True:
            ids = self.encode(text[:length])
            if length >= len(text):
                return ids[:n_tokens], len(ids) <= n_tokens
            if len(ids) >= n_tokens + 8:  # the ids next to the cut may be other ones in the whole text
                return ids[:n_tokens], False
            length *= 2

    def lines(self, text: str, n_tokens: int) -> list[int]:
        """Ids of the first lines of `text` that fit into `n_tokens`, the last one ended by a line break; where the
        first line alone is longer, of its beginning."""
        text = text[: LONGEST_TOKEN * n_tokens]
        if not text.strip():
            return []
        ids, whole = self.head(text if text.endswith("\n") else text + "\n", n_tokens)
        if whole:
            return ids
        ends = [n for n, id_ in enumerate(ids, 1) if id_ in self._breaking]
        return ids[: ends[-1]] if ends else ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids` without special ones. Bytes at either end that are part of a character are trimmed; where such
        bytes stand inside, the text ends before them."""
        text = self._tokenizer.decode([id_ for id_ in ids if id_ not in self.special], skip_special_tokens=False)
        return text.lstrip(REPLACEMENT).partition(REPLACEMENT)[0]


def banned_ids(tokens: Tokens, writable: frozenset[int], single_line: bool) -> Tensor:
    """Ids [N] int64 that a gap must not hold: those without text but for `writable`, for one line also line breaks."""
    banned = tokens.unwritable | tokens.newline if single_line else tokens.unwritable.clone()
    if writable:
        banned[list(writable)] = False
    return banned.nonzero().squeeze(1)
