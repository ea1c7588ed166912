"""Finds the weights of `filling/ngrams.py` on the `tune` packages: `python -m midspan.engine.training.fit_ngrams`.

Tokens with a file around them that lacks a few of them, as at a gap: the n-grams' weights are those under which they
are likeliest, the network's share in it as it is. Prints the four numbers, and what they make of tokens that they were
not fitted to, beside what the network says alone. Less than a minute of one core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from .. import bundled
from ..checkpoints.loading import look
from ..filling.ngrams import GAP, MAX_ORDER, NGrams
from ..network import Network
from ..tokens import Tokens
from .corpus import Documents
from .fit_gate import SHARES

HOLE = 8  # tokens
CONTEXT, READ = 100, 300  # tokens of a window: those that are only shown to the network, and those that count
FAR = 5000  # tokens of the file on either side of a hole
NAMES = ("BIAS", "BY_ORDER", "BY_PLACES", "BY_VARIETY")

Said = tuple[float, np.ndarray]
"""What is said about one token: the network's log p, and per end of its context (signs as NAMES has them, and the share
of its places that go on so), [MAX_ORDER, 5]; ends there are not: all 0."""


def windows(tokens: Tokens, language: str, n_windows: int, seed: int = 0) -> Iterator[tuple[np.ndarray, int]]:
    """The ids of a file, and where in it a window starts."""
    documents, rng = Documents("tune", language), np.random.default_rng(seed)
    shares = documents.sizes / documents.sizes.sum()
    while n_windows:
        text = documents[int(rng.choice(len(documents), p=shares))]
        ids = np.array([id_ for line in text.splitlines(keepends=True) for id_ in tokens.encode(line)], np.int64)
        if len(ids) > CONTEXT + READ:
            n_windows -= 1
            yield ids, int(rng.integers(0, len(ids) - CONTEXT - READ))


def said(network: Network, ids: np.ndarray, start: int) -> Iterator[Said]:
    """About the last READ tokens of the window there."""
    window = torch.from_numpy(ids[start : start + CONTEXT + READ])
    hidden = network.encode(window[None, :-1], network.new_cache())[0, CONTEXT - 1 :]
    log_probs = torch.log_softmax(network.logits(hidden), dim=-1).gather(1, window[CONTEXT:, None]).squeeze(1)
    first = start + CONTEXT
    for hole in range(first, first + READ, HOLE):
        before, after = ids[max(0, hole - FAR) : hole], ids[hole + HOLE : hole + FAR]
        ngrams = NGrams(np.concatenate((before, [GAP], after)))
        for at in range(hole, min(hole + HOLE, first + READ)):
            yield float(log_probs[at - first]), signs_of(ngrams, ids[at - MAX_ORDER : at].tolist(), int(ids[at]))


def signs_of(ngrams: NGrams, context: Sequence[int], id_: int) -> np.ndarray:
    """Of what `ngrams` know about the token `id_` behind the context, as `Said` has them."""
    found, signs = ngrams.matches(context), np.zeros((MAX_ORDER, 5))
    n_places = found.counts.sum(1)
    variety = (found.counts > 0).sum(1) / n_places
    hits = found.counts[:, found.ids == id_].sum(1) / n_places
    columns = (np.ones(len(n_places)), np.log(found.orders), np.log(n_places), variety, hits)
    signs[: len(n_places)] = np.stack(columns, axis=1)
    return signs


def surprise(weights: Tensor, log_probs: Tensor, signs: Tensor) -> Tensor:
    """-log p of tokens [N] under the weights [4], nats. log_probs [N], signs [N, MAX_ORDER, 5]: as `Said` has them."""
    probs = log_probs.exp()
    own = torch.sigmoid(signs[:, :, :4] @ weights) * signs[:, :, 0]
    for order in range(MAX_ORDER):
        probs = probs * (1 - own[:, order]) + own[:, order] * signs[:, order, 4]
    return -probs.log()


def fitted(log_probs: Tensor, signs: Tensor) -> Tensor:
    """The weights [4] under which the tokens are likeliest."""
    weights = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = surprise(weights, log_probs, signs).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("directory", type=Path, nargs="?", default=Path(bundled.__path__[0]) / "midspan-mini")
    parser.add_argument("--windows", type=int, default=150)
    args = parser.parse_args(argv)
    outlook = look(args.directory, "cpu", None)
    tokens = Tokens.load(outlook.contents.directory, outlook.manifest, outlook.contents.config)
    network, found = outlook.load(lambda share, words: None), []
    with torch.inference_mode():
        for language, share in SHARES.items():
            chosen = windows(tokens, language, round(share * args.windows))
            for ids, start in track(chosen, total=round(share * args.windows), description=language):
                found.append(list(said(network, ids, start)))
    log_probs = torch.tensor([[log_p for log_p, _ in window] for window in found], dtype=torch.float64)
    signs = torch.from_numpy(np.array([[row for _, row in window] for window in found]))
    halves = [(log_probs[half::2].flatten(), signs[half::2].flatten(0, 1)) for half in (0, 1)]
    others = [surprise(fitted(*halves[1 - half]), *halves[half]).mean() for half in (0, 1)]
    print(f"nats per token: {-log_probs.mean():.3f} by the network alone, {sum(others) / 2:.3f} with n-grams")
    for name, weight in zip(NAMES, fitted(log_probs.flatten(), signs.flatten(0, 1)).tolist(), strict=True):
        print(f"{name} = {weight:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
