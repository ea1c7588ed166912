"""The diffusion engine: text around a gap in, the gap's text out.

Knows nothing of editors, protocols or files but its checkpoint. Importing it imports torch.
"""

from .engine import Engine, Infill, InfillRequest, Limits
from .errors import EngineError
from .fill import Candidate

__all__ = ["Candidate", "Engine", "EngineError", "Infill", "InfillRequest", "Limits"]
