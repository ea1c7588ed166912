"""What syntax decides: which span of a document to fill, and whether the filled document still parses.

Pure: knows nothing of models, editors, files or the network. Broken code is the normal case and never raises.
"""

from .blank_line import HEADER_ENDS
from .check import SyntaxError_, new_errors
from .languages import language_for
from .selection import Selection, choose_selection
from .spans import Span, choose_span
from .syntax import Syntax

__all__ = [
    "HEADER_ENDS",
    "Selection",
    "Span",
    "Syntax",
    "SyntaxError_",
    "choose_selection",
    "choose_span",
    "language_for",
    "new_errors",
]
