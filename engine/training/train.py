"""Trains midspan-mini: `python -m midspan.engine.training.train --name NAME --minutes M`.

One document pass and all its canvases in one forward (`packed`), causal loss on every document token plus the loss on
the canvases' gap slots. Stops by the clock, so that a run fits the machine it has: learning rates rise, stay, and
fall to zero over the last part of the time. Resumes from its last checkpoint; keeps the one before the decay, from
which a longer run can go on. Runs live under the cache directory, never in the repository.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from tokenizers import Tokenizer
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ..checkpoints import checkpoint
from ..checkpoints.device import best_dtype
from ..network import Network
from .corpus import FUNCTIONS, cache_directory
from .examples import DELETE, PAD, Batch, Examples, Shape
from .loss import CHUNK, DEVICE_CHUNK, SoftcappedCrossEntropy
from .mini import SHAPES, initialize
from .optimizer import Optimizer
from .packed import PackedForward
from .runs import Run, peak_gib
from .validation import held, measure, measure_branches

WARMUP_STEPS = 60
BALANCE_WEIGHT = 0.01
SELF_CONDITIONING_SHARE = 0.25  # of the steps; each costs one more forward
SAVE_SECONDS = 120.0
EVALUATE_SECONDS = 300.0
VALIDATION_GAPS = 64  # 8 CPU seconds
LANGUAGES = {"python": 0.74, "javascript": 0.06, "typescript": 0.04, "go": 0.06, "rust": 0.06, "cpp": 0.04}


class Stream(IterableDataset[Batch]):
    """Training batches; each worker process draws its own."""

    def __init__(self, tokenizer: Tokenizer, shape: Shape, seed: int, noise: str, functions: float = 0.0) -> None:
        """functions: share of the documents that are a function standing alone, taken from Python's."""
        self.tokenizer, self.shape, self.seed, self.noise = tokenizer, shape, seed, noise
        self.shares = LANGUAGES
        if functions:
            self.shares = LANGUAGES | {"python": LANGUAGES["python"] - functions, FUNCTIONS: functions}

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        seed = self.seed + (7919 * (1 + worker.id) if worker else 0)
        return iter(Examples("train", self.shares, self.tokenizer, self.shape, seed, self.noise))


