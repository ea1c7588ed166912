"""Reading a checkpoint of many shards: progress is told, and host memory never holds more than two of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from midspan.engine import Engine
from midspan.engine.checkpoints import checkpoint, plan
from midspan.engine.config import NetworkConfig
from midspan.engine.network import Network
from safetensors.torch import save_file

# Peak and present resident memory of this process; its anonymous and its mapped pages.
MEASURE = """
import json, sys
from pathlib import Path
import torch
from midspan.engine.checkpoints import checkpoint, plan

def resident(field):
    status = Path("/proc/self/status").read_text()
    return int(status.split(field + ":")[1].split()[0]) * 1024

torch.set_num_threads(1)
contents = checkpoint.inspect(Path(sys.argv[1]))
warm = torch.ones(1024, 1024).bfloat16() @ torch.ones(1024, 1024).bfloat16()
for device, experts in json.loads(sys.argv[2]):
    kept = plan.plan(contents.config, experts, "bf16")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    network, _ = checkpoint.load(contents, device, torch.bfloat16, kept)
    print(resident("VmHWM") - before - (0 if device == "meta" else sum(kept.weights.values())))
    del network
"""
N_SHARDS = 6


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory, tiny_config: object) -> Path:
    """A layer a shard, of 15 MB each, in float32: everything read is converted."""
    assert callable(tiny_config)
    config = tiny_config("experts")
    config["text_config"] |= {"hidden_size": 256, "intermediate_size": 128, "moe_intermediate_size": 192}
    config["text_config"] |= {"num_experts": 26, "num_hidden_layers": N_SHARDS, "head_dim": 32, "global_head_dim": 32}
    config["text_config"]["layer_types"] = ["sliding_attention"] * (N_SHARDS - 1) + ["full_attention"]
    directory = tmp_path_factory.mktemp("sharded")
    network = Network(NetworkConfig.from_hf(config))
    shards: list[dict[str, torch.Tensor]] = [{} for _ in range(N_SHARDS)]
    for name, tensor in network.state_dict().items():
        layer = int(name.split(".")[1]) if name.startswith("layers.") else 0
        shards[layer][checkpoint.stored_name(name)] = torch.ones_like(tensor) if tensor.ndim == 1 else tensor * 0
    weight_map = {}
    for i, shard in enumerate(shards):
        save_file(shard, directory / f"model-{i}.safetensors")
        weight_map |= dict.fromkeys(shard, f"model-{i}.safetensors")
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (directory / "config.json").write_text(json.dumps(checkpoint.hf_config(network.config)))
    return directory


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are measured as Linux tells them")
def test_host_memory_holds_two_shards_at_most(sharded: Path) -> None:
    """`meta` stands for an accelerator, whose memory is not the host's; on the CPU the network itself comes on top."""
    loads = [("meta", "bf16"), ("meta", "int4"), ("cpu", "int8")]
    command = [sys.executable, "-c", MEASURE, str(sharded), json.dumps(loads)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    shard = max(file.stat().st_size for file in sharded.glob("*.safetensors"))
    assert shard > 14e6
    for load, peak in zip(loads, result.stdout.split(), strict=True):
        assert int(peak) < 2 * shard + 4e6, f"{load}: {int(peak) / shard:.2f} shards"


def test_progress_rises_to_the_end_and_says_how_much(sharded: Path) -> None:
    told: list[tuple[float, str]] = []
    contents = checkpoint.inspect(sharded)
    checkpoint.load(contents, "meta", torch.bfloat16, None, lambda share, words: told.append((share, words)))
    shares = [share for share, _ in told]
    assert shares == sorted(set(shares)) and shares[-1] == 1.0 and N_SHARDS < len(shares) <= 101
    assert told[-1][1] == f"{plan.size(contents.nbytes)} of {plan.size(contents.nbytes)}"


def test_an_engine_tells_its_loading_from_nought_to_ready() -> None:
    told: list[tuple[float, str]] = []
    Engine.load(on_progress=lambda share, words: told.append((share, words)))
    shares = [share for share, _ in told]
    assert shares[0] == 0.0 and told[-1] == (1.0, "ready") and told[-2][1] == "warming up"
    assert shares == sorted(shares)


def test_what_the_caller_s_progress_raises_reaches_the_caller() -> None:
    def stop(share: float, words: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Engine.load(on_progress=stop)
