"""The shape of midspan-mini, and how its weights begin."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from ..config import FULL, SLIDING, AttentionShape, NetworkConfig
from ..network import Network

MINI = NetworkConfig(
    vocab_size=8192,
    hidden_size=256,
    intermediate_size=384,
    num_hidden_layers=6,
    num_attention_heads=4,
    layer_types=(SLIDING, SLIDING, FULL) * 2,
    sliding=AttentionShape(64, 2, True, 512, 10_000.0, 1.0),
    full=AttentionShape(64, 2, False, None, 1_000_000.0, 0.25),
    num_experts=8,
    top_k_experts=2,
    moe_intermediate_size=192,
    rms_norm_eps=1e-6,
    final_logit_softcapping=30.0,
    pad_token_id=0,
    eos_token_id=(1,),
    bos_token_id=2,
    max_position_embeddings=4096,
    canvas_length=256,
)

# For a run on a GPU: four times the parameters, 24 M of 47 M active, still under 48 MiB with a byte per weight.
MINI_WIDE = replace(
    MINI,
    hidden_size=448,
    intermediate_size=704,
    num_hidden_layers=9,
    num_attention_heads=7,
    layer_types=(SLIDING, SLIDING, FULL) * 3,
    sliding=replace(MINI.sliding, num_key_value_heads=1, window=1024),
    full=replace(MINI.full, num_key_value_heads=1),
    moe_intermediate_size=320,
)
# Measured against MINI in tests/quality/ablations.py: a sole expert is a dense MLP; as many parameters at work.
MINI_DENSE = replace(MINI, num_experts=1, top_k_experts=1, moe_intermediate_size=2 * MINI.moe_intermediate_size)
MINI_LONG = replace(MINI, sliding=replace(MINI.sliding, window=1024))
SHAPES = {"mini": MINI, "mini-wide": MINI_WIDE, "mini-dense": MINI_DENSE, "mini-long": MINI_LONG}


@torch.no_grad()
def initialize(network: Network) -> None:
    """In place. Unit residual stream; queries and keys such that scores begin near those of 1/sqrt(head_dim);
    sublayers enter small; a final gain of 0.3, or the tied head begins by predicting its own input."""
    begin = {
        "q_norm": 0.42,
        "k_norm": 0.42,
        "post_attention_layernorm": 0.35,
        "post_feedforward_layernorm": 0.35,
    }
    for name, param in network.named_parameters():
        if param.dim() >= 2:
            nn.init.normal_(param, std=network.config.hidden_size**-0.5 if "embed" in name else 0.02)
        elif name == "norm.weight":
            param.fill_(0.3)
        elif (module := name.split(".")[-2]) in begin:
            param.fill_(begin[module])
