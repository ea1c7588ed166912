"""The memory plan: in how many bits the weights are kept, so that model, prefixes and working memory fit a device.

Pure arithmetic over the config. Knows nothing of tensors, files or devices beyond a number of free bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ..config import NetworkConfig
from ..errors import EngineError
from ..kernels.packing import GROUP, MULTIPLE, Kind

PREFIX_TOKENS = 2048  # of the longest prefix, where a checkpoint does not say
KV_STEP = 256  # tokens; a cache grows in such steps
LOGIT_COPIES = 6  # float32 [canvas, V] alive at once in a denoise step: logits, probabilities, what sorting needs
ROW_COPIES = 16  # [canvas, widest] alive at once inside a layer
USABLE = 0.95  # share of the free memory that is planned with; allocators do not use the last bit
SMALL = 2**30  # bytes; see `choose`

PartName = Literal["experts", "attention", "mlp", "embedding", "self_conditioning", "other"]
BITS: dict[Kind, int] = {"bf16": 16, "fp8": 8, "int8": 8, "int4": 4}
PACKABLE: tuple[PartName, ...] = ("attention", "mlp", "embedding")

_PARTS: tuple[tuple[PartName, str], ...] = (
    ("experts", r"layers\.\d+\.experts\..*"),
    ("attention", r"layers\.\d+\.self_attn\.[qkvo]_proj\.weight"),
    ("mlp", r"layers\.\d+\.mlp\..*"),
    ("embedding", r"embed_tokens\.weight"),
    ("self_conditioning", r"self_conditioning\..*"),
)


@dataclass(frozen=True)
class Plan:
    """Kinds of weights and the bytes that follow from them.

    experts, rest: as what the experts, and the other large matrices (attention, dense MLP, embedding), are kept; "bf16"
    stands for "not packed", in `float_bytes` a weight. Self-conditioning, router and norms are never packed: all
    together they are a thousandth. weights: bytes by part. prefixes: for encoded prefixes, the longest of which takes
    longest_prefix. working: what a denoise step needs beside them.
    """

    experts: Kind
    rest: Kind
    float_bytes: int
    weights: dict[PartName, int]
    prefixes: int
    longest_prefix: int
    working: int

    @property
    def total(self) -> int:
        return sum(self.weights.values()) + self.prefixes + self.working

    def kind(self, name: str) -> Kind:
        """As what the network's tensor `name` is kept."""
        part = part_of(name)
        if part == "experts":
            return self.experts
        return self.rest if part in PACKABLE else "bf16"

    def __str__(self) -> str:
        names = {"bf16": "bf16" if self.float_bytes == 2 else "float32"}
        experts, rest = names.get(self.experts, self.experts), names.get(self.rest, self.rest)
        kinds = f"all in {experts}" if experts == rest else f"experts in {experts}, the rest in {rest}"
        return (
            f"{kinds}: {size(sum(self.weights.values()))} of weights, {size(self.prefixes)} of prefixes, "
            f"{size(self.working)} to work in"
        )


def part_of(name: str) -> PartName:
    """Which part of the network a tensor belongs to, by its name."""
    for part, pattern in _PARTS:
        if re.fullmatch(pattern, name):
            return part
    return "other"


def parameters(config: NetworkConfig) -> dict[PartName, int]:
    """Number of weights by part; layer scalars, which are no parameters, are not counted."""
    hidden, layers = config.hidden_size, config.num_hidden_layers
    attention = norms = 0
    for i in range(layers):
        shape = config.attention(i)
        queries = config.num_attention_heads * shape.head_dim
        keys = shape.num_key_value_heads * shape.head_dim
        attention += hidden * (2 * queries + (1 + shape.has_value_proj) * keys)
        norms += 2 * shape.head_dim + 7 * hidden
    router = layers * (config.num_experts * hidden + hidden + config.num_experts)
    dense = 3 * hidden * config.intermediate_size
    return {
        "experts": layers * config.num_experts * 3 * config.moe_intermediate_size * hidden,
        "attention": attention,
        "mlp": layers * dense,
        "embedding": config.vocab_size * hidden,
        "self_conditioning": dense + hidden,
        "other": norms + router + hidden,
    }


