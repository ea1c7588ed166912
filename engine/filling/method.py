"""How a gap is filled: where its length comes from, when denoising stops, who else proposes.

The values are what is measured against each other (`tests/quality/infilling.py`); which of them a checkpoint uses by
itself is decided in `usual`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from ..sampler import SamplerConfig
from ..tokens import COMMIT_THRESHOLD, Manifest

RENOISE_THRESHOLD = 0.1
WIDE_MARGIN = 0.3
LEFT_STEPS = 8  # of which a line takes six or seven (`tests/quality/infilling.csv`)


@dataclass(frozen=True)
class Method:
    """length: "contract", one gap as large as the request hints, whose surplus slots are deleted; "batch", several
    sizes denoised as one batch, the best one by the causal mode: `sizes`, none of them larger than the hint, or where
    that is empty the hint, a half, a quarter and an eighth of it; "polish", a draft without right context, cut where
    the suffix begins and denoised again before the pinned suffix; "fixed", `slots` tokens whatever is missing.

    stop: "reference", the entropy bound with nothing committed until two canvases are the same and certain, as
    transformers does it; "commit", what is accepted keeps its token; "fast", commit, renoise once what lost the
    network's confidence, and be done when every slot left has one token far ahead; "left", commit, from the left on
    alone, in as many steps as that takes.

    drafts: whether copies and the causal mode propose beside the canvas (of a checkpoint with a gate). search: where
    the causal mode proposes several texts that lead into the suffix, not only the one it would write: "inside" is
    where the line goes on behind the gap. There it makes most of a difference (`tests/quality/search.csv`); where
    the gap's line ends with it, there is hardly anything to lead to. repair: whether what a request's check points at
    is denoised again.
    """

    length: Literal["contract", "batch", "polish", "fixed"] = "contract"
    stop: Literal["reference", "commit", "fast", "left"] = "commit"
    slots: int = 32
    sizes: tuple[int, ...] = ()
    drafts: bool = True
    search: Literal["never", "inside", "always"] = "never"
    repair: bool = True

    @property
    def alone(self) -> Method:
        """Without drafts. A canvas that nothing stands beside is worth the steps that denoising from the left takes."""
        return replace(self, drafts=False, search="never", stop="left" if self.stop == "commit" else self.stop)

    def sampler(self, base: SamplerConfig, seed: int) -> SamplerConfig:
        """base: the checkpoint's own settings. Where tokens are committed, seed 0 takes the likeliest ones."""
        if self.stop == "reference":
            return replace(base, commit_threshold=None, greedy=False)
        committing = replace(base, commit_threshold=base.commit_threshold or COMMIT_THRESHOLD, greedy=seed == 0)
        if self.stop == "commit":
            return committing
        if self.stop == "left":
            steps = max(LEFT_STEPS, base.max_denoising_steps)
            return replace(committing, order="left", max_denoising_steps=steps)
        return replace(committing, renoise_threshold=RENOISE_THRESHOLD, wide_margin=WIDE_MARGIN)


def usual(manifest: Manifest) -> Method:
    """A checkpoint that was taught to delete contracts, another one tries several lengths; one that was taught on
    masks commits, another one samples as transformers does."""
    method = Method(
        length="batch" if manifest.delete_token_id is None else "contract",
        stop="reference" if manifest.commit_threshold is None else "commit",
        search="inside",
    )
    return method if manifest.drafts else method.alone
