"""How a document indents: the white space a line begins with, and what one more level adds to it.

Knows nothing of trees; reads a window of text around the cursor.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

from .balance import WINDOW, line_start
from .languages import Language

_MARGIN = re.compile(r"[ \t]*")
_MARGINS = re.compile(r"^([ \t]*)[^\s]", re.MULTILINE)


def margin(text: str, offset: int) -> str:
    """The blanks and tabs that begin the line of `offset`."""
    match = _MARGIN.match(text, line_start(text, offset))
    return match.group() if match else ""


def width(blank: str) -> int:
    """Columns, with tab stops at every eighth as Python's tokenizer counts them."""
    return len(blank.expandtabs(8))


def unit(text: str, offset: int, language: Language) -> str:
    """One level of indentation near `offset`: the commonest step inwards there, or else the language's custom."""
    margins = _MARGINS.findall(text, max(0, offset - WINDOW), offset + WINDOW)
    if sum(blank.startswith("\t") for blank in margins) * 2 > sum(bool(blank) for blank in margins):
        return "\t"
    steps = Counter(
        width(inner) - width(outer) for outer, inner in pairwise(margins) if 2 <= width(inner) - width(outer) <= 8
    )
    return " " * steps.most_common(1)[0][0] if steps else language.unit
