"""The arithmetic of a denoise step, one operation per module.

`x.py` has an operation's contract and its plain-torch form (`*_torch`), which is the CPU's path and the reference in
tests; `x_triton.py` the same for a GPU (`*_triton`), imported when a tensor on one first asks for it. Nothing here has
a gradient but the torch forms: training stays on them.
"""

from .experts import experts_torch, run_experts
from .routing import route, route_torch

__all__ = ["experts_torch", "route", "route_torch", "run_experts"]
