"""Devices that are there, those that are not, and running out of memory on one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from midspan.engine import Engine, EngineError, InfillRequest
from midspan.engine.checkpoints import checkpoint, device, loading, plan
from midspan.engine.kernels import target

REQUEST = InfillRequest("def mean(values):\n    return sum(values) / ", "\n", max_tokens=8, document="a.py")
NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.mark.parametrize("name", ["", "warp", "cuda:x", "cpu:", "gpu", "meta", "xpu", "tpu:0", "cuda:-1"])
def test_a_name_that_is_no_device_is_one_clear_sentence(name: str) -> None:
    with pytest.raises(EngineError) as caught:
        device.resolve(name)
    assert f"device {name!r} cannot be used: " in str(caught.value) and "\n" not in str(caught.value)


@NO_GPU
@pytest.mark.parametrize(("name", "why"), [("cuda", "CUDA"), ("cuda:1", "CUDA"), ("mps", "MPS")])
def test_a_device_that_is_not_there_says_why(name: str, why: str) -> None:
    with pytest.raises(EngineError, match=why):
        device.resolve(name)
    with pytest.raises(EngineError, match=why):
        Engine.load(device=name)


@NO_GPU
def test_auto_without_a_gpu_is_the_cpu() -> None:
    assert device.resolve("auto") == torch.device("cpu") == device.resolve("cpu")
    assert [each.name for each in device.available()] == ["cpu"]
    assert Engine.load(device="auto").infill(REQUEST).steps > 0


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """GPUs as torch tells of them; their free bytes, to be changed."""
    free = {0: 2 * 2**30, 1: 80 * 2**30}

    class Properties:
        name, total_memory = "NVIDIA A100", 80 * 2**30

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda which: Properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda which: (free[which.index or 0], 80 * 2**30))
    return free


def test_auto_takes_the_first_gpu_with_room(two_gpus: dict[int, int]) -> None:
    assert device.resolve("auto") == torch.device("cuda:1")
    two_gpus[0] = 40 * 2**30
    assert device.resolve("auto") == torch.device("cuda:0")
    two_gpus.update({0: 0, 1: 2**30})
    assert device.resolve("auto") == torch.device("cpu")
    assert [each.name for each in device.available()] == ["cuda:0", "cuda:1", "cpu"]
    assert device.available()[1].label == "NVIDIA A100" and device.available()[1].dtype == "bfloat16"


def test_a_gpu_that_is_not_among_them_is_said(two_gpus: dict[int, int]) -> None:
    with pytest.raises(EngineError, match="there are 2 GPUs"):
        device.resolve("cuda:2")


@pytest.mark.parametrize(
    ("avx512", "amx", "dtype"),
    [(False, False, torch.float32), (True, False, torch.bfloat16), (False, True, torch.bfloat16)],
)
def test_a_cpu_computes_in_bfloat16_only_where_it_is_made_for_it(
    monkeypatch: pytest.MonkeyPatch, avx512: bool, amx: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert device.best_dtype(torch.device("cpu")) == dtype
    engine = Engine.load()
    assert engine.outlook and engine.outlook.plan.float_bytes == dtype.itemsize
    assert engine.infill(REQUEST).text.strip()


def test_free_memory_is_a_number_that_can_be_planned_with() -> None:
    facts = device.facts(torch.device("cpu"))
    assert facts.free and facts.total and 10**8 < facts.free <= facts.total


def test_fp8_is_left_out_where_there_is_no_such_type() -> None:
    assert device.kinds(torch.device("mps")) == ("bf16", "int8", "int4")
    assert "fp8" in device.kinds(torch.device("cpu"))


# --- out of memory

CPU_FULL = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
    "allocate 400000000000000 bytes. Error code 12 (Cannot allocate memory)"
)
FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("MPS backend out of memory (MPS allocated: 17.00 GB)"),
    RuntimeError(CPU_FULL),
    MemoryError(),
]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load()


def once(function: Callable[..., Any], error: BaseException) -> Callable[..., Any]:
    """`function`, which raises `error` at its second call and never again."""
    calls: Iterator[int] = iter(range(10**9))

    def run(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == 1:
            raise error
        return function(*args, **kwargs)

    return run


@pytest.mark.parametrize("error", FULL, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["denoise", "encode", "logits"])
def test_a_request_that_finds_no_memory_fails_and_the_next_one_does_not(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, where: str, error: BaseException
) -> None:
    expected = engine.infill(REQUEST)
    engine._prefixes.clear()
    captured: Any = engine._filler._device_loop._rooms
    captured[512] = object()
    with monkeypatch.context() as patched:
        patched.setattr(engine._network, where, once(getattr(engine._network, where), error))
        with pytest.raises(EngineError) as caught:
            engine.infill(REQUEST)
        assert not engine._prefixes._documents and not captured, "what was encoded or captured still takes memory"
        assert caught.value.__context__ is None, "the failed request's tensors are still alive"
        message = str(caught.value)
        assert "cpu ran out of memory" in message and "quantize=fp8 needs " in message and "\n" not in message
        again = engine.infill(REQUEST)
    assert (again.text, again.confidence) == (expected.text, expected.confidence)


def test_other_errors_are_not_taken_for_it(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    fault = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    monkeypatch.setattr(engine._network, "denoise", once(engine._network.denoise, fault))
    with pytest.raises(RuntimeError, match="mat1"):
        engine.infill(REQUEST)


def test_kernels_that_cannot_be_compiled_are_done_without(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """No C compiler, say, which Triton wants on a machine that has a GPU: one line in the log, and the same fill."""
    monkeypatch.setattr(target, "_given_up", False)
    expected = engine.infill(REQUEST)
    engine._prefixes.clear()
    within: dict[str, Any] = {"__name__": "triton.runtime.build"}
    exec("def build():\n    raise RuntimeError('Failed to find C compiler')", within)
    plain = engine._network.denoise

    def denoise(*args: Any, **kwargs: Any) -> Any:
        if not target._given_up:
            within["build"]()
        return plain(*args, **kwargs)

    monkeypatch.setattr(engine._network, "denoise", denoise)
    assert engine.infill(REQUEST).text == expected.text
    assert target._given_up and [record.levelname for record in caplog.records] == ["WARNING"]
    assert "C compiler" in caplog.text
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with torch.no_grad():
        assert not target.use_triton(torch.ones(1))


def test_the_smallest_plan_offers_no_smaller_one() -> None:
    assert "no smaller way" in loading.look(quantize="int4").advice()
    assert "quantize=int4 needs" in loading.look(quantize="int8").advice()


def test_no_memory_while_loading_is_an_offer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise FULL[0]

    monkeypatch.setattr(checkpoint, "decode", full)
    with pytest.raises(EngineError, match="ran out of memory while loading midspan-mini; quantize=fp8 needs") as caught:
        Engine.load()
    assert caught.value.__context__ is None


def test_a_model_too_large_for_its_device_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SMALL", 0)
    monkeypatch.setattr(loading, "free_memory", lambda device: 10**8)
    with pytest.raises(EngineError, match=r"does not fit: it needs .* MB with experts in int4 .*cpu has 100 MB free"):
        Engine.load()


@pytest.mark.parametrize("quantize", ["bf16", "fp8", "int8", "int4"])
def test_the_bundled_model_fills_in_any_kind(quantize: str) -> None:
    engine = Engine.load(quantize=quantize)
    assert engine.outlook and engine.outlook.plan.experts == quantize
    assert engine.infill(REQUEST).text.strip()


def test_a_kind_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="'int3'"):
        Engine.load(quantize="int3")
