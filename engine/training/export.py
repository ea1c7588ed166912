"""A run's checkpoint → the directory that ships: `python -m midspan.engine.training.export --name NAME [DIRECTORY]`.

Weights as bfloat16 safetensors in the Hugging Face layout, the tokenizer, the sampler's settings and `midspan.json`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from .. import bundled
from ..checkpoints import checkpoint
from ..network import Network
from .corpus import cache_directory
from .examples import BOS, BUCKETS, DELETE, MASK, N_SPECIAL, Shape
from .mini import SHAPES

GENERATION = {
    "max_denoising_steps": 5,
    "t_min": 0.99,  # training feeds back expected embeddings at temperature 1; transformers refuses t_min = t_max
    "t_max": 1.0,
    "sampler_config": {"_cls_name": "EntropyBoundSamplerConfig", "entropy_bound": 0.1},
}


def manifest(shape: Shape) -> dict[str, object]:
    """`midspan.json`: how training laid out prefix, gap and suffix."""
    return {
        "name": "midspan-mini",
        "noise": "mask",
        "mask_token_id": MASK,
        "delete_token_id": DELETE,
        "bos_token_id": BOS,
        "special_token_ids": list(range(N_SPECIAL)),
        "prefix_tokens": shape.length - shape.n_slots,
        "canvas_tokens": shape.n_slots,
        "gap_buckets": list(BUCKETS),
        "commit_threshold": 0.5,
        "drafts": True,
    }


def export(name: str, label: str, directory: Path) -> None:
    path = cache_directory() / "runs" / name / f"{label}.safetensors"
    masters = {
        key.removeprefix("masters/"): tensor for key, tensor in load_file(path).items() if key.startswith("masters/")
    }
    network = Network(SHAPES[json.loads(path.with_suffix(".json").read_text()).get("shape", "mini")])
    network.load_state_dict(masters, strict=False)
    missing = set(dict(network.named_parameters())) - set(masters)
    if missing:
        raise ValueError(f"the checkpoint lacks {sorted(missing)[0]}")
    checkpoint.save(network, directory, dtype=torch.bfloat16)
    shutil.copy(cache_directory() / "tokenizer" / "tokenizer.json", directory / "tokenizer.json")
    for file, content in (("generation_config.json", GENERATION), ("midspan.json", manifest(Shape()))):
        (directory / file).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("directory", type=Path, nargs="?", default=Path(bundled.__path__[0]) / "midspan-mini")
    parser.add_argument("--name", required=True, help="the run's folder under the cache directory")
    parser.add_argument("--checkpoint", default="final", help="latest, before-decay or final")
    args = parser.parse_args(argv)
    export(args.name, args.checkpoint, args.directory)
    print(f"{args.directory}: {sum(file.stat().st_size for file in args.directory.iterdir()) / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
