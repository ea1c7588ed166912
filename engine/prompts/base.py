"""The prompt of a checkpoint that was taught on plain files: it writes on.

    <bos> [context] [prefix …]

No separators: midspan-mini's tokenizer reserves some, its training used none. Knows nothing of turns or instructions.
"""

from __future__ import annotations

from functools import lru_cache

from ..prefix import anchored_start
from ..tokens import Manifest, Tokens
from .framed import Framed
from .healing import Healing
from .seams import Seams


class BasePrompt:
    follows_instructions = False

    def __init__(self, tokens: Tokens, manifest: Manifest, eos_token_id: int) -> None:
        self._tokens, self._manifest, self._eos = tokens, manifest, eos_token_id
        self._n_tokens = lru_cache(maxsize=4096)(lambda line: len(tokens.encode(line)))
        self._healing = Healing(tokens) if manifest.healing else None

    def frame(self, prefix: str, suffix: str, context: str = "", instruction: str | None = None) -> Framed:
        """As `Prompt.frame`. The context has a budget of its own, all of which is set aside as soon as there is any:
        so the prefix' window does not move when the context changes."""
        manifest, share = self._manifest, self._manifest.context_tokens if context else 0
        head = [manifest.bos_token_id, *self._tokens.lines(context, share)]
        budget = manifest.prefix_tokens - 1 - share
        ids = self._tokens.encode(prefix[anchored_start(prefix, budget, self._n_tokens) :])
        ids = ids[max(0, len(ids) - budget) :]
        pinned, whole = self._tokens.head(suffix, manifest.canvas_tokens)
        # <eos> says that the file ends here.
        return framed([*head, *ids], len(head), [*pinned, self._eos] if whole else pinned, self._healing)


def framed(prefix_ids: list[int], n_context: int, pinned_ids: list[int], healing: Healing | None) -> Framed:
    """The frame with both seams healed, where there is something to heal."""
    if healing is None:
        return Framed(prefix_ids, pinned_ids, n_context)
    typed, kept = healing.typed(prefix_ids[n_context:]), healing.kept(pinned_ids)
    prefix_ids = prefix_ids[:-1] if typed else prefix_ids
    return Framed(
        prefix_ids=prefix_ids,
        pinned_ids=pinned_ids[1:] if kept else pinned_ids,
        n_context=n_context,
        typed=typed,
        kept=kept,
        begun=healing.begun(prefix_ids[n_context:], typed),
        seams=Seams(healing.first(typed) if typed else None, healing.last(kept) if kept else None),
    )
