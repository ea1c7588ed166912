"""What `midspan doctor` finds: everything here that a fill needs, what goes where, and one fill to prove it.

Works in this process, without a server. Reads; changes nothing, fetches nothing. What is known of devices and of plans
is the engine's; here it becomes sentences, each problem with what to do about it.
"""

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from ..settings.settings import Settings
from .fill import MARK, SAMPLE

State = Literal["ok", "warning", "problem"]
OLDEST_PYTHON = (3, 11)
OLDEST_TORCH = (2, 11)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. advice: what to do about it, "" where nothing needs doing; facts: for programs."""

    name: str
    state: State
    says: str
    advice: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Wishes:
    """What the user named on the command line, as for the server's settings of the same names."""

    model: Path | None = None
    device: str = "cpu"
    quantize: str | None = None


def examine(wishes: Wishes, on_progress: Callable[[float, str], None]) -> Iterator[Finding]:
    """What is found, in the order in which a fill would need it; ends where nothing further can be said."""
    yield _python()
    yield _grammars()
    torch = _torch()
    yield torch
    if torch.state == "problem":
        return
    devices = list(_devices(wishes.device))
    yield from devices
    model = _model(wishes.model)
    yield model
    if any(finding.state == "problem" for finding in (*devices, model)):
        return
    plan = _plan(wishes)
    yield plan
    if plan.state != "problem":
        yield _fill(wishes, on_progress)


def _python() -> Finding:
    version = platform.python_version()
    says = f"Python {version}, midspan {metadata.version('midspan')}, {platform.system()} {platform.machine()}"
    facts = {"version": version, "executable": sys.executable}
    if sys.version_info < OLDEST_PYTHON:
        needed = ".".join(map(str, OLDEST_PYTHON))
        return Finding("python", "problem", says, f"install midspan with Python {needed} or newer", facts)
    return Finding("python", "ok", says, "", facts)


def _grammars() -> Finding:
    from ...grammars.languages import LANGUAGES  # noqa: PLC0415

    here, missing = [], []
    for language in {row.id: row for row in LANGUAGES.values()}.values():
        (missing if language.grammar() is None else here).append(language.id)
    facts = {"available": sorted(here), "missing": sorted(missing)}
    says = f"grammars for {len(here)} languages"
    if not missing:
        return Finding("grammars", "ok", says, "", facts)
    says += f"; without one, by brackets and indentation alone: {', '.join(sorted(missing))}"
    advice = "pip install --upgrade 'midspan[languages]'; some grammars need Python older than 3.13"
    return Finding("grammars", "warning", says, advice, facts)


def _torch() -> Finding:
    if find_spec("torch") is None:
        return Finding("torch", "problem", "torch is not installed", "pip install 'torch>=2.11'")
    # As for the server's engine (`loading.py`), or the timed fill would not be one a user will see.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", str(Settings().engine_threads))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import torch  # noqa: PLC0415
    except Exception as error:  # a broken installation fails in many ways
        return Finding("torch", "problem", f"torch cannot be imported: {error}", "pip install --force-reinstall torch")
    built = "ROCm " + torch.version.hip if torch.version.hip else f"CUDA {torch.version.cuda}"
    if not (torch.version.hip or torch.version.cuda):
        built = "MPS" if torch.backends.mps.is_built() else "CPU only"
    facts = {"version": torch.__version__, "built_for": built, "threads": Settings().engine_threads}
    says = f"torch {torch.__version__} ({built}), {facts['threads']} threads for the engine"
    if tuple(int(part) for part in torch.__version__.split("+", maxsplit=1)[0].split(".")[:2]) < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        return Finding("torch", "problem", says, f"pip install --upgrade 'torch>={oldest}'", facts)
    return Finding("torch", "ok", says, "", facts)


def _devices(wanted: str) -> Iterator[Finding]:
    from ...engine import EngineError  # noqa: PLC0415
    from ...engine.checkpoints import device, plan  # noqa: PLC0415
    from ...engine.kernels import native  # noqa: PLC0415

    try:
        chosen = device.resolve(wanted)
    except EngineError as error:
        chosen, trouble = None, str(error)
    else:
        trouble = ""
    for each in device.available():
        memory = "memory unknown" if each.free is None else f"{plan.size(each.free)} free"
        if each.free is not None and each.total is not None:
            memory += f" of {plan.size(each.total)}"
        used = chosen is not None and each.name in (str(chosen), f"{chosen}:0")
        says = f"{each.name}: {each.label}, {memory}, {each.dtype}{' — used' if used else ''}"
        state: State = "ok"
        advice = ""
        if used and each.name.startswith("cuda") and find_spec("triton") is None:
            state, advice = (
                "warning",
                "pip install 'midspan[gpu]': without triton a GPU runs at a fraction of its speed",
            )
        elif used and each.name == "cpu" and each.dtype == "float32" and native.library() is None:
            state, advice = (
                "warning",
                "install a C compiler and midspan anew: layers that are not compiled take two to six times as long",
            )
        elif not used and each.name != "cpu" and wanted == "cpu":
            advice = f"to use it, set `device` to `auto` or `{each.name}` (here: --device {each.name})"
        yield Finding("device", state, says, advice, asdict(each) | {"used": used})
    if trouble:
        advice = "name one of the devices above; a GPU needs its driver and a build of torch for it"
        yield Finding("device", "problem", trouble, advice)


