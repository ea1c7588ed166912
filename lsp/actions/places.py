"""A place that is written anew, and what stands around it. Values; know nothing of syntax, models or the protocol."""

import re
from dataclasses import dataclass

from ..filters.postprocess import FILTERS, unchanged
from ..filters.surroundings import Filter, Surroundings
from ..lines import line_end, line_start, plain

NEAR = 2000  # code points above and below that the filters compare with


@dataclass(frozen=True)
class Place:
    """text[start:end] (code points) becomes lead + what is filled in + tail; their lines end at "\\n"."""

    kind: str  # as `grammars.selection` names it, or "body"
    start: int
    end: int
    indent: str  # of the line that what is filled in begins on
    single_line: bool
    lead: str = ""
    tail: str = ""

    def surroundings(self, text: str) -> Surroundings:
        begin = line_start(text, self.start)
        above, line = text[max(0, begin - NEAR) : begin], text[begin : self.start]
        *lines, before = (plain(line) + self.lead).split("\n")
        finish = line_end(text, self.end)
        rest, *following = (self.tail + text[self.end : finish]).split("\n")
        return Surroundings(
            before=before,
            replaced="",
            rest=rest,
            following="".join(f"\n{line}" for line in following) + plain(text[finish : finish + NEAR]),
            single_line=self.single_line,
            above=plain(above) + "".join(f"{line}\n" for line in lines),
            indent=self.indent,
        )

    def filters(self, old: str, around: Surroundings) -> list[Filter]:
        """Those that would leave what stands here now as it is: one that would cut the user's own text is no judge of
        another for it."""
        if not old.strip():
            return [step for step in FILTERS if step is not unchanged]
        return [step for step in FILTERS if step is not unchanged and step(old, around) == old]


def same(one: str, other: str) -> bool:
    """Whether two texts differ in blanks alone."""
    return re.sub(r"\s+", " ", one).strip() == re.sub(r"\s+", " ", other).strip()
