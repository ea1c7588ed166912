"""The diffusion engine: text around a gap in, the gap's text out.

Knows nothing of editors, protocols or files but its checkpoint. Importing it imports torch.
"""

from .engine import Engine, Limits
from .errors import EngineError
from .filling.gap import Candidate
from .filling.method import Method
from .request import Infill, InfillRequest

__all__ = ["Candidate", "Engine", "EngineError", "Infill", "InfillRequest", "Limits", "Method"]
