"""The pipeline of one request: snapshot → span → fill → checked and trimmed suggestion, or the reason for none.

Runs on the engine thread. Everything it reads is in its arguments and nothing outlives it, so a request can be repeated
from its snapshot alone. Knows nothing of the protocol, of open documents or of other requests.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from .filters.postprocess import Surroundings, postprocess
from .lines import common_prefix, line_end, line_ending, line_start, plain

if TYPE_CHECKING:
    from ..engine import Candidate, Engine, Infill
    from ..grammars import Span, Syntax
    from .context.gather import Used

TINY = 1e-9
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
    suggestions: tuple[Suggestion, ...] = ()  # different texts for the same place, best first
    origin: str = ""  # "remembered", "prefetched", "disk": computed for an earlier request; "": for this one
    kind: str = ""  # of the span
    model: str = ""
    source: str = ""  # who proposed the text: "canvas", "causal", "copy", or several
    steps: int = 0  # denoise steps
    tokens: int = 0
    confidence: float = 0.0
    stop: str = ""  # why the engine stopped
    context: tuple["Used", ...] = ()  # what other code it could draw on
    timings: dict[str, float] = field(default_factory=dict)  # seconds per stage

    @property
    def suggestion(self) -> Suggestion | None:
        return self.suggestions[0] if self.suggestions else None


def follow(syntax: "Syntax | None", text: str, language_id: str) -> "Syntax":
    """The syntax of `text`, reusing the tree of an earlier text of the same document and language, if there is one."""
    from ..grammars import Syntax  # noqa: PLC0415  (loads tree-sitter, which `initialize` must not wait for)

    if syntax is None:
        return Syntax.parse(text, language_id)
    before = syntax.text
    if before == text:
        return syntax
    head = common_prefix(before, text)
    room = min(len(before), len(text)) - head
    tail = common_prefix(before[::-1], text[::-1], room)
    return syntax.edited(head, len(before) - tail, text[head : len(text) - tail])


@dataclass(frozen=True)
class Limits:
    """What the settings and the job allow one request. Fills less likely than min_confidence are not shown."""

    max_tokens: int
    min_confidence: float
    seed: int
    deadline: float  # time.monotonic()
    cancelled: Callable[[], bool]
    most: int = 1  # different fills
    prose: bool = False  # fill inside comments and strings too


def complete(
    snapshot: Snapshot,
    syntax: "Syntax",
    engine: "Engine",
    limits: Limits,
    context: str = "",
    library: tuple[str, ...] = (),
) -> Outcome:
    """Choose the span at the snapshot's cursor and fill it; and if that ends with a header that has no body, begin the
    body as well, as far as both are likely. `syntax` is that of `snapshot.text`.

    context: text from elsewhere that the engine is shown before everything else; library: texts that it may copy from.
    """
    from ..grammars import choose_span  # noqa: PLC0415

    clock = _Clock()
    span = choose_span(syntax, snapshot.offset, prose=limits.prose)
    clock.lap("span")
    if span is None:
        return Outcome("no span here", model=engine.name, timings=clock.timings)
    place = _Place(syntax, span)
    if not snapshot.offset == span.start <= span.end <= place.line_end:
        return Outcome("the span leaves the line", kind=span.kind, model=engine.name, timings=clock.timings)
    ask = partial(_infill, document=snapshot.uri, engine=engine, limits=limits, context=context, library=library)
    infill = ask(place)
    clock.lap("engine")
    clock.timings.update(infill.timings)
    why, chosen = ("cancelled", []) if infill.stop == "cancelled" else _chosen(place, infill, limits)
    clock.lap("check")
    best: Candidate | None = chosen[0][0] if chosen else next(iter(infill.candidates), None)
    outcome = Outcome(
        reason="shown" if chosen else why,
        suggestions=tuple(place.suggestion(snapshot, fill) for _, fill in chosen),
        kind=span.kind,
        model=engine.name,
        source="+".join(sorted(best.sources)) if best else "",
        steps=infill.steps,
        tokens=len(best.ids) if best else 0,
        confidence=best.probability if best else 0.0,
        stop=infill.stop,
        timings=clock.timings,
    )
    if not chosen or (below := place.below(chosen[0][1])) is None:
        return outcome
    infill = ask(below, limits=replace(limits, most=1))
    enough = replace(limits, most=1, min_confidence=limits.min_confidence / max(outcome.confidence, TINY))
    _, bodies = _chosen(below, infill, enough)
    clock.lap("body")
    if not bodies:
        return outcome
    (_, header), (body, fill) = chosen[0], bodies[0]
    return replace(
        outcome,
        suggestions=(place.suggestion(snapshot, header + below.lead + fill), *outcome.suggestions[1:]),
        steps=outcome.steps + infill.steps,
        tokens=outcome.tokens + len(body.ids),
        confidence=outcome.confidence * body.probability,
    )


class _Place:
    """One span of one text: what stands around it, and what a fill in it would be."""

    def __init__(self, syntax: "Syntax", span: "Span") -> None:
        text = syntax.text
        self.syntax, self.span = syntax, span
        self.line_end = line_end(text, span.start)
        self.ending = line_ending(text)
        self.lead = span.lead.replace("\n", self.ending)
        first = span.start if span.lead else line_start(text, span.start)
        self.around = Surroundings(
            before=text[first : span.start],
            replaced=text[span.start : span.end],
            rest=text[span.end : self.line_end],
            following=plain(text[self.line_end : self.line_end + FOLLOWING]),
            single_line=span.single_line,
            above=plain(text[max(0, first - FOLLOWING) : first] + self.lead),
            indent=span.indent,
            forbidden=span.forbidden,
        )

    def breaks(self, fill: str) -> bool:
        """Whether `fill` in the span brings syntax errors that were not there before."""
        from ..grammars import new_errors  # noqa: PLC0415

        start = self.span.start
        return bool(new_errors(self.syntax, self.filled(fill), start, start + len(self.lead + fill)))

    def culprits(self, fill: str) -> Sequence[tuple[int, int]]:
        """What of a whole fill is suspect, for the engine to think again about; of what would be shown of it."""
        from ..grammars.repair import culprits  # noqa: PLC0415

        kept, _ = postprocess(fill, self.around)
        if kept is None:
            return []
        shown, start, ahead = kept if fill.startswith(kept) else fill, self.span.start, len(self.lead)
        found = culprits(self.syntax, self.filled(shown), start, start + ahead + len(shown))
        return [(max(0, first - ahead), max(0, last - ahead)) for first, last in found]

    def filled(self, fill: str) -> "Syntax":
        """The text with `fill` in the span."""
        return self.syntax.edited(self.span.start, self.span.end, self.lead + fill)

    def fit(self, candidate: "Candidate") -> tuple[str | None, str]:
        """What of a candidate is worth showing, or None and why nothing is."""
        fill, reason = postprocess(candidate.text, self.around)
        if fill is None:
            return None, reason
        while fill.strip():
            shown = fill.replace("\n", self.ending)
            if not self.breaks(shown):
                return shown, ""
            # Whole lines that parse are worth showing without those that do not.
            if self.around.rest.strip() or "\n" not in fill:
                break
            fill = fill.rsplit("\n", 1)[0]
        return None, "breaks the syntax"

    def suggestion(self, snapshot: Snapshot, fill: str) -> Suggestion:
        """Of the snapshot whose text this is."""
        new = snapshot.chosen + self.lead + fill
        return Suggestion(
            start=snapshot.start,
            end=self.line_end - len(snapshot.chosen) + snapshot.end - snapshot.start,
            text=new + self.around.rest,
            filled=len(new),
        )

    def below(self, fill: str) -> "_Place | None":
        """Where the body goes of the header that `fill` ends with; None where it ends with none, or has its body."""
        from ..grammars import HEADER_ENDS, choose_span  # noqa: PLC0415

        if not fill.endswith(HEADER_ENDS):
            return None
        after = self.filled(fill)
        span = choose_span(after, self.span.start + len(self.lead + fill))
        return _Place(after, span) if span is not None and span.lead else None


def _infill(
    place: _Place, document: str, engine: "Engine", limits: Limits, context: str, library: tuple[str, ...]
) -> "Infill":
    from ..engine import InfillRequest  # noqa: PLC0415

    text, span = place.syntax.text, place.span
    return engine.infill(
        InfillRequest(
            prefix=plain(text[: span.start] + place.lead),
            suffix=plain(text[span.end :]),
            max_tokens=min(span.max_tokens, limits.max_tokens),
            single_line=span.single_line,
            seed=limits.seed,
            document=document,
            deadline=limits.deadline,
            cancelled=limits.cancelled,
            context=context,
            library=library,
            check=place.culprits,
            several=limits.most > 1,
        )
    )


def _chosen(place: _Place, infill: "Infill", limits: Limits) -> tuple[str, list[tuple["Candidate", str]]]:
    """The candidates to show, each with what of it is shown, all different; and why the best one is not among them."""
    why = "not confident" if infill.candidates else "no time"
    chosen: list[tuple[Candidate, str]] = []
    for candidate in infill.candidates:
        if len(chosen) == limits.most or limits.cancelled():
            break
        if candidate.probability < limits.min_confidence:
            continue  # candidates that parse come first, whatever their probability
        if not candidate.text.strip():
            why = "nothing is missing" if candidate is infill.candidates[0] else why
            if limits.most == 1:
                break
            continue  # who asked for several has seen that something is missing
        fill, reason = place.fit(candidate)
        if fill is None:
            why = reason if candidate is infill.candidates[0] else why
        elif all(fill != other for _, other in chosen):
            chosen.append((candidate, fill))
    return why, chosen


class _Clock:
    def __init__(self) -> None:
        self.timings: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.timings[stage] = now - self._last
        self._last = now
