"""How a checkpoint stores the network's tensors: from stored names to them, and from stored numbers to weights.

| published as           | a linear module, all of an expert's among them, is stored as                          |
|------------------------|---------------------------------------------------------------------------------------|
| bf16                   | `weight`; the experts of a layer fused: `experts.gate_up_proj`, `experts.down_proj`    |
| FP8-dynamic            | `weight` F8_E4M3 [N, K], `weight_scale` [N, 1] (or one for all)                        |
| int8                   | `weight` I8 [N, K], `weight_scale` [N, 1]                                               |
| NVFP4, compressed-tensors | `weight_packed` U8 [N, K/2], `weight_scale` F8_E4M3 [N, K/16], `weight_global_scale` |
| NVFP4, ModelOpt        | `weight` U8 [N, K/2], `weight_scale` F8_E4M3 [N, K/16], `weight_scale_2`                |

Quantised checkpoints store every expert apart, as `experts.E.{gate,up,down}_proj`. What is quantised differs between
them, so every module is recognised by what is stored of it. Scales of activations are not used: only weights are
quantised here. Vision is left out. Knows nothing of files' formats, devices or the network's arithmetic.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import EngineError
from .stored import Header

DECODER, ENCODER = "model.decoder.", "model.encoder.language_model."
SKIPPED = ("model.encoder.vision_tower.", "model.encoder.embed_vision.")
FLOATS = frozenset(("F64", "F32", "F16", "BF16"))
UNUSED = frozenset(("input_scale", "input_global_scale", "output_scale", "k_scale", "v_scale"))
FP4_GROUP = 16  # weights along K that share a scale in NVFP4
FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # E2M1, by its low three bits; the fourth is the sign

_EXPERT = re.compile(r"(layers\.\d+\.experts)\.(\d+)\.(gate|up|down)_proj")
_SCALAR = ".encoder_layer_scalar"

Encoding = Literal["float", "fp8", "int8", "nvfp4"]
EIGHT_BITS: Mapping[str, Encoding] = {"F8_E4M3": "fp8", "I8": "int8"}  # with a scale per row, or one for all
WEIGHTS = (("float", 8, "channel"), ("float", 8, "tensor"), ("int", 8, "channel"), ("float", 4, "tensor_group"))


@dataclass(frozen=True)
class Part:
    """A stored module, and what it is to the network: the tensor `target`, or the rows from `start` of one expert's.

    shape: of the weight it stands for; fused experts are one part [E, N, K]. names: role ("weight", "scale", "global")
    -> stored name. ties: the same under other names. inverse: the global scale divides instead of multiplying.
    """

    target: str
    shape: tuple[int, ...]
    encoding: Encoding
    names: Mapping[str, str]
    expert: int | None = None
    start: int = 0
    inverse: bool = False
    ties: tuple[Part, ...] = ()


def match(found: Mapping[str, Header], shapes: Mapping[str, tuple[int, ...]]) -> list[Part]:
    """What of the stored tensors makes up the network's, whose names and shapes are given; in order of the files.

    Only an encoder's layer scalar may be absent: it is the decoder's then. Raises EngineError naming the tensor that is
    missing, unexpected, misshapen or stored as something unknown.
    """
    modules: dict[tuple[str, int | None, int], dict[str, dict[str, str]]] = {}
    for name in found:
        if name.startswith(SKIPPED):
            continue
        place = _place(name, shapes)
        if place is None:
            raise EngineError(f"{found[name].file.name}: unexpected tensor {name}")
        target, expert, half, module, leaf = place
        modules.setdefault((target, expert, half), {}).setdefault(module, {})[leaf] = name

    parts: list[Part] = []
    for (target, expert, half), ends in modules.items():
        shape = shapes[target]
        if expert is not None:
            rows = shape[1] // 2 if target.endswith("gate_up_proj") else shape[1]
            shape, start = (rows, shape[2]), half * rows
        else:
            start = 0
        # The decoder's own name first: it is the one that is read, the others are held against it.
        same = [_part(found, target, shape, leaves) for _, leaves in sorted(ends.items(), key=_by_owner)]
        parts.append(
            Part(target, shape, same[0].encoding, same[0].names, expert, start, same[0].inverse, ties=tuple(same[1:]))
        )
    _check_complete(parts, shapes, found)
    return sorted(parts, key=lambda part: (str(found[part.names["weight"]].file), part.target, part.expert or 0))


def decode(part: Part, read: Callable[[str], Tensor], device: torch.device | str, dtype: torch.dtype) -> Tensor:
    """The weight that a part stands for, on `device`; computed in float32 and rounded to `dtype` once."""
    weight = read(part.names["weight"]).to(device)
    if part.encoding == "float":
        return weight.to(dtype)
    scale = read(part.names["scale"]).to(device).float()
    if part.encoding in ("fp8", "int8"):
        return (weight.float() * scale.reshape(-1, 1)).to(dtype)
    scale_2 = read(part.names["global"]).to(device).float().reshape(())
    scale = scale / scale_2 if part.inverse else scale * scale_2
    levels = torch.tensor((*FP4, *(-level for level in FP4)), device=device)
    nibbles = torch.stack((weight & 15, weight >> 4), dim=-1).flatten(-2)  # low four bits first
    groups = levels[nibbles.long()].unflatten(-1, (-1, FP4_GROUP)) * scale[..., None]
    return groups.flatten(-2).to(dtype)


def check_quantization(config: Mapping[str, Any]) -> None:
    """Holds `quantization_config` of a `config.json` against what can be read. Raises EngineError naming the field."""
    quantization = config.get("quantization_config")
    if quantization is None:
        return
    where = "config.json: quantization_config"
    if not isinstance(quantization, Mapping):
        raise EngineError(f"{where} must be an object")
    method = quantization.get("quant_method")
    if method in ("modelopt", "modelopt_fp4"):
        algorithm = quantization.get("quant_algo")
        if algorithm not in ("NVFP4", "W4A16_NVFP4", "FP8"):
            raise EngineError(f"{where}.quant_algo {algorithm!r} is unsupported, only NVFP4 and FP8 are")
        return
    if method != "compressed-tensors":
        raise EngineError(f"{where}.quant_method {method!r} is unsupported, only compressed-tensors and modelopt are")
    groups = quantization.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise EngineError(f"{where}.config_groups is missing")
    for name, group in groups.items():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if not isinstance(weights, Mapping):
            raise EngineError(f"{where}.config_groups.{name}.weights is missing")
        kind = tuple(weights.get(field) for field in ("type", "num_bits", "strategy"))
        if kind not in WEIGHTS:
            raise EngineError(
                f"{where}.config_groups.{name}.weights are {kind[0]} of {kind[1]} bits by {kind[2]}, which is "
                "unsupported; FP8 and int8 by channel and NVFP4 are supported"
            )


def stored_name(name: str) -> str:
    """Where a bf16 checkpoint holds the network's tensor `name`."""
    if name.endswith(_SCALAR):
        return ENCODER + name.removesuffix(_SCALAR) + ".layer_scalar"
    return DECODER + name


