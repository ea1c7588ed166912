"""A small tokenizer of Gemma's kind, and a checkpoint directory without `midspan.json`, as a released one is.

As Gemma's: BPE over text whose spaces are "▁", without word borders, so that tokens reach over any seam; bytes for
what is not in the vocabulary; turns as control tokens, of which some are not marked special; runs of newlines as added
tokens that are text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from midspan.engine.checkpoints import checkpoint
from midspan.engine.config import NetworkConfig
from midspan.engine.network import Network
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

CONTROL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
UNMARKED = ["<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|think|>", "<unused7>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SAMPLE = '''import math


def compute_total(values, default=None):
    """Average of values, or default."""
    total_value = 0.0
    for value in values:
        total_value += value
    if not values:
        return default
    return total_value / len(values)


class Window:
    def __init__(self, size, step=1):
        self.size = size
        self.step = step

    def slide(self, items):
        for start in range(0, len(items) - self.size + 1, self.step):
            yield compute_total(items[start : start + self.size], default=math.nan)
'''
VOCAB = 1024


def gemma_tokenizer(turns: bool = True) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    # Whole lines, so that merges reach over words as SentencePiece's may.
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\n", "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = CONTROL + BYTES
    tokenizer.train_from_iterator(
        [SAMPLE, "```python thought\n```\n user model\n"] * 3,
        trainers.BpeTrainer(vocab_size=620, special_tokens=special, max_token_length=12, show_progress=False),
    )
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in CONTROL]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_tokens([AddedToken("\n\n", normalized=False, special=False), AddedToken("```", special=False)])
    if turns:
        tokenizer.add_tokens([AddedToken(name, special=False) for name in UNMARKED])
    return tokenizer


def write_gemma(directory: Path, config: dict[str, Any]) -> Path:
    """A tiny checkpoint with random weights."""
    config["text_config"] |= {"vocab_size": VOCAB, "hidden_size": 32, "eos_token_id": 1, "bos_token_id": 2}
    config["canvas_length"] = 48
    torch.manual_seed(0)
    network = Network(NetworkConfig.from_hf(config))
    for parameter in network.parameters():
        if parameter.ndim >= 2:
            torch.nn.init.normal_(parameter, std=0.6 * parameter.shape[-1] ** -0.5)
    checkpoint.save(network, directory, config)
    gemma_tokenizer().save(str(directory / "tokenizer.json"))
    (directory / "generation_config.json").write_text(json.dumps({"max_denoising_steps": 4}))
    return directory