def plan(
    config: NetworkConfig,
    experts: Kind = "bf16",
    rest: Kind = "bf16",
    *,
    float_bytes: int = 2,
    prefix_tokens: int = PREFIX_TOKENS,
    prefix_bytes: int = 0,
) -> Plan:
    """The plan with these kinds. prefix_bytes: the budget for encoded prefixes, of which the longest fits always."""
    counts, rows = parameters(config), _rows(config)
    weights: dict[PartName, int] = {part: float_bytes * count for part, count in counts.items()}
    weights["experts"] = _packed_bytes(counts["experts"], rows["experts"], experts, float_bytes)
    for part in PACKABLE:
        weights[part] = _packed_bytes(counts[part], rows[part], rest, float_bytes)
    tokens = -(-prefix_tokens // KV_STEP) * KV_STEP
    shapes = [config.attention(i) for i in range(config.num_hidden_layers)]
    per_token = sum(2 * shape.num_key_value_heads * shape.head_dim * float_bytes for shape in shapes)
    widest = max(
        config.num_attention_heads * max(config.sliding.head_dim, config.full.head_dim),
        config.top_k_experts * (2 * config.moe_intermediate_size + config.hidden_size),
        2 * config.intermediate_size,
    )
    working = config.canvas_length * (LOGIT_COPIES * 4 * config.vocab_size + ROW_COPIES * float_bytes * widest)
    longest = tokens * per_token
    return Plan(experts, rest, float_bytes, weights, max(prefix_bytes, longest), longest, working)


def ladder(
    config: NetworkConfig, kinds: Sequence[Kind] = get_args(Kind), stored: Kind = "bf16", **options: int
) -> tuple[Plan, ...]:
    """The plans worth trying without being told, largest first: bf16, then experts in fp8, then in int4, each of the
    last two also with the rest in 8 bits.

    kinds: what the device can keep; int8 stands in where fp8 is missing. stored: as what the checkpoint has its
    experts: to keep them in more bits would cost memory and time and gain nothing.
    """
    byte: Kind = "fp8" if "fp8" in kinds else "int8"
    steps: list[tuple[Kind, Kind]] = [("bf16", "bf16"), (byte, "bf16"), (byte, byte), ("int4", "bf16"), ("int4", byte)]
    if stored == "fp8" and byte == "fp8":
        steps = steps[1:]
    return tuple(plan(config, *step, **options) for step in steps if unpackable(config, *step) is None)


def asked(
    config: NetworkConfig, quantize: str, kinds: Sequence[Kind] = get_args(Kind), **options: int
) -> tuple[Plan, ...]:
    """The plans that a user who names a kind for the experts will accept, largest first. Raises EngineError."""
    kind = next((kind for kind in get_args(Kind) if kind == quantize), None)
    if kind is None:
        raise EngineError(f"quantize is {quantize!r}, expected one of {', '.join(get_args(Kind))}")
    if kind not in kinds:
        raise EngineError(f"quantize is {quantize!r}, of which this device is not capable; it is of {', '.join(kinds)}")
    if width := unpackable(config, kind, "bf16"):
        raise EngineError(f"this model cannot be kept in {kind}: {width} is no multiple of {MULTIPLE[kind]}")
    byte: Kind = "fp8" if "fp8" in kinds and kind != "int8" else "int8"
    rests: tuple[Kind, ...] = ("bf16",) if kind == "bf16" else ("bf16", byte)
    return tuple(plan(config, kind, rest, **options) for rest in rests if unpackable(config, kind, rest) is None)


def choose(plans: Sequence[Plan], free: int | None, device: str = "the device") -> Plan:
    """The first of `plans`, largest first, that fits into `free` bytes (None: nobody knows). Raises EngineError.

    A first plan with less than SMALL of weights is taken unseen: nothing would be gained by packing a model that small,
    and its answers should not depend on what else runs on the machine.
    """
    first = plans[0]
    if free is None or sum(first.weights.values()) < SMALL:
        return first
    for each in plans:
        if each.total <= USABLE * free:
            return each
    least = plans[-1]
    raise EngineError(
        f"the model does not fit: it needs {size(int(least.total / USABLE))} with experts in {least.experts} "
        f"and the rest in {least.rest}, and {device} has {size(free)} free"
    )


def smaller(current: Plan, plans: Sequence[Plan]) -> Plan | None:
    """The largest of `plans` whose experts have fewer bits; None where there is none."""
    below = [each for each in plans if BITS[each.experts] < BITS[current.experts]]
    return max(below, key=lambda each: each.total, default=None)


def unpackable(config: NetworkConfig, experts: Kind, rest: Kind) -> int | None:
    """The first width that a product sums over and that these kinds cannot be packed along; None: all can be."""
    hidden, heads = config.hidden_size, config.num_attention_heads
    inner, queries = config.moe_intermediate_size, (heads * config.sliding.head_dim, heads * config.full.head_dim)
    odd = [width for width in (hidden, inner) if width % MULTIPLE[experts]]
    odd += [width for width in (hidden, config.intermediate_size, *queries) if width % MULTIPLE[rest]]
    return odd[0] if odd else None


def size(n_bytes: int) -> str:
    """Bytes as people read them, in powers of ten."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def _rows(config: NetworkConfig) -> dict[PartName, int]:
    """Rows of all matrices of a part: each has a scale of its own when packed in 8 bits."""
    attention = 0
    for i in range(config.num_hidden_layers):
        shape = config.attention(i)
        attention += (config.num_attention_heads + (1 + shape.has_value_proj) * shape.num_key_value_heads) * (
            shape.head_dim
        ) + config.hidden_size
    per_layer = 2 * config.intermediate_size + config.hidden_size
    return {
        "experts": config.num_hidden_layers
        * config.num_experts
        * (2 * config.moe_intermediate_size + config.hidden_size),
        "attention": attention,
        "mlp": config.num_hidden_layers * per_layer,
        "embedding": config.vocab_size,
    }


def _packed_bytes(count: int, rows: int, kind: Kind, float_bytes: int) -> int:
    if kind == "bf16":
        return float_bytes * count
    return count + 4 * rows if kind in ("fp8", "int8") else count // 2 + 2 * count // GROUP
