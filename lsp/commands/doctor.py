"""`midspan doctor`: prints what `findings.py` finds, as sentences or as one JSON object."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from .findings import Finding, State, Wishes, examine

SIGNS: dict[State, tuple[str, str]] = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "problem": ("✗", "bold red")}


def doctor(wishes: Wishes, as_json: bool = False) -> int:
    """Look at everything and print it, as sentences or as one JSON object. The exit code: 1 if there is a problem."""
    console = Console(highlight=False, soft_wrap=True)
    findings: list[Finding] = []
    with _bar(shown=not as_json and console.is_terminal) as on_progress:
        for finding in examine(wishes, on_progress):
            findings.append(finding)
            if not as_json:
                _print(console, finding)
    problems = [finding for finding in findings if finding.state == "problem"]
    if as_json:
        report = {
            "ok": not problems,
            "midspan": metadata.version("midspan"),
            "findings": [asdict(finding) for finding in findings],
        }
        print(json.dumps(report, indent=2))
    elif problems:
        console.print(f"\n{len(problems)} problem{'s' * (len(problems) > 1)} to solve.", style="bold red")
    else:
        console.print("\nReady.", style="bold green")
    return 1 if problems else 0


def _print(console: Console, finding: Finding) -> None:
    sign, style = SIGNS[finding.state]
    console.print(Text(f"{sign} ", style=style) + Text(f"{finding.name:<9}", style="bold") + Text(finding.says))
    if finding.advice:
        console.print(Text(f"  {'':<9}→ {finding.advice}", style="dim" if finding.state == "ok" else style))


@contextmanager
def _bar(shown: bool) -> Iterator[Callable[[float, str], None]]:
    """A bar on standard error while the model is loaded; gone when it is."""
    columns = (TextColumn("loading"), BarColumn(), TextColumn("{task.percentage:>3.0f} % {task.description}"))
    bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown)
    task = None

    def tell(share: float, words: str) -> None:
        nonlocal task
        if task is None:
            bar.start()
            task = bar.add_task("", total=1.0)
        bar.update(task, completed=share, description=words)
        if share >= 1.0:
            bar.stop()

    try:
        yield tell
    finally:
        bar.stop()
