"""Rows of a measurement, shown in the terminal and committed as CSV. Knows nothing of what was measured."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table


def fields_of(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Every field that some row has, in the order in which they first appear."""
    return list(dict.fromkeys(field for row in rows for field in row))


def show(rows: Sequence[Mapping[str, object]], fields: Sequence[str], console: Console | None = None) -> None:
    table = Table(*fields)
    for row in rows:
        table.add_row(*(str(row.get(field, "")) for field in fields))
    (console or Console()).print(table)


def write(path: Path, rows: Sequence[Mapping[str, object]], fields: Sequence[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
