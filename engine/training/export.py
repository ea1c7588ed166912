"""A run's checkpoint → the directory that ships: `python -m midspan.engine.training.export --name NAME [DIRECTORY]`.

Weights as bfloat16 safetensors in the Hugging Face layout, the tokenizer, the sampler's settings and `midspan.json`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from .. import bundled
from ..checkpoints import checkpoint
from ..network import Network
from .corpus import cache_directory
from .examples import BOS, BUCKETS, DELETE, MASK, N_SPECIAL, Shape
from .int8 import save_int8
from .packed import N_RIGHT
from .runs import trained_network

GENERATION = {
    "max_denoising_steps": 3,
    "t_min": 0.99,  # training feeds back expected embeddings at temperature 1; transformers refuses t_min = t_max
    "t_max": 1.0,
    "sampler_config": {"_cls_name": "EntropyBoundSamplerConfig", "entropy_bound": 0.1},
}


def manifest(clock: Mapping[str, Any]) -> dict[str, object]:
    """`midspan.json`: how training laid out prefix, gap and suffix. clock: of the run's checkpoint."""
    shape = Shape(length=clock.get("length", Shape.length))
    noise = clock.get("noise", "mask")
    return {
        "name": "midspan-mini",
        "noise": noise,
        **({"mask_token_id": MASK} if noise == "mask" else {}),
        "delete_token_id": DELETE,
        "bos_token_id": BOS,
        "special_token_ids": list(range(N_SPECIAL)),
        "prefix_tokens": shape.length - shape.n_slots,
        "canvas_tokens": shape.n_slots,
        "gap_buckets": list(BUCKETS),
        "commit_threshold": 0.5,
        "drafts": True,
        **({"fim_tokens": N_RIGHT} if clock.get("branches") else {}),
    }


def averaged(network: Network, other: Network, share: float) -> None:
    """In place: every weight with `share` (0 to 1) of the other's. Raises KeyError or RuntimeError where shapes differ.

    Of a run and the one that it started from, both with their learning rates down to nothing, the mean is better than
    either (arXiv 2203.05482).
    """
    theirs = other.state_dict()
    network.load_state_dict({key: weight.lerp(theirs[key], share) for key, weight in network.state_dict().items()})


def export(name: str, label: str, directory: Path, int8: bool = False, average: str = "", share: float = 0.0) -> None:
    """Writes the directory. int8: a byte per weight instead of two. average: RUN/CHECKPOINT or an exported directory,
    of which every weight has `share`."""
    network, clock = trained_network(name, label)
    if average:
        shipped = Path(average).is_dir()
        other, _ = checkpoint.load(Path(average)) if shipped else trained_network(*average.rsplit("/", 1))
        averaged(network, other, share)
    if int8:
        save_int8(network, directory)
    else:
        checkpoint.save(network, directory, dtype=torch.bfloat16)
    shutil.copy(cache_directory() / "tokenizer" / "tokenizer.json", directory / "tokenizer.json")
    for file, content in (("generation_config.json", GENERATION), ("midspan.json", manifest(clock))):
        (directory / file).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("directory", type=Path, nargs="?", default=Path(bundled.__path__[0]) / "midspan-mini")
    parser.add_argument("--name", required=True, help="the run's folder under the cache directory")
    parser.add_argument("--checkpoint", default="final", help="latest, before-decay or final")
    parser.add_argument("--int8", action="store_true", help="a byte per weight and a scale per row, not bfloat16")
    parser.add_argument(
        "--average", default="", metavar="RUN/CHECKPOINT", help="another one, or such a directory, to average with"
    )
    parser.add_argument("--share", type=float, default=0.25, help="of that one in the average")
    args = parser.parse_args(argv)
    export(args.name, args.checkpoint, args.directory, args.int8, args.average, args.share)
    print(f"{args.directory}: {sum(file.stat().st_size for file in args.directory.iterdir()) / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
