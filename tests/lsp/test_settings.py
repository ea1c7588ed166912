"""Options, as an editor may send them, become settings; what is wrong with them is told and costs nothing else."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midspan.lsp.settings import sources
from midspan.lsp.settings.settings import OPTIONS, Settings, from_environment, narrow, resolve
from midspan.lsp.settings.sources import Sources, project_root

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def test_nothing_sent_means_the_defaults() -> None:
    for options in (None, {}, {"midspan": {}}, {"midspan": None}, {"enable": None}):
        assert resolve(options) == (Settings(), [])


def test_every_option(tmp_path: Path) -> None:
    options = {
        "enable": False,
        "trigger": "invoked",
        "languages": {"markdown": "off", "*": True},
        "prose": True,
        "minConfidence": 0.25,
        "maxTokens": 64,
        "alternatives": 5,
        "deadline": 2,
        "debounce": 0,
        "prefetch": False,
        "diskCache": False,
        "exclude": ["vendor/"],
        "context": "open",
        "model": str(tmp_path),
        "device": "cuda:1",
        "quantize": "int8",
        "threads": 3,
        "memoryLimit": 900,
        "load": "use",
        "idleUnload": 0,
        "seed": 7,
        "status": True,
        "trace": True,
    }
    assert options.keys() == OPTIONS.keys()
    settings, problems = resolve(options)
    assert not problems
    for name, option in OPTIONS.items():
        assert getattr(settings, option.field) != getattr(Settings(), option.field), name
    assert settings.languages == (("*", "automatic"), ("markdown", "off"))
    assert (settings.model, settings.exclude, settings.deadline) == (tmp_path, ("vendor/",), 2.0)
    assert resolve({"midspan": options}) == (settings, [])
    assert resolve({name: option.default for name, option in OPTIONS.items()}) == (Settings(), [])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("enable", "yes"),
        ("enable", 1),
        ("model", 5),
        ("model", "/no/such/directory"),
        ("device", ""),
        ("threads", -1),
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
        ("languages", ["python"]),
        ("languages", {"python": "sometimes"}),
        ("exclude", "vendor/"),
        ("exclude", [""]),
        ("quantize", "int2"),
        ("memoryLimit", 1),
        ("idleUnload", -1),
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


def test_a_section_that_is_no_object() -> None:
    assert resolve({"midspan": 5}) == (Settings(), ["options must be an object, not a number"])


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


# -- languages


def test_the_stricter_of_language_and_all_counts() -> None:
    settings, _ = resolve({"languages": {"go": "invoked", "sql": False, "*": "automatic"}})
    assert [settings.how(name) for name in ("python", "go", "sql")] == ["automatic", "invoked", "off"]
    settings, _ = resolve({"trigger": "invoked", "languages": {"go": "automatic", "sql": "off"}})
    assert [settings.how(name) for name in ("python", "go", "sql")] == ["invoked", "invoked", "off"]
    assert resolve({"enable": False})[0].how("python") == "off"


# -- the environment


def test_the_environment(tmp_path: Path) -> None:
    variables = {
        "MIDSPAN_ENABLE": "off",
        "MIDSPAN_MIN_CONFIDENCE": "0.5",
        "MIDSPAN_MODEL": str(tmp_path),
        "MIDSPAN_EXCLUDE": "vendor/, *.min.js",
        "MIDSPAN_LANGUAGES": "python=off,go=invoked",
        "MIDSPAN_THREADS": "0",
        "MIDSPAN_SEED": "many",
        "MIDSPAN_CACHE": "/of/somebody/else",
        "PATH": "/bin",
        "MIDSPAN_DEVICE": "",
    }
    settings, problems = from_environment(variables, Settings(threads=4))
    assert (settings.enable, settings.min_confidence, settings.model, settings.threads) == (False, 0.5, tmp_path, None)
    assert settings.exclude == ("vendor/", "*.min.js")
    assert settings.languages == (("go", "invoked"), ("python", "off"))
    assert (settings.seed, settings.device) == (0, "cpu")
    assert problems == ["environment: option 'seed' must be an integer from 0 to 2147483647; keeping 0"]


@given(st.dictionaries(st.sampled_from([option.variable for option in OPTIONS.values()]), st.text()))
def test_no_environment_raises(variables: dict[str, str]) -> None:
    settings, _ = from_environment(variables, Settings())
    assert isinstance(settings, Settings)


# -- a project's file


def test_a_project_may_ask_for_less_and_for_nothing_else() -> None:
    mine, _ = resolve({"languages": {"go": "invoked"}, "exclude": ["mine/"], "maxTokens": 64, "minConfidence": 0.3})
    wishes = {
        "enable": True,
        "trigger": "invoked",
        "languages": {"go": "automatic", "sql": "off"},
        "minConfidence": 0.1,
        "maxTokens": 128,
        "prefetch": False,
        "exclude": ["theirs/"],
    }
    settings, problems = narrow(wishes, mine)
    assert not problems
    assert (settings.trigger, settings.max_tokens, settings.min_confidence) == ("invoked", 64, 0.3)
    assert (settings.prefetch, settings.exclude) == (False, ("mine/", "theirs/"))
    assert [settings.how(name) for name in ("go", "sql")] == ["invoked", "off"]
    off = Settings(enable=False, disk_cache=False, prose=False)
    assert narrow({"enable": True, "diskCache": True, "prose": True}, off)[0] == off


def test_a_project_cannot_choose_the_model_or_take_secrets_out_of_the_exclusions(tmp_path: Path) -> None:
    wishes = {
        "model": str(tmp_path),
        "device": "cuda",
        "deadline": 60,
        "seed": 1,
        "trace": True,
        "exclude": ["!.env"],
    }
    settings, problems = narrow(wishes, Settings())
    assert settings == Settings()
    assert len(problems) == len(wishes)
    assert problems[0] == "option 'model' may not be set by a project; keeping None"


@given(json_values | st.dictionaries(st.sampled_from([*OPTIONS, "midspan"]), json_values))
def test_no_project_raises(options: Any) -> None:
    assert isinstance(narrow(options, Settings())[0], Settings)


# -- all of them together


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's configuration directory, and no MIDSPAN_* in the environment."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for option in OPTIONS.values():
        monkeypatch.delenv(option.variable, raising=False)
    (tmp_path / "config" / "midspan").mkdir(parents=True)
    return tmp_path / "config" / "midspan"


def test_which_source_wins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problems: list[str] = []
    (home / "midspan.toml").write_text('seed = 1\ndeadline = 2\nmaxTokens = 8\n[languages]\nsql = "off"\n')
    settings_of = Sources(problems.append)
    assert settings_of.initialize({"deadline": 3, "maxTokens": 16}).deadline == 3.0
    settings = settings_of.configure({"maxTokens": 32})
    assert (settings.seed, settings.deadline, settings.max_tokens) == (1, 3.0, 32)
    assert settings.how("sql") == "off"
    monkeypatch.setenv("MIDSPAN_MAX_TOKENS", "64")
    assert settings_of.configure({"maxTokens": 32}).max_tokens == 64
    assert not problems


@pytest.mark.parametrize("text", ["seed = ", "\xff", "[" * 5000, "seed = 1\nseed = 2"])
def test_a_file_that_is_no_toml_is_told_once(home: Path, text: str) -> None:
    (home / "midspan.toml").write_text(text, encoding="latin-1")
    problems: list[str] = []
    sources_ = Sources(problems.append)
    for _ in range(3):
        assert sources_.initialize(None) == Settings()
    assert len(problems) == 1 and "midspan.toml" in problems[0]


def test_problems_are_told_once_each(home: Path) -> None:
    (home / "midspan.toml").write_text('colour = 1\nseed = "x"\n')
    problems: list[str] = []
    all_ = Sources(problems.append)
    all_.initialize({"colour": 2})
    for _ in range(3):
        all_.configure({"deadline": -1})
    assert len(problems) == 4  # the file's two, and the client's two
    assert len(set(problems)) == 4


def test_a_project_s_file_is_for_its_documents_and_followed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "LOOK_AGAIN", -1.0)
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        (folder / "src").mkdir(parents=True)
    (one / "midspan.toml").write_text("enable = false\nmodel = '/tmp'\n")
    problems: list[str] = []
    all_ = Sources(problems.append)
    settings = all_.initialize(None)
    roots = [one, other]
    assert not all_.narrowed(settings, one / "src" / "a.py", roots).enable
    assert all_.narrowed(settings, other / "src" / "a.py", roots).enable
    assert all_.narrowed(settings, None, roots) is settings
    (one / "midspan.toml").write_text("maxTokens = 16\n")
    assert all_.narrowed(settings, one / "src" / "a.py", roots).max_tokens == 16
    (one / "midspan.toml").unlink()
    assert all_.narrowed(settings, one / "src" / "a.py", roots) is settings
    assert len(problems) == 1 and "'model' may not be set by a project" in problems[0]


def test_where_a_project_begins(tmp_path: Path) -> None:
    document = tmp_path / "a" / "b" / "c.py"
    document.parent.mkdir(parents=True)
    assert project_root(document, [tmp_path, tmp_path / "a"]) == tmp_path / "a"
    (tmp_path / "a" / ".git").mkdir()
    assert project_root(document, []) == tmp_path / "a"
    (tmp_path / "a" / "b" / "midspan.toml").write_text("")
    assert project_root(document, []) == tmp_path / "a" / "b"


@pytest.mark.parametrize("n_cores", [1, 8])
def test_the_engine_takes_two_threads_where_there_are_two(n_cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midspan.lsp.settings.settings._cores", lambda: n_cores)
    assert Settings().engine_threads == min(2, n_cores)
    assert Settings(threads=3).engine_threads == 3
