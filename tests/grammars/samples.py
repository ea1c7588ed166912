"""A short document in every language of the table, written for these tests; those with a grammar parse.

They stand in `samples.txt`, each under a line `#### languageId`.
"""

import re
from pathlib import Path

_PARTS = re.split(r"^#### (\S+)\n", Path(__file__).with_suffix(".txt").read_text(encoding="utf-8"), flags=re.MULTILINE)

SAMPLES = dict(zip(_PARTS[1::2], _PARTS[2::2], strict=True))
"""languageId → a document."""
