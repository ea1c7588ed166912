"""Options, as an editor may send them, become settings; what is wrong with them is told and costs nothing else."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midspan.lsp.settings import OPTIONS, Settings, resolve

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def test_nothing_sent_means_the_defaults() -> None:
    for options in (None, {}, {"midspan": {}}, {"enable": None}):
        assert resolve(options) == (Settings(), [])


def test_every_option(tmp_path: Path) -> None:
    options = {
        "enable": False,
        "model": str(tmp_path),
        "device": "cuda:1",
        "threads": 3,
        "trigger": "invoked",
        "deadline": 2,
        "minConfidence": 0.25,
        "maxTokens": 64,
        "seed": 7,
        "status": True,
        "trace": True,
    }
    assert options.keys() == OPTIONS.keys()
    settings, problems = resolve(options)
    assert not problems
    assert settings == Settings(False, tmp_path, "cuda:1", 3, "invoked", 2.0, 0.25, 64, 7, True, True)
    assert resolve({"midspan": options}) == (settings, [])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("enable", "yes"),
        ("enable", 1),
        ("model", 5),
        ("model", "/no/such/directory"),
        ("device", ""),
        ("threads", 0),
        ("threads", 2.5),
        ("threads", True),
        ("trigger", "sometimes"),
        ("trigger", ["automatic"]),
        ("deadline", 0),
        ("deadline", "1"),
        ("deadline", float("nan")),
        ("minConfidence", 1.5),
        ("maxTokens", 257),
        ("seed", -1),
    ],
)
def test_a_bad_value_is_named_and_the_rest_is_taken(option: str, value: Any) -> None:
    settings, problems = resolve({option: value, "trace": True})
    assert settings == Settings(trace=True)
    assert len(problems) == 1
    assert repr(option) in problems[0]


def test_unknown_options_are_named() -> None:
    settings, problems = resolve({"modle": "x", "trace": True, "": 1})
    assert settings == Settings(trace=True)
    assert problems == ["unknown option 'modle'", "unknown option ''"]


def test_later_options_lie_over_earlier_ones() -> None:
    base, _ = resolve({"seed": 3, "trace": True})
    settings, problems = resolve({"seed": 4, "deadline": "never"}, base)
    assert (settings.seed, settings.trace, settings.deadline) == (4, True, base.deadline)
    assert problems == ["option 'deadline' must be a number from 0.05 to 60; keeping 1.0"]


@given(json_values | st.dictionaries(st.sampled_from([*OPTIONS, "midspan"]), json_values))
def test_no_options_raise(options: Any) -> None:
    settings, problems = resolve(options)
    assert isinstance(settings, Settings)
    assert all(problem and "\n" not in problem for problem in problems)
