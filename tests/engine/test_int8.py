"""An int8 export says the same as the weights it was made from, within half a step of each row's scale."""

from __future__ import annotations

from pathlib import Path

import torch
from midspan.engine.checkpoints import checkpoint
from midspan.engine.network import Network
from midspan.engine.training.int8 import int8_tensors, rows_int8, save_int8
from midspan.engine.training.mini import MINI, initialize

PREFIX = "model.decoder."


def network() -> Network:
    torch.manual_seed(0)
    made = Network(MINI)
    initialize(made)
    return made


def test_rows_come_back_within_half_a_step() -> None:
    weight = torch.randn(7, 33) * torch.tensor([[0.0], [1e-6], [1.0], [3.0], [1e3], [0.1], [2.0]])
    whole, scale = rows_int8(weight)
    assert whole.dtype == torch.int8 and whole.abs().max() == 127
    assert ((whole * scale - weight).abs() <= 0.501 * scale).all()
    assert (whole[0] == 0).all(), "a row of zeros stays one"


def test_every_matrix_is_there_once_and_every_other_tensor_as_it_was() -> None:
    made = network()
    tensors = int8_tensors(made)
    for name, tensor in made.state_dict().items():
        if "experts." in name and "gate_up" in name:
            stems = [
                PREFIX + name.replace("gate_up_proj", f"{e}.{half}_proj") for e in range(8) for half in ("gate", "up")
            ]
            halves = [tensors[f"{stem}.weight"] for stem in stems]
            assert torch.cat(halves).shape == tensor.flatten(0, 1).shape
        elif "experts." in name:
            assert all(PREFIX + name.replace("down_proj", f"{e}.down_proj.weight_scale") in tensors for e in range(8))
        elif tensor.dim() == 2 and "router" not in name:
            back = tensors[PREFIX + name] * tensors[PREFIX + name + "_scale"]
            assert (back - tensor).abs().max() <= 0.501 * tensors[PREFIX + name + "_scale"].max()
    stored = sum(tensor.nbytes for tensor in tensors.values())
    assert stored < 1.06 * sum(p.numel() for p in made.parameters())


def test_files_hold_what_was_quantised(tmp_path: Path) -> None:
    made = network()
    save_int8(made, tmp_path)
    back, config = checkpoint.load(tmp_path)
    assert config == made.config
    for name, tensor in made.state_dict().items():
        step = tensor.float().abs().amax(-1, keepdim=True) / 127 if tensor.dim() > 1 else tensor.abs() * 2**-7
        assert ((back.state_dict()[name] - tensor).abs() <= 0.51 * step + 1e-9).all(), name
