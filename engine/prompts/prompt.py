"""Text around a gap → what the network is shown of it.

There are two forms, one module each: `prompt_base` for a checkpoint that writes files on, `prompt_gemma` for one that
answers in turns. Which one a checkpoint gets is decided here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..tokens import Manifest, Tokens
from .base import BasePrompt
from .framed import Framed
from .gemma import GemmaPrompt, has_turns


class Prompt(Protocol):
    """One form. The same texts give the same ids, whatever was asked before; costs O(what the network is shown), not
    O(file)."""

    follows_instructions: bool

    def frame(self, prefix: str, suffix: str, context: str = "", instruction: str | None = None) -> Framed:
        """prefix, suffix: all text around the gap, of any length. context: text to know beforehand, whole lines, the
        most important first; instruction: what is wanted, in words. A checkpoint that was taught neither ignores them.
        """
        ...


def prompt_for(tokens: Tokens, manifest: Manifest, eos_token_ids: Sequence[int]) -> Prompt:
    """The form that `midspan.json` names in `prompt`; where it names none, turns if the tokenizer has them.

    Raises EngineError when turns are named and the tokenizer lacks them.
    """
    if manifest.prompt == "gemma" or (manifest.prompt is None and has_turns(tokens)):
        return GemmaPrompt(tokens, manifest, eos_token_ids)
    return BasePrompt(tokens, manifest, eos_token_ids[0])
