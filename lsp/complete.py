"""The pipeline of one request: snapshot → span → fill → checked and trimmed suggestion, or the reason for none.

Runs on the engine thread. Everything it reads is in its arguments and nothing outlives it, so a request can be repeated
from its snapshot alone. Knows nothing of the protocol, of open documents or of other requests.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .postprocess import Surroundings, postprocess

if TYPE_CHECKING:
    from ..engine import Candidate, Engine
    from ..grammars import Span, Syntax

FOLLOWING = 2000  # characters below the cursor that the filters compare with


@dataclass(frozen=True)
class Snapshot:
    """One version of a document and a place in it. Offsets are code points.

    `chosen` is what the editor's completion menu would insert in place of start:end if its item were accepted; the
    suggestion has to begin with it. Without a menu start == end is the cursor and `chosen` is empty.
    """

    uri: str
    version: int
    language_id: str
    document: str
    start: int
    end: int
    chosen: str = ""

    @property
    def text(self) -> str:
        """The document with `chosen` in it: what the engine is to continue."""
        if self.start == self.end and not self.chosen:
            return self.document
        return self.document[: self.start] + self.chosen + self.document[self.end :]

    @property
    def offset(self) -> int:
        """The cursor, in `text`."""
        return self.start + len(self.chosen)


@dataclass(frozen=True)
class Suggestion:
    """Replace document[start:end], within one line, by `text`. text[:filled] is new, the rest stood there before."""

    start: int
    end: int
    text: str
    filled: int


@dataclass(frozen=True)
class Outcome:
    """What became of a request, and what it took."""

    reason: str  # "shown", or why there is no suggestion
    suggestion: Suggestion | None = None
    kind: str = ""  # of the span
    model: str = ""
    source: str = ""  # who proposed the text: "canvas", "causal", "copy", or several
    steps: int = 0  # denoise steps
    tokens: int = 0
    confidence: float = 0.0
    stop: str = ""  # why the engine stopped
    timings: dict[str, float] = field(default_factory=dict)  # seconds per stage


def follow(syntax: "Syntax | None", text: str, language_id: str) -> "Syntax":
    """The syntax of `text`, reusing the tree of an earlier text of the same document and language, if there is one."""
    from ..grammars import Syntax  # noqa: PLC0415  (loads tree-sitter, which `initialize` must not wait for)

    if syntax is None:
        return Syntax.parse(text, language_id)
    before = syntax.text
    if before == text:
        return syntax
    head = _common(before, text)
    room = min(len(before), len(text)) - head
    tail = _common(before[::-1], text[::-1], room)
    return syntax.edited(head, len(before) - tail, text[head : len(text) - tail])


@dataclass(frozen=True)
class Limits:
    """What the settings and the job allow one request. Fills less likely than min_confidence are not shown."""

    max_tokens: int
    min_confidence: float
    seed: int
    deadline: float  # time.monotonic()
    cancelled: Callable[[], bool]


def complete(snapshot: Snapshot, syntax: "Syntax", engine: "Engine", limits: Limits) -> Outcome:
    """Choose the span at the snapshot's cursor and fill it. `syntax` is that of `snapshot.text`."""
    from ..grammars import choose_span  # noqa: PLC0415

    clock = _Clock()
    span = choose_span(syntax, snapshot.offset)
    clock.lap("span")
    if span is None:
        return Outcome("no span here", model=engine.name, timings=clock.timings)
    line_end = _line_around(syntax.text, snapshot.offset)[1]
    if not snapshot.offset == span.start <= span.end <= line_end:
        return Outcome("the span leaves the line", kind=span.kind, model=engine.name, timings=clock.timings)
    return _fill(snapshot, syntax, span, engine, limits, clock)


def _fill(
    snapshot: Snapshot, syntax: "Syntax", span: "Span", engine: "Engine", limits: Limits, clock: "_Clock"
) -> Outcome:
    from ..engine import InfillRequest  # noqa: PLC0415
    from ..grammars import new_errors  # noqa: PLC0415

    text = syntax.text
    infill = engine.infill(
        InfillRequest(
            prefix=_plain(text[: span.start]),
            suffix=_plain(text[span.end :]),
            max_tokens=min(span.max_tokens, limits.max_tokens),
            single_line=span.single_line,
            seed=limits.seed,
            document=snapshot.uri,
            deadline=limits.deadline,
            cancelled=limits.cancelled,
        )
    )
    clock.lap("engine")
    clock.timings.update(infill.timings)

    def outcome(reason: str, best: "Candidate | None" = None, suggestion: Suggestion | None = None) -> Outcome:
        return Outcome(
            reason=reason,
            suggestion=suggestion,
            kind=span.kind,
            model=engine.name,
            source="+".join(sorted(best.sources)) if best else "",
            steps=infill.steps,
            tokens=len(best.ids) if best else 0,
            confidence=best.probability if best else 0.0,
            stop=infill.stop,
            timings=clock.timings,
        )

    if infill.stop == "cancelled":
        return outcome("cancelled")
    line_start, line_end = _line_around(text, span.start)
    around = Surroundings(
        before=text[line_start : span.start],
        replaced=text[span.start : span.end],
        rest=text[span.end : line_end],
        following=_plain(text[line_end : line_end + FOLLOWING]),
        single_line=span.single_line,
    )
    why = "not confident" if infill.candidates else "no time"
    for candidate in infill.candidates:
        if candidate.probability < limits.min_confidence:
            break
        if not candidate.text.strip():
            why = "nothing is missing" if candidate is infill.candidates[0] else why
            break
        fill, reason = postprocess(candidate.text, around)
        if fill is not None:
            fill = fill.replace("\n", line_ending(text))
            after = syntax.edited(span.start, span.end, fill)
            reason = "breaks the syntax" if new_errors(syntax, after, span.start, span.start + len(fill)) else ""
        if fill is None or reason:
            why = reason if candidate is infill.candidates[0] else why
            continue
        clock.lap("check")
        suggestion = Suggestion(
            start=snapshot.start,
            end=line_end - len(snapshot.chosen) + snapshot.end - snapshot.start,
            text=snapshot.chosen + fill + around.rest,
            filled=len(snapshot.chosen) + len(fill),
        )
        return outcome("shown", candidate, suggestion)
    clock.lap("check")
    return outcome(why, next(iter(infill.candidates), None))


class _Clock:
    def __init__(self) -> None:
        self.timings: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.timings[stage] = now - self._last
        self._last = now


def _common(one: str, other: str, most: int | None = None) -> int:
    """Length of the common prefix, by bisection over C-speed comparisons."""
    low, high = 0, min(len(one), len(other)) if most is None else most
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _line_around(text: str, offset: int) -> tuple[int, int]:
    """Start and end, without its ending, of the line `offset` is in."""
    start = max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1
    ends = [end for ending in "\r\n" if (end := text.find(ending, offset)) >= 0]
    return start, min(ends, default=len(text))


def line_ending(text: str) -> str:
    """The ending of the first line: what a new line in this document gets."""
    newline = text.find("\n")
    if newline > 0 and text[newline - 1] == "\r":
        return "\r\n"
    return "\r" if newline < 0 and "\r" in text else "\n"


def _plain(text: str) -> str:
    """With "\\n" for every line ending, the only one the engine knows."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
