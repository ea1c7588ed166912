"""The arithmetic of the mixture of experts, one operation per module, each with its plain-torch form (`*_torch`)."""

from .experts import experts_torch
from .routing import route_torch

__all__ = ["experts_torch", "route_torch"]