class Trainer:
    """One process' share of a run: network, optimiser, data stream, clock."""

    def __init__(self, args: argparse.Namespace, rank: int) -> None:
        self.args, self.rank = args, rank
        self.files = Run(args.name)
        self.now = time.process_time if args.cpu_clock else time.monotonic
        self.device = torch.device(args.device)
        torch.manual_seed(args.seed)
        network = Network(SHAPES[args.shape])
        initialize(network)
        self.network = network.to(self.device, best_dtype(self.device))
        self.optimizer = Optimizer(self.network, muon=not args.adam)
        self.shape = Shape(n_docs=args.docs, length=args.length, n_canvases=args.canvases, n_branches=args.branches)
        shape = (self.shape.n_docs, self.shape.length, self.shape.n_canvases, self.shape.n_slots)
        self.forward = PackedForward(self.network, shape, args.branches, compiled=not args.eager)
        self.chunk = CHUNK if self.device.type == "cpu" else DEVICE_CHUNK
        cap = self.network.config.final_logit_softcapping
        self.loss = SoftcappedCrossEntropy(cap, compiled=not args.eager, chunk=self.chunk)
        self.step, self.seconds, self.tokens = 0, 0.0, 0
        if self.files.has("latest"):
            self.restore("latest")
        elif args.start and Path(args.start).is_dir():
            self.begin(Path(args.start))
        elif args.start:
            self.restore(args.start)
            self.seconds = 0.0
        self.batches: Iterator[Batch] = iter(())

    def open_corpus(self) -> None:
        """Batches are made beside the training where a device trains faster than one core can cut and tokenise."""
        self.tokenizer = Tokenizer.from_file(str(cache_directory() / "tokenizer" / "tokenizer.json"))
        seed = self.args.seed + 1000 * self.step + self.rank
        stream = Stream(self.tokenizer, self.shape, seed, self.args.noise, self.args.functions)
        self.batches = iter(DataLoader(stream, batch_size=None, num_workers=self.args.workers))

    def progress(self) -> float:
        return self.seconds / (60 * self.args.minutes)

    def schedule(self) -> float:
        warm_up = (self.optimizer.steps + 1) / WARMUP_STEPS
        decay = max(0.0, (1 - self.progress()) / self.args.decay)
        return self.args.rate * min(1.0, warm_up, decay)

    def losses(self, batch: Batch, conditioned: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss with gradient, and its parts in nats to log."""
        soft = None
        if conditioned:
            with torch.no_grad():
                _, canvas, _, _ = self.forward(batch.packed, None)
                soft = self._soft(batch, canvas)
        document, canvas, branch, balance = self.forward(batch.packed, soft)
        told = batch.after.flatten()
        n_causal = batch.next_token.numel() if self.args.causal_weight else 0
        heads = (n_causal, len(told), len(batch.rows))
        shares = (
            torch.full((n_causal,), self.args.causal_weight / max(1, n_causal), device=self.device),
            self.args.branch_weight * (told != PAD) / (told != PAD).sum().clamp_min(1),
            self.args.canvas_weight * batch.weight / batch.weight.sum(),
        )
        hidden = (document.flatten(0, 1)[:n_causal], branch.flatten(0, 2), canvas.flatten(0, 2)[batch.rows])
        targets = (batch.next_token.flatten()[:n_causal], told, batch.target)
        total, each = self.loss(
            torch.cat(hidden), self.network.embed_tokens.weight, torch.cat(targets), torch.cat(shares)
        )
        causal, told_each, canvas_each = each.split(heads)
        real = batch.masked & (batch.target != DELETE)
        parts = {"canvas": canvas_each[real].mean(), "balance": balance.detach()}
        if n_causal:
            parts["causal"] = causal.mean()
        if len(told):
            parts["branch"] = told_each[told != PAD].mean()
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

    def warm_up(self) -> None:
        """Compiles before the clock starts, so that it counts training alone."""
        loss, _ = self.losses(next(self.batches).to(self.device), conditioned=True)
        loss.backward()
        self.network.zero_grad(set_to_none=True)

    def run(self) -> None:
        """Until the run's clock has run out, or this call's: then the same command goes on from here."""
        if self.args.cpu_clock:
            self.warm_up()
        mark = saved = evaluated = self.now()
        stop = self.seconds + 60 * self.args.call_minutes
        window: list[dict[str, Tensor]] = []
        kept_before_decay = self.progress() > 1 - self.args.decay
        while self.progress() < 1 and self.seconds < stop:
            window.append(self.train_step())
            now = self.now()
            self.seconds, mark = self._agree(self.seconds + now - mark), now
            if self.step % 25 == 0:
                means = {key: torch.stack([parts[key] for parts in window]).mean().item() for key in window[0]}
                self.log({"lr": self.schedule(), **means})
                window.clear()
            if self.rank == 0:
                if now - saved > SAVE_SECONDS:
                    self.save("latest")
                    saved = self.now()
                if not kept_before_decay and self.progress() > 1 - self.args.decay:
                    self.save("before-decay")
                    kept_before_decay = True
                if now - evaluated > EVALUATE_SECONDS:
                    self.log(self.evaluate())
                    evaluated = self.now()
            if peak_gib() > self.args.memory:
                raise MemoryError(f"process {self.rank} grew past {self.args.memory} GiB; resume with the same command")
        if self.rank == 0:
            self.save("latest")
            if self.progress() >= 1:
                self.log(self.evaluate())
                self.save("final")  # last: where it is, nothing is left to do

    def _agree(self, seconds: float) -> float:
        """One clock for all processes, or they would stop at different steps."""
        if not dist.is_initialized():
            return seconds
        clock = torch.tensor([seconds], dtype=torch.float64)
        dist.broadcast(clock, src=0)
        return clock.item()

    def evaluate(self) -> dict[str, float]:
        """The fixed held-out set; see `validation`."""
        gaps = held(self.tokenizer, VALIDATION_GAPS)
        n_prefix = self.shape.length - self.shape.n_slots
        found = measure(self.network, gaps, n_prefix, self.args.noise)
        return found | (measure_branches(self.network, gaps, n_prefix) if self.args.branches else {})

    def log(self, record: dict[str, float]) -> None:
        if self.rank == 0:
            self.files.log({"step": self.step, "tokens": self.tokens, "seconds": round(self.seconds)}, record)

    def save(self, label: str) -> None:
        clock = {"step": self.step, "seconds": self.seconds, "tokens": self.tokens}
        clock |= {key: getattr(self.args, key) for key in ("shape", "length", "noise", "branches")}
        self.files.save(label, self.optimizer.state(), clock)

    def begin(self, directory: Path) -> None:
        """From weights as they ship, which have neither moments nor a clock. Raises ValueError where their tokens are
        not the corpus'."""
        ours, theirs = (path / "tokenizer.json" for path in (cache_directory() / "tokenizer", directory))
        if ours.read_bytes() != theirs.read_bytes():
            raise ValueError(f"{directory} has another tokenizer than {ours.parent}")
        network, _ = checkpoint.load(directory)
        self.optimizer.adopt(dict(network.named_parameters()))

    def restore(self, label: str) -> None:
        state, clock = self.files.load(label)
        self.optimizer.restore(state)
        self.step, self.seconds, self.tokens = clock["step"], clock["seconds"], clock["tokens"]


def overfit(trainer: Trainer, limit: int) -> bool:
    """Learns a single batch by heart; True once every gap slot of it is right, and every token of a branch. The check
    before any long run."""
    batch = next(trainer.batches).to(trainer.device)
    for step in range(limit):
        loss, parts = trainer.losses(batch, conditioned=False)
        loss.backward()
        trainer.optimizer.step(min(1.0, (step + 1) / 20))
        if step % 10 == 9:
            with torch.no_grad():
                _, canvas, branch, _ = trainer.forward(batch.packed, None)
                logits = trainer.network.logits(canvas.flatten(0, 2)[batch.rows])
                wrong = ((logits.argmax(-1) != batch.target) & (batch.weight > 0)).sum().item()
                said = trainer.network.logits(branch.flatten(0, 2)).argmax(-1)
                wrong += ((said != batch.after.flatten()) & (batch.after.flatten() != PAD)).sum().item()
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
    trainer.open_corpus()
    if args.overfit:
        sys.exit(0 if overfit(trainer, args.overfit) else 1)
    trainer.run()


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Train midspan-mini.")
    add = parser.add_argument
    add("--name", required=True, help="the run's folder under the cache directory")
    add("--minutes", type=float, default=90, help="of the whole run, however many calls it takes")
    add("--call-minutes", type=float, default=float("inf"), help="stop this call after so long; call again to go on")
    add("--cpu-clock", action="store_true", help="count this process' CPU time instead, without compiling")
    add("--decay", type=float, default=0.35, help="share of the time in which learning rates fall to zero")
    add("--rate", type=float, default=1.0, help="of the optimiser's own learning rates, before the decay")
    add("--shape", default="mini", choices=SHAPES)
    add("--length", type=int, default=512, help="tokens of a document; gaps see what stands before them in it")
    add("--docs", type=int, default=8, help="documents per process and step; about 256 on a GPU")
    add("--canvases", type=int, default=8, help="gaps cut out of each document")
    add("--branches", type=int, default=8, help="gaps of each document for the causal mode told of the suffix")
    add("--functions", type=float, default=0.1, help="share of the documents that are a function standing alone")
    add("--noise", default="mask", choices=("mask", "uniform"))
    add("--causal-weight", type=float, default=1.0)
    add("--canvas-weight", type=float, default=1.0)
    add("--branch-weight", type=float, default=1.0)
    add("--adam", action="store_true", help="for the hidden matrices too, instead of Muon")
    add("--start", help="begin with a fresh clock from this checkpoint (a path without suffix) or exported directory")
    add("--seed", type=int, default=0)
    add("--device", default="cpu")
    add("--processes", type=int, default=2, help="one per core; 1 with a GPU")
    add("--workers", type=int, default=0, help="processes that make batches, for each that trains")
    add("--memory", type=float, default=6, help="GiB per process at which the run stops itself")
    add("--port", type=int, default=29_517)
    add("--eager", action="store_true", help="do not compile")
    add("--overfit", type=int, default=0, metavar="STEPS", help="only the overfit check")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = options().parse_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if args.processes == 1 or args.overfit:
        args.processes = 1
        work(0, args)
    else:
        spawn(work, (args,), nprocs=args.processes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
