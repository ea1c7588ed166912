"""The fit of the n-grams' weights says the same of a token as the n-grams do, and makes what is to be seen likelier."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from midspan.engine.filling import ngrams
from midspan.engine.filling.ngrams import GAP, MAX_ORDER, NGrams
from midspan.engine.training.fit_ngrams import NAMES, fitted, signs_of, surprise

IDS = st.integers(0, 3)


@given(st.lists(IDS | st.just(GAP), max_size=60), st.lists(IDS, max_size=MAX_ORDER), IDS, st.floats(0.01, 0.99))
def test_a_token_is_as_surprising_as_drafts_take_it_to_be(
    file_ids: list[int], context: list[int], id_: int, p: float
) -> None:
    known = NGrams(np.array(file_ids, np.int64))
    signs = torch.from_numpy(signs_of(known, context, id_))[None]
    weights = torch.tensor([getattr(ngrams, name) for name in NAMES], dtype=torch.float64)
    said = surprise(weights, torch.tensor([math.log(p)], dtype=torch.float64), signs)
    found = known.after(context)
    assert -math.log(p * (1 - found.weight) + found.weight * found.share(id_)) == pytest.approx(said.item())


@pytest.mark.parametrize("follows", [True, False])
def test_what_the_file_goes_on_with_weighs_as_much_as_it_is_worth(follows: bool) -> None:
    file_ids = [1, 2, 3, GAP, 1, 2, 3, GAP, 1, 2, 3]
    signs = torch.from_numpy(signs_of(NGrams(np.array(file_ids, np.int64)), [1, 2], 3 if follows else 4))
    log_probs = torch.full((50,), math.log(0.1), dtype=torch.float64)
    left = surprise(fitted(log_probs, signs.expand(50, -1, -1)), log_probs, signs.expand(50, -1, -1)).mean().item()
    assert left == pytest.approx(0.0 if follows else math.log(10), abs=0.01)
