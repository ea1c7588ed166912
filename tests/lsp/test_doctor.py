"""`midspan doctor`: what is there, what is not, what to do about it; and nothing leaves the machine."""

import json
import shutil
import socket
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from midspan.engine import Engine
from midspan.engine.checkpoints import device, loading, plan
from midspan.engine.checkpoints.device import best_dtype
from midspan.engine.kernels import native
from midspan.grammars import languages
from midspan.lsp.commands import findings
from midspan.lsp.commands.doctor import doctor
from midspan.lsp.commands.findings import Finding, Wishes, examine
from midspan.lsp.settings.settings import Settings

BUNDLED = Path(str(files("midspan.engine.bundled"))) / "midspan-mini"
ALL = ["python", "grammars", "torch", "device", "model", "plan", "fill"]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """What doctor sets for its process stays in it: these tests share theirs with others."""
    monkeypatch.setattr(findings, "Settings", lambda: Settings(threads=1))
    for name, value in (("OMP_WAIT_POLICY", "PASSIVE"), ("OMP_NUM_THREADS", "1"), ("TOKENIZERS_PARALLELISM", "false")):
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("doctor opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def found(**wishes: Any) -> dict[str, Finding]:
    """The last finding of every name."""
    return {finding.name: finding for finding in examine(Wishes(**wishes), lambda share, words: None)}


def without(directory: Path, name: str) -> Path:
    shutil.copytree(BUNDLED, directory / "model")
    (directory / "model" / name).unlink()
    return directory / "model"


def test_here_all_is_well_and_a_fill_proves_it() -> None:
    told: list[float] = []
    all_found = list(examine(Wishes(), lambda share, words: told.append(share)))
    names = [finding.name for finding in all_found]
    assert sorted(set(names), key=ALL.index) == ALL
    assert not [finding for finding in all_found if finding.state == "problem"]
    by_name = {finding.name: finding for finding in all_found}
    assert "12.4 M weights" in by_name["model"].says
    size = 12.4e6 * best_dtype(torch.device("cpu")).itemsize / 1e6
    assert f"{size:.0f} MB of weights" in by_name["plan"].says
    assert by_name["fill"].facts["text"].strip() and by_name["fill"].facts["text"] in by_name["fill"].says
    assert told[0] == 0.0 and told[-1] == 1.0


def test_for_programs_it_is_one_object_and_the_exit_code_says_the_same() -> None:
    command = [sys.executable, "-m", "midspan.lsp", "doctor", "--json"]
    good = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    report = json.loads(good.stdout)
    assert good.returncode == 0 and report["ok"] and not good.stderr
    plan = next(finding for finding in report["findings"] if finding["name"] == "plan")
    assert plan["facts"]["experts"] == "bf16" and plan["facts"]["total"] > sum(plan["facts"]["weights"].values())
    assert plan["facts"]["tried"][0]["total"] > plan["facts"]["tried"][-1]["total"]


def test_a_problem_is_told_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = without(tmp_path, "config.json")
    assert doctor(Wishes(model=model)) == 1
    told = capsys.readouterr().out
    assert f"{model / 'config.json'} is missing" in told and "→ give the directory of a whole checkpoint" in told
    assert "1 problem to solve" in told and "fill " not in told
    assert doctor(Wishes(model=model), as_json=True) == 1
    report = json.loads(capsys.readouterr().out)
    assert not report["ok"] and report["findings"][-1]["name"] == "model" and report["findings"][-1]["advice"]


@pytest.mark.parametrize(
    ("name", "where", "says"),
    [
        ("model.safetensors", "model", "model.safetensors is missing"),
        ("tokenizer.json", "fill", "tokenizer.json"),
    ],
)
def test_a_model_s_missing_file_is_named(tmp_path: Path, name: str, where: str, says: str) -> None:
    finding = found(model=without(tmp_path, name))[where]
    assert finding.state == "problem" and says in finding.says and finding.advice


def test_a_truncated_or_pickled_model_is_named(tmp_path: Path) -> None:
    model = without(tmp_path, "gate.json")
    weights = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    assert "not a whole safetensors file" in found(model=model)["model"].says
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    assert "pickle" in found(model=model)["model"].says


def test_a_device_that_is_not_there_is_a_problem_and_no_plan_is_made() -> None:
    told = found(device="cuda:99")
    assert told["device"].state == "problem" and "cuda:99" in told["device"].says
    assert told["model"].state == "ok" and "plan" not in told


def test_too_little_memory_is_told_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "SMALL", 0)
    monkeypatch.setattr(loading, "free_memory", lambda device: 50_000_000)
    monkeypatch.setattr(Engine, "load", lambda *args, **wishes: pytest.fail("it was loaded"))
    told = found()
    assert told["plan"].state == "problem" and "does not fit: it needs" in told["plan"].says
    assert "50 MB free" in told["plan"].says and "fill" not in told


def test_a_fault_of_ours_is_a_problem_too_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*args: object, **wishes: object) -> None:
        raise TypeError("stumbled")

    monkeypatch.setattr(Engine, "load", stumble)
    told = found()["fill"]
    assert told.state == "problem" and told.says == "TypeError: stumbled" and "report" in told.advice


def test_the_kind_that_is_asked_for_is_planned_and_filled_with() -> None:
    told = found(quantize="int4")
    assert "experts in int4" in told["plan"].says and told["fill"].facts["text"]


def test_without_torch_there_is_nothing_more_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "find_spec", lambda name: None)
    told = found()
    assert list(told) == ["python", "grammars", "torch"]
    assert told["torch"].state == "problem" and "pip install" in told["torch"].advice


def test_a_grammar_that_is_missing_is_named_but_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    row = next(iter(languages.LANGUAGES.values()))
    missing = languages.Language("basic")
    monkeypatch.setattr(languages, "LANGUAGES", {row.id: row, "basic": missing})
    told = findings._grammars()
    assert told.state == "warning" and told.facts == {"available": [row.id], "missing": ["basic"]}
    assert "basic" in told.says and "pip install" in told.advice


def test_a_fill_slower_than_the_deadline_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "Settings", lambda: Settings(threads=1, deadline=0.0))
    told = found()
    assert told["fill"].state == "warning" and "slower than the deadline" in told["fill"].says


def test_an_installation_without_a_model_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loading.resources, "files", lambda package: tmp_path)
    told = found()["model"]
    assert told.state == "problem" and "no bundled model" in told.says and told.advice == "reinstall midspan"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_where_nothing_was_compiled_it_says_what_that_costs(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "best_dtype", lambda _: dtype)
    monkeypatch.setattr(native, "library", lambda: None)
    told = found()["device"]
    assert (told.state == "warning" and "C compiler" in told.advice) == (dtype == torch.float32)
