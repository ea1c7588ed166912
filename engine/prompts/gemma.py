"""The prompt of a checkpoint that answers in turns (Gemma 4, DiffusionGemma -it).

    <bos><|turn>user
    task, context, what stands further down, instruction<turn|>
    <|turn>model
    [prefix …]

The turns are those of Gemma 4's chat template: `<|turn>role\\n`, `<turn|>\\n`, and, since its correction, no empty
thought channel when thinking is off. Text put behind `<|turn>model\\n` is the model's own beginning. So the prefix
stands last, typing extends it, and what precedes it holds still: what is shown of the suffix in the user's turn begins
at a line that the cursor's place does not choose. The head of the suffix is not shown there; it is pinned.

What such a checkpoint does unasked, and what is done about it:
- a thought channel: its markup is control tokens, which no slot may hold; the bare word `thought` before the code may
  not stand in the first slot, and a line of it is cut;
- a code fence: tokens with one are banned and what is left of one is cut, unless the text around the gap has fences;
- an empty canvas, all ends: no end may stand in the first slot. "Nothing is missing" stays sayable at a healed seam,
  where the first slot holds what was typed.
Knows nothing of networks or canvases.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import torch

from ..errors import EngineError
from ..prefix import anchored_start, steady_line
from ..tokens import Manifest, Tokens
from .base import framed
from .framed import Framed
from .healing import Healing
from .seams import Seams

TURN, END_OF_TURN = "<|turn>", "<turn|>"
TASK = (
    "Your reply is a source file and has begun already. Go on with it where it stops, in the middle of a line if need "
    "be, so that what follows fits. Write code only: no explanation, no Markdown, no line twice."
)
CONTEXT = "\n\nOther code of the project, to be used and not to be repeated:\n"
BELOW = "\n\nFurther down the file has these lines already:\n"
INSTRUCTION = "\n\nWhat is to be written now:\n"
INSTRUCTION_TOKENS = 256
FENCE, THOUGHT = "```", "thought"
NEAR_LINES = 16  # below the gap, among which the lines shown in the user's turn begin
UNWANTED = re.compile(r"\Athought\n")
UNWANTED_FENCED = re.compile(r"\A(?:thought\n)?```[^\n`]*\n|\Athought\n|\n?```[\s\S]*\Z")


def has_turns(tokens: Tokens) -> bool:
    return tokens.control(TURN) is not None and tokens.control(END_OF_TURN) is not None


class GemmaPrompt:
    follows_instructions = True

    def __init__(self, tokens: Tokens, manifest: Manifest, eos_token_ids: Sequence[int]) -> None:
        """Raises EngineError when the tokenizer has no turns, or the prefix no room."""
        turn, end = tokens.control(TURN), tokens.control(END_OF_TURN)
        if turn is None or end is None:
            raise EngineError(f"the tokenizer has no {TURN} and {END_OF_TURN}, which the prompt of turns is made of")
        self._tokens, self._manifest, self._end = tokens, manifest, end
        self._opening = [manifest.bos_token_id, turn, *tokens.encode("user\n" + TASK)]
        self._closing = [end, *tokens.encode("\n"), turn, *tokens.encode("model\n")]
        if 2 * len(self._opening + self._closing) > manifest.prefix_tokens:
            raise EngineError(f"prefix_tokens is {manifest.prefix_tokens}, which the turns alone take half of")
        self._n_tokens = lru_cache(maxsize=4096)(lambda line: len(tokens.encode(line)))
        self._healing = Healing(tokens) if manifest.healing else None
        texts = tokens.texts()
        self._fences = frozenset(id_ for id_, text in texts.items() if FENCE in text)
        self._ends = frozenset(eos_token_ids)
        self._thoughts = frozenset(id_ for id_, text in texts.items() if text.strip() == THOUGHT)

    def frame(self, prefix: str, suffix: str, context: str = "", instruction: str | None = None) -> Framed:
        """As `Prompt.frame`. Context and suffix have budgets of their own, set aside whole or not at all, so the
        prefix' window does not move when they change. The whole fits `prefix_tokens`; what would leave the prefix less
        than a quarter of that is not shown."""
        tokens, manifest = self._tokens, self._manifest
        pinned, whole = tokens.head(suffix, manifest.canvas_tokens)
        seen = whole and len(pinned) <= manifest.canvas_tokens // 2
        shares = (
            (CONTEXT, context, manifest.context_tokens),
            (BELOW, "" if seen else suffix[steady_line(suffix, NEAR_LINES) :], manifest.suffix_tokens),
            (INSTRUCTION, instruction or "", INSTRUCTION_TOKENS),
        )
        head, budget = list(self._opening), manifest.prefix_tokens - len(self._opening) - len(self._closing)
        for title, text, share in shares:
            ids = tokens.lines(text, share)
            title_ids = tokens.encode(title) if ids else []
            if ids and budget - len(title_ids) - share >= manifest.prefix_tokens // 4:
                head += [*title_ids, *ids]
                budget -= len(title_ids) + share
        head += self._closing
        window = prefix[anchored_start(prefix, budget, self._n_tokens) :]
        ids = tokens.encode(window)
        ids = ids[max(0, len(ids) - budget) :]
        frame = framed([*head, *ids], len(head), [*pinned, self._end] if whole else pinned, self._healing)
        return self._guarded(frame, window, suffix[: 4 * manifest.canvas_tokens])

    def _guarded(self, frame: Framed, before: str, after: str) -> Framed:
        fenced = FENCE in before or FENCE in after
        first = frame.seams.first
        if first is None:
            first = torch.zeros(len(self._tokens.unwritable), dtype=torch.bool)
            first[[*self._ends, *(() if THOUGHT in before or THOUGHT in after else self._thoughts)]] = True
        return replace(
            frame,
            seams=Seams(first, frame.seams.last),
            banned=frozenset() if fenced else self._fences,
            unwanted=UNWANTED if fenced else UNWANTED_FENCED,
        )