def _place(name: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, int | None, int, str, str] | None:
    """(target, expert, half, module, leaf) of a stored name; None for one that belongs nowhere. Half 1: `up` rows."""
    if name == "lm_head.weight":
        return "embed_tokens.weight", None, 0, "lm_head", "weight"
    for owner in (DECODER, ENCODER):
        if not name.startswith(owner):
            continue
        path = name.removeprefix(owner)
        if owner == ENCODER and path.startswith("self_conditioning."):
            return None
        if path.endswith(_SCALAR):
            return None
        if path.endswith(".layer_scalar") and owner == ENCODER:
            path = path.removesuffix(".layer_scalar") + _SCALAR
        if path in shapes and not path.endswith(".weight"):  # a parameter of its own, such as fused experts
            return path, None, 0, name, "weight"
        module, _, leaf = path.rpartition(".")
        if f"{module}.weight" in shapes:
            return f"{module}.weight", None, 0, owner + module, leaf
        expert = _EXPERT.fullmatch(module)
        if expert is None:
            return None
        target = f"{expert[1]}.down_proj" if expert[3] == "down" else f"{expert[1]}.gate_up_proj"
        if target not in shapes or int(expert[2]) >= shapes[target][0]:
            return None
        return target, int(expert[2]), int(expert[3] == "up"), owner + module, leaf
    return None


def _by_owner(item: tuple[str, object]) -> tuple[bool, str]:
    return not item[0].startswith(DECODER), item[0]


