"""A training session on a borrowed GPU machine: half an hour, short calls, small transfers, nothing fetched there.

    python3 -m midspan.engine.training.gpu probe [--docs N ...] [OPTION of train ...]
    python3 -m midspan.engine.training.gpu start PARTS [OPTION of train ...]
    python3 -m midspan.engine.training.gpu wait [--seconds S]
    python3 -m midspan.engine.training.gpu collect OUT [--bf16 PIECE]

`probe` names the modules that are missing and times steps of every batch size, without a corpus. `start` joins the
parts of the cache directory and begins the run, with the fastest batch size, as a process of its own that outlives the
call; called again it does nothing, or goes on from the last checkpoint where the run was ended. `wait` prints the log
as it grows and returns when the run ends or the time is over. `collect` exports the newest checkpoint with int8
weights, in pieces that small transfers take, beside the log; with --bf16 the n-th lot of pieces of the bf16 weights.

On the machine that has the corpus (it and the tokenizer are all that travels):

    python -m midspan.engine.training.carry split ~/.cache/midspan .gpu/a --only corpus tokenizer --mb 30
    mkdir .gpu/b; mv .gpu/a/part.001 .gpu/b

Then four calls of at most ten minutes in the repository's root, one right behind the other, for the machine keeps its
files only while it is held. The first carries `.gpu/a`, the second `.gpu/b`, so that each stays below 64 MiB; `$OUT` is
the folder that comes back. Each begins with

    export MIDSPAN_CACHE=/tmp/midspan PYTHONPATH=/tmp/site PYTHONUNBUFFERED=1; mkdir -p /tmp/site /tmp/parts;
    ln -sfn "$PWD" /tmp/site/midspan; gpu() { python3 -m midspan.engine.training.gpu "$@"; };
    RUN="--shape mini-wide --length 1024 --canvases 12 --minutes 21 --canvas-weight 1.25 --decay 0.6 --memory 60";

and goes on with

    1    cp .gpu/a/* /tmp/parts; nvidia-smi -L; gpu probe --docs 48 96 $RUN
    2    cp .gpu/b/* /tmp/parts; gpu start /tmp/parts $RUN && gpu wait --seconds 480
    3    gpu start /tmp/parts $RUN; gpu wait --seconds 570
    4    gpu start /tmp/parts $RUN; gpu wait --seconds 400; gpu collect $OUT
    5    gpu collect $OUT --bf16 0    where time is left; 6 likewise with --bf16 1

Of 30 minutes the machine takes 1 to 2 to start, the first call 2, joining and compiling 2, training 21, the end 2.
The whole rehearses on a CPU in two minutes: `--device cpu --workers 1 --eager --shape mini --docs 1 --length 64
--canvases 2 --branches 2 --minutes 0.3` in RUN's place.

Sizing. mini-wide has 25 M of 48 M weights at work, 20 M of them without embedding and self-conditioning. A document
token brings 20 * 48 / 1024 slots of canvases and branches, so 1.94 rows: 0.27 GFLOP in the layers (a third of the
experts' is padding to their capacity), 0.03 in the head, 0.08 in attention. A H200 makes 790 TFLOP/s of an 8192^3
product; of products this small, with as much time in norms, softmax and routing, 100 to 150 are likely: 0.26 to 0.4 M
document tokens a second, 0.33 to 0.5 G in 21 minutes, three to four times over a corpus of 110 M. Batches for that take
one or two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import repeat
from pathlib import Path

import torch

from . import carry
from .corpus import cache_directory
from .examples import N_SPECIAL, Batch, Shape
from .export import export
from .packed import N_RIGHT, Branches, Packed
from .runs import Run, run_directory
from .train import Trainer, options

MODULES = ("torch", "numpy", "tokenizers", "safetensors", "rich")
NAME = "gpu"
PROBED_STEPS = 8
PIECE_MB = 15.0
PIECES = 4  # in one transfer


def defaults() -> list[str]:
    """Options of `train` that every call of a session has."""
    workers = max(1, len(os.sched_getaffinity(0)) - 2)
    return ["--name", NAME, "--device", "cuda", "--processes", "1", "--workers", str(workers)]


def random_batch(shape: Shape, vocabulary: int) -> Batch:
    """Of the right sizes and of no sense: to time a step before there is a corpus."""
    canvases = (shape.n_docs, shape.n_canvases)
    ids = torch.randint(N_SPECIAL, vocabulary, (shape.n_docs, shape.length))
    slots = torch.randint(N_SPECIAL, vocabulary, (*canvases, shape.n_slots))
    packed = Packed(ids, slots, torch.randint(1, shape.length, canvases), torch.full(canvases, shape.n_slots))
    if shape.n_branches:
        each = (shape.n_docs, shape.n_branches)
        branch = torch.randint(N_SPECIAL, vocabulary, (*each, shape.n_slots))
        branches = Branches(branch, torch.randint(1, shape.length, each), torch.full(each, N_RIGHT))
        packed = replace(packed, branches=branches)
    after = torch.randint(N_SPECIAL, vocabulary, (shape.n_docs, shape.n_branches, shape.n_slots - N_RIGHT))
    rows = torch.arange(slots.numel()).view(-1, shape.n_slots)[:, : shape.loss_rows_per_canvas].flatten()
    yes = torch.ones(len(rows), dtype=torch.bool)
    return Batch(packed, ids.roll(-1, 1), rows, slots.flatten()[rows], yes.float(), yes, yes, after)


def probe(sizes: Sequence[int], train_options: Sequence[str]) -> int:
    """Document tokens a second at each number of documents; the fastest is what `start` takes."""
    missing = [name for name in MODULES if find_spec(name) is None]
    if missing:
        print(f"missing here: {', '.join(missing)}; carry their wheels", flush=True)
        return 1
    found: dict[int, float] = {}
    for docs in sizes:
        args = options().parse_args([*defaults(), *train_options, "--name", f"{NAME}-probe", "--docs", str(docs)])
        torch.compiler.reset()
        try:
            found[docs] = tokens_per_second(Trainer(args, 0))
        except torch.OutOfMemoryError:
            print(f"{docs} documents do not fit", flush=True)
            break
        print(f"{docs} documents: {found[docs]:,.0f} tokens/s", flush=True)
    shutil.rmtree(run_directory(f"{NAME}-probe"), ignore_errors=True)
    if not found:
        return 1
    cache_directory().mkdir(parents=True, exist_ok=True)
    (cache_directory() / "docs").write_text(str(max(found, key=lambda docs: found[docs])))
    return 0


def tokens_per_second(trainer: Trainer) -> float:
    trainer.batches = repeat(random_batch(trainer.shape, trainer.network.config.vocab_size))
    trainer.warm_up()
    trainer.train_step()
    start = time.monotonic()
    for _ in range(PROBED_STEPS):
        trainer.train_step()["canvas"].item()  # waits for the device
    peak = torch.cuda.max_memory_allocated() / 2**30 if trainer.device.type == "cuda" else 0.0
    print(f"{PROBED_STEPS} steps, {peak:.0f} GiB of the device at most", flush=True)
    return PROBED_STEPS * trainer.shape.n_docs * trainer.shape.length / (time.monotonic() - start)


def start(parts: Path, train_options: list[str]) -> int:
    if not (cache_directory() / "corpus" / "corpus.json").exists():
        carry.join(parts, cache_directory())
    if Run(NAME).has("final"):
        print("the run has ended")
        return 0
    if running():
        print("the run goes on")
        return 0
    fastest = cache_directory() / "docs"
    docs = ["--docs", fastest.read_text()] if fastest.exists() else []
    command = [sys.executable, "-m", "midspan.engine.training.train", *defaults(), *docs, *train_options]
    directory = run_directory(NAME)
    with (directory / "output").open("ab") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    (directory / "pid").write_text(str(child.pid))
    print(f"started: {' '.join(command[3:])}")
    return 0


def running() -> bool:
    path = run_directory(NAME) / "pid"
    if not path.exists():
        return False
    status = Path("/proc") / path.read_text() / "stat"
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def wait(seconds: float) -> int:
    """0: the run has ended as it should, or goes on; 1: it was ended before its time."""
    output, end = run_directory(NAME) / "output", time.monotonic() + seconds
    printed = 0
    while True:
        alive = running()
        text = output.read_text(errors="replace") if output.exists() else ""
        print(text[printed:] if printed else text[-2000:], end="", flush=True)
        printed = len(text)
        if not alive or time.monotonic() > end:
            break
        time.sleep(min(5.0, max(0.1, end - time.monotonic())))
    if alive or Run(NAME).has("final"):
        return 0
    print("the run was ended before its time; `start` goes on from its last checkpoint")
    return 1


def collect(out: Path, bf16: int | None) -> int:
    label = "final" if Run(NAME).has("final") else "latest"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        export(NAME, label, Path(directory) / "model", int8=bf16 is None)
        pieces = carry.split(Path(directory) / "model", Path(directory) / "pieces", int(PIECE_MB * 1e6))
        first = PIECES * (bf16 or 0)
        for path in (*pieces[first : first + PIECES], pieces[0].with_name(carry.INDEX)):
            shutil.copy(path, out)
    for name in ("log.jsonl", f"{label}.json"):
        if (path := run_directory(NAME) / name).exists():
            shutil.copy(path, out)
    print(f"{label}: {len(pieces)} pieces, here from number {first}: {json.dumps(sorted(os.listdir(out)))}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Train on a borrowed GPU machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("probe")
    one.add_argument("--docs", type=int, nargs="+", default=[48, 96])
    commands.add_parser("start").add_argument("parts", type=Path)
    commands.add_parser("wait").add_argument("--seconds", type=float, default=540)
    two = commands.add_parser("collect")
    two.add_argument("out", type=Path)
    two.add_argument("--bf16", type=int, help="which lot of the bf16 weights' pieces, from 0")
    args, others = parser.parse_known_args(argv)
    if others and args.command not in ("probe", "start"):
        parser.error(f"unknown: {' '.join(others)}")
    try:
        if args.command == "probe":
            return probe(args.docs, others)
        if args.command == "start":
            return start(args.parts, others)
        return wait(args.seconds) if args.command == "wait" else collect(args.out, args.bf16)
    except (OSError, ValueError) as error:
        print(f"gpu: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
