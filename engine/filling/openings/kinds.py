"""How a missing line may begin, by what the text around it uses, repeats or leaves open.

Only who sees both sides of a gap can know that. Read off the text alone, most of it as Python writes it, some as other
languages do too; knows nothing of networks or tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

from .attributes import ATTRIBUTE, attributes
from .blocks import BLOCK, blocks
from .definitions import DEFINITION, definitions
from .imports import IMPORT, imports
from .kept import KEPT, kept
from .line import MissingLine, Opening
from .locals import LOCAL, declarations
from .parameters import PARAMETER, parameters
from .quotes import QUOTE, quotes
from .series import SERIES, series

KINDS = (IMPORT, PARAMETER, ATTRIBUTE, DEFINITION, LOCAL, SERIES, BLOCK, QUOTE, KEPT)
MOST = 4  # of one gap; each costs a causal draft


def openings(prefix: str, suffix: str, library: tuple[str, ...] = ()) -> list[Opening]:
    """Beginnings of the line that is missing between `prefix` and `suffix`, and whole lines; none where the line has
    text. library: texts of other files, which may show what an import looks like."""
    line = MissingLine.between(prefix, suffix)
    marks = quotes(prefix, suffix)
    if line is None or marks:
        return marks
    following, missing = [*series(line), *kept(line)], parameters(line)
    if missing is None:
        missing = imports(line, library) or [*attributes(line), *definitions(line), *blocks(line), *declarations(line)]
    return [*following, *missing][:MOST]


def fitting(found: Sequence[Opening], text: str) -> int | None:
    """Which of the openings the line `text` has; None: none of them."""
    return next((place for place, opening in enumerate(found) if opening.fits(text)), None)


def telling(found: Sequence[Opening]) -> bool:
    """Whether it says something of a line that it has none of these: any but the local names and headers, which are
    guesses."""
    return any(opening.kind not in (LOCAL, BLOCK) for opening in found)