def _part(found: Mapping[str, Header], target: str, shape: tuple[int, ...], leaves: Mapping[str, str]) -> Part:
    """The part of the network that a module's stored tensors, by the last piece of their names, stand for."""
    any_name = next(iter(leaves.values()))
    module = any_name.rpartition(".")[0]
    main = leaves.get("weight_packed") or leaves.get("weight")
    if main is None:
        raise EngineError(f"{found[any_name].file.name}: unexpected tensor {any_name}: {module}.weight is missing")
    header = found[main]
    wanted: dict[str, tuple[str, tuple[tuple[int, ...], ...], frozenset[str]]]  # leaf -> role, shapes, dtypes
    n, k = (shape[-2], shape[-1]) if len(shape) > 1 else (math.prod(shape), 1)
    one, fp8 = ((1,), (), (1, 1)), frozenset(("F8_E4M3",))
    inverse = "weight_packed" in leaves
    if inverse or header.dtype == "U8":
        main_leaf, last = ("weight_packed", "weight_global_scale") if inverse else ("weight", "weight_scale_2")
        encoding: Encoding = "nvfp4"
        wanted = {
            main_leaf: ("weight", ((n, k // 2),), frozenset(("U8",))),
            "weight_scale": ("scale", ((n, k // FP4_GROUP),), fp8),
            last: ("global", one, FLOATS),
        }
    elif header.dtype in EIGHT_BITS and "weight_scale" in leaves:
        encoding = EIGHT_BITS[header.dtype]
        wanted = {
            "weight": ("weight", ((n, k),), frozenset((header.dtype,))),
            "weight_scale": ("scale", ((n, 1), (n,), *one), FLOATS),
        }
    else:
        encoding, wanted = "float", {"weight": ("weight", (shape,), FLOATS)}
    names = {}
    for leaf, (role, allowed, dtypes) in wanted.items():
        if leaf not in leaves:
            raise EngineError(f"{header.file.name}: {module}.{leaf} is missing, {main} is useless without it")
        names[role] = leaves[leaf]
        stored = found[leaves[leaf]]
        if stored.shape not in allowed:
            raise EngineError(
                f"{stored.file.name}: {leaves[leaf]} has shape {list(stored.shape)}, "
                f"config.json asks {list(allowed[0])}"
            )
        if stored.dtype not in dtypes:
            raise EngineError(f"{stored.file.name}: {leaves[leaf]} is stored as {stored.dtype}, which is unsupported")
    for leaf in leaves.keys() - wanted.keys() - UNUSED:
        raise EngineError(f"{found[leaves[leaf]].file.name}: unexpected tensor {leaves[leaf]}")
    if encoding == "nvfp4" and k % FP4_GROUP:
        raise EngineError(f"{header.file.name}: {main}: NVFP4 needs a multiple of {FP4_GROUP} inputs, not {k}")
    return Part(target, shape, encoding, names, inverse=inverse)


def _check_complete(parts: list[Part], shapes: Mapping[str, tuple[int, ...]], found: Mapping[str, Header]) -> None:
    """Every tensor of the network is there once: whole, or all of its experts."""
    by_target: dict[str, list[Part]] = {}
    for part in parts:
        by_target.setdefault(part.target, []).append(part)
    for target, shape in shapes.items():
        held = by_target.get(target, [])
        if not held:
            if not target.endswith(_SCALAR):
                raise EngineError(f"tensor {stored_name(target)} is missing")
            continue
        apart = [part for part in held if part.expert is not None]
        if not apart:
            continue
        if len(apart) < len(held):
            whole = next(part for part in held if part.expert is None)
            raise EngineError(f"unexpected tensor {apart[0].names['weight']} beside {whole.names['weight']}")
        sample = apart[0].names["weight"]
        leaf, seen = sample.rpartition(".")[2], {(part.expert, part.start) for part in apart}
        owner = DECODER if sample.startswith(DECODER) else ENCODER
        halves = ("gate_proj", "up_proj") if target.endswith("gate_up_proj") else ("down_proj",)
        for expert in range(shape[0]):
            for half, projection in enumerate(halves):
                if (expert, half * apart[0].shape[0]) not in seen:
                    experts = owner + target.rpartition(".")[0]
                    raise EngineError(f"tensor {experts}.{expert}.{projection}.{leaf} is missing")
