"""Trains midspan-mini: `python -m midspan.engine.training.train --name NAME --minutes M`.

One document pass and all its canvases in one forward (`packed`), causal loss on every document token plus the loss on
the canvases' gap slots. Stops by the clock, so that a run fits the machine it has: learning rates rise, stay, and
fall to zero over the last part of the time. Resumes from its last checkpoint; keeps the one before the decay, from
which a longer run can go on. Runs live under the cache directory, never in the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ..network import Network
from .corpus import cache_directory
from .examples import DELETE, Batch, Examples, Shape
from .loss import CHUNK, DEVICE_CHUNK, SoftcappedCrossEntropy
from .mini import MINI, SHAPES, initialize
from .optimizer import Optimizer
from .packed import PackedForward

WARMUP_STEPS = 60
BALANCE_WEIGHT = 0.01
SELF_CONDITIONING_SHARE = 0.25  # of the steps; each costs one more forward
SAVE_SECONDS = 120.0
EVALUATE_SECONDS = 300.0
LANGUAGES = {"python": 0.9, "javascript": 0.06, "typescript": 0.04}


class Stream(IterableDataset[Batch]):
    """Training batches; each worker process draws its own."""

    def __init__(self, languages: dict[str, float], tokenizer: Tokenizer, shape: Shape, seed: int) -> None:
        self.arguments, self.seed = ("train", languages, tokenizer, shape), seed

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        return iter(Examples(*self.arguments, self.seed + (7919 * (1 + worker.id) if worker else 0)))


class Trainer:
    """One process' share of a run: network, optimiser, data stream, clock."""

    def __init__(self, args: argparse.Namespace, rank: int) -> None:
        self.args, self.rank = args, rank
        self.directory = cache_directory() / "runs" / args.name
        self.directory.mkdir(parents=True, exist_ok=True)
        self.device = torch.device(args.device)
        torch.manual_seed(args.seed)
        network = Network(SHAPES[args.shape])
        initialize(network)
        self.network = network.to(self.device, torch.bfloat16)
        self.optimizer = Optimizer(self.network)
        self.shape = Shape(n_docs=args.docs)
        shape = (self.shape.n_docs, self.shape.length, self.shape.n_canvases, self.shape.n_slots)
        self.forward = PackedForward(self.network, shape, compiled=not args.eager)
        self.chunk = CHUNK if self.device.type == "cpu" else DEVICE_CHUNK
        self.loss = SoftcappedCrossEntropy(MINI.final_logit_softcapping, compiled=not args.eager, chunk=self.chunk)
        self.tokenizer = Tokenizer.from_file(str(cache_directory() / "tokenizer" / "tokenizer.json"))
        self.step, self.seconds, self.tokens = 0, 0.0, 0
        if (self.directory / "latest.json").exists():
            self.restore("latest")
        elif args.start:
            self.restore(args.start)
            self.seconds = 0.0
        stream = Stream(LANGUAGES, self.tokenizer, self.shape, args.seed + 1000 * self.step + rank)
        # Batches are made beside the training where a device trains faster than one core can cut and tokenise.
        self.batches = iter(DataLoader(stream, batch_size=None, num_workers=args.workers))

    def progress(self) -> float:
        return self.seconds / (60 * self.args.minutes)

    def schedule(self) -> float:
        decay = self.args.decay
        return min(1.0, (self.optimizer.steps + 1) / WARMUP_STEPS, max(0.0, (1 - self.progress()) / decay))

    def losses(self, batch: Batch, conditioned: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss with gradient, and its parts in nats to log."""
        soft = None
        if conditioned:
            with torch.no_grad():
                _, canvas, _ = self.forward(batch.packed, None)
                soft = self._soft(batch, canvas)
        document, canvas, balance = self.forward(batch.packed, soft)
        hidden = torch.cat((document.flatten(0, 1), canvas.flatten(0, 2)[batch.rows]))
        target = torch.cat((batch.next_token.flatten(), batch.target))
        n_causal = batch.next_token.numel()
        weight = torch.cat(
            (
                torch.full((n_causal,), 1 / n_causal, device=self.device),
                self.args.canvas_weight * batch.weight / batch.weight.sum(),
            )
        )
        total, each = self.loss(hidden, self.network.embed_tokens.weight, target, weight)
        real = batch.masked & (batch.target != DELETE)
        parts = {
            "causal": each[:n_causal].mean(),
            "canvas": each[n_causal:][real].mean(),
            "balance": balance.detach(),
        }
        return total + BALANCE_WEIGHT * balance, parts

    def _soft(self, batch: Batch, canvas: Tensor) -> Tensor:
        """What decoding feeds back: expected embeddings on gap slots in the loss, own embeddings elsewhere."""
        soft = self.network.embed(batch.packed.canvas).flatten(0, 2)
        rows = batch.rows[batch.weight > 0]
        for chunk in rows.split(self.chunk):
            soft[chunk] = self.network.soft_embeddings(self.network.logits(canvas.flatten(0, 2)[chunk]))
        return soft.view(*batch.packed.canvas.shape, -1)

    def train_step(self) -> dict[str, Tensor]:
        batch = next(self.batches).to(self.device)
        conditioned = self.step > 200 and torch.rand(()).item() < SELF_CONDITIONING_SHARE
        loss, parts = self.losses(batch, conditioned)
        if not torch.isfinite(loss):
            raise RuntimeError(f"loss is {loss.item()} at step {self.step}")
        loss.backward()
        self.optimizer.step(self.schedule())
        self.step += 1
        self.tokens += batch.next_token.numel() * self.args.processes
        return parts

    def run(self) -> None:
        mark, saved, evaluated = time.monotonic(), time.monotonic(), time.monotonic()
        window: list[dict[str, Tensor]] = []
        kept_before_decay = self.progress() > 1 - self.args.decay
        while self.progress() < 1:
            window.append(self.train_step())
            now = time.monotonic()
            self.seconds, mark = self._agree(self.seconds + now - mark), now
            if self.step % 25 == 0:
                means = {key: torch.stack([parts[key] for parts in window]).mean().item() for key in window[0]}
                self.log({"lr": self.schedule(), **means})
                window.clear()
            if self.rank == 0:
                if now - saved > SAVE_SECONDS:
                    self.save("latest")
                    saved = time.monotonic()
                if not kept_before_decay and self.progress() > 1 - self.args.decay:
                    self.save("before-decay")
                    kept_before_decay = True
                if now - evaluated > EVALUATE_SECONDS:
                    self.log(self.evaluate())
                    evaluated = time.monotonic()
            if psutil.Process().memory_info().rss > self.args.memory * 2**30:
                raise MemoryError(f"process {self.rank} grew past {self.args.memory} GiB; resume with the same command")
        if self.rank == 0:
            self.save("latest")
            self.save("final")
            self.log(self.evaluate())

    def _agree(self, seconds: float) -> float:
        """One clock for all processes, or they would stop at different steps."""
        if not dist.is_initialized():
            return seconds
        clock = torch.tensor([seconds], dtype=torch.float64)
        dist.broadcast(clock, src=0)
        return clock.item()

    def evaluate(self) -> dict[str, float]:
        """Nats and top-1 accuracy on held-out packages; `frontier`: the first missing token with its left side true."""
        examples = Examples("val", {"python": 1.0}, self.tokenizer, self.shape, seed=7)
        sums: dict[str, list[float]] = {}
        with torch.no_grad():
            for _ in range(4):
                batch = examples.batch().to(self.device)
                document, canvas, _ = self.forward(batch.packed, None)
                hidden = canvas.flatten(0, 2)[batch.rows]
                logits = self.network.logits(hidden)
                right = (logits.argmax(-1) == batch.target).float()
                each = torch.nn.functional.cross_entropy(logits, batch.target, reduction="none")
                masked = batch.masked
                causal = torch.nn.functional.cross_entropy(
                    self.network.logits(document.flatten(0, 1)), batch.next_token.flatten()
                )
                real = masked & (batch.target != DELETE)
                for key, value in (
                    ("val_causal", causal),
                    ("val_canvas", each[real].mean()),
                    ("val_frontier", right[batch.frontier & real].mean()),
                    ("val_delete", right[masked & (batch.target == DELETE)].mean()),
                ):
                    sums.setdefault(key, []).append(value.item())
        return {key: sum(values) / len(values) for key, values in sums.items()}

    def log(self, record: dict[str, float]) -> None:
        if self.rank != 0:
            return
        head = {"step": self.step, "tokens": self.tokens, "seconds": round(self.seconds)}
        rss = psutil.Process().memory_info().rss / 2**30
        line = json.dumps({**head, **{k: round(v, 4) for k, v in record.items()}, "rss": round(rss, 2)})
        print(line, flush=True)
        with (self.directory / "log.jsonl").open("a") as file:
            file.write(line + "\n")

    def save(self, label: str) -> None:
        """Atomic: a run that is killed while saving still has its previous checkpoint."""
        state = self.optimizer.state()
        tensors = {
            f"{kind}/{name}": tensor for kind in ("masters", "first", "second") for name, tensor in state[kind].items()
        }
        part = self.directory / f"{label}.part"
        save_file(tensors, part)
        os.replace(part, self.directory / f"{label}.safetensors")
        clock = {"step": self.step, "seconds": self.seconds, "tokens": self.tokens, "optimizer": state["steps"]}
        clock["shape"] = self.args.shape
        (self.directory / f"{label}.json").write_text(json.dumps(clock))

    def restore(self, label: str) -> None:
        path = Path(label) if "/" in label else self.directory / label
        clock = json.loads(path.with_suffix(".json").read_text())
        tensors = load_file(path.with_suffix(".safetensors"))
        state: dict[str, Any] = {"masters": {}, "first": {}, "second": {}, "steps": clock["optimizer"]}
        for key, tensor in tensors.items():
            kind, _, name = key.partition("/")
            state[kind][name] = tensor
        self.optimizer.restore(state)
        self.step, self.seconds, self.tokens = clock["step"], clock["seconds"], clock["tokens"]


def overfit(trainer: Trainer, limit: int) -> bool:
    """Learns a single batch by heart; True once every gap slot of it is right. The check before any long run."""
    batch = next(trainer.batches).to(trainer.device)
    for step in range(limit):
        loss, parts = trainer.losses(batch, conditioned=False)
        loss.backward()
        trainer.optimizer.step(min(1.0, (step + 1) / 20))
        if step % 10 == 9:
            with torch.no_grad():
                _, canvas, _ = trainer.forward(batch.packed, None)
                logits = trainer.network.logits(canvas.flatten(0, 2)[batch.rows])
                wrong = ((logits.argmax(-1) != batch.target) & (batch.weight > 0)).sum().item()
            print(f"overfit: step {step + 1}, causal {parts['causal']:.3f}, wrong slots {wrong}", flush=True)
            if wrong == 0:
                return True
    return False


def work(rank: int, args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity") and args.processes > 1:
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[rank % len(cores)]})  # or two ranks end up sharing one core
    if args.processes > 1:
        store = f"tcp://127.0.0.1:{args.port}"
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=args.processes)
    trainer = Trainer(args, rank)
    if args.overfit:
        sys.exit(0 if overfit(trainer, args.overfit) else 1)
    trainer.run()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Train midspan-mini.")
    parser.add_argument("--name", required=True, help="the run's folder under the cache directory")
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument(
        "--decay", type=float, default=0.35, help="share of the time in which learning rates fall to zero"
    )
    parser.add_argument("--shape", default="mini", choices=SHAPES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, default=2, help="one per core; 1 with a GPU")
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches, for each that trains")
    parser.add_argument("--docs", type=int, default=8, help="documents per process and step; about 256 on a GPU")
    parser.add_argument("--canvas-weight", type=float, default=1.0)
    parser.add_argument("--start", help="begin from this checkpoint (a path without suffix) with a fresh clock")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", type=float, default=6, help="GiB per process at which the run stops itself")
    parser.add_argument("--port", type=int, default=29_517)
    parser.add_argument("--eager", action="store_true", help="do not compile")
    parser.add_argument("--overfit", type=int, default=0, metavar="STEPS", help="only the overfit check")
    args = parser.parse_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if args.processes == 1 or args.overfit:
        args.processes = 1
        work(0, args)
    else:
        spawn(work, (args,), nprocs=args.processes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