def _model(named: Path | None) -> Finding:
    from ...engine import EngineError  # noqa: PLC0415
    from ...engine.checkpoints import checkpoint, loading, plan  # noqa: PLC0415

    try:
        directory = named or loading.bundled_directory()
        contents = checkpoint.inspect(directory)
    except EngineError as error:
        advice = "give the directory of a whole checkpoint: config.json, tokenizer.json and all .safetensors files"
        return Finding("model", "problem", str(error), advice if named else "reinstall midspan")
    n_weights, files = sum(plan.parameters(contents.config).values()), contents.files
    stored = {"float": "not quantised", "fp8": "experts in fp8", "nvfp4": "experts in nvfp4"}[contents.experts]
    facts = {
        "directory": str(directory),
        "parameters": n_weights,
        "experts": contents.experts,
        "files": {file.name: file.stat().st_size for file in files},
    }
    says = (
        f"{directory.name}: {_count(n_weights)} weights, {stored}, {plan.size(contents.nbytes)} in "
        f"{len(files)} file{'s' * (len(files) > 1)}; every tensor is in its place"
    )
    return Finding("model", "ok", says, "", facts)


def _plan(wishes: Wishes) -> Finding:
    """How the model would go into the device."""
    from ...engine import EngineError  # noqa: PLC0415
    from ...engine.checkpoints import loading, plan  # noqa: PLC0415

    try:
        outlook = loading.look(wishes.model, wishes.device, wishes.quantize)
    except EngineError as error:
        advice = "take another device or, with quantize, fewer bits; or close what else uses the memory"
        return Finding("plan", "problem", str(error), advice)
    chosen = outlook.plan
    facts = asdict(chosen) | {"device": str(outlook.device), "free": outlook.free, "total": chosen.total}
    facts["tried"] = [{"experts": each.experts, "rest": each.rest, "total": each.total} for each in outlook.plans]
    says = f"on {outlook.device}, {chosen}: {plan.size(chosen.total)} in all"
    if outlook.free is not None and chosen.total > outlook.free:
        advice = "close what else uses the memory"
        return Finding("plan", "warning", f"{says}, and {plan.size(outlook.free)} are free", advice, facts)
    return Finding("plan", "ok", says, "", facts)


def _fill(wishes: Wishes, on_progress: Callable[[float, str], None]) -> Finding:
    from ...engine import Engine, EngineError, InfillRequest  # noqa: PLC0415

    prefix, suffix = SAMPLE.split(MARK)
    started = time.perf_counter()
    try:
        engine = Engine.load(
            wishes.model,
            device=wishes.device,
            threads=Settings().engine_threads,
            quantize=wishes.quantize,
            on_progress=on_progress,
        )
        loaded = time.perf_counter()
        engine.infill(InfillRequest(prefix, suffix, document="sample"))
        first = time.perf_counter()
        # As if one character had been typed: what is encoded already stays.
        infill = engine.infill(InfillRequest(prefix, suffix, document="sample"))
        again = time.perf_counter()
    except EngineError as error:
        return Finding("fill", "problem", str(error), "see what is said of the model and the device above")
    except Exception as error:  # here of all places a fault of ours must not end in a traceback
        return Finding("fill", "problem", f"{type(error).__name__}: {error}", "report this, with all of what is above")
    facts = {
        "text": infill.text,
        "source": infill.source,
        "steps": infill.steps,
        "confidence": infill.confidence,
        "seconds": {"load": loaded - started, "first": first - loaded, "again": again - first},
    }
    line = f"{prefix.splitlines()[-1].strip()}⟦{infill.text}⟧{suffix.splitlines()[0]}"
    says = (
        f"{line} in {1000 * (again - first):.0f} ms, {infill.steps} denoise "
        f"steps, the first time {1000 * (first - loaded):.0f} ms; loaded in {loaded - started:.1f} s"
    )
    if not infill.text.strip():
        return Finding("fill", "warning", f"the model filled nothing: {says}", "try another model", facts)
    if again - first > Settings().deadline:
        advice = "set `deadline` higher, or take a GPU or a smaller model"
        return Finding(
            "fill", "warning", f"slower than the deadline of {Settings().deadline:g} s: {says}", advice, facts
        )
    return Finding("fill", "ok", says, "", facts)


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} B" if number >= 1e9 else f"{number / 1e6:.1f} M"
