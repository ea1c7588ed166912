"""What is offered where, what a body, an instruction or a repair is, and what is made of what an engine writes."""

import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsprotocol import types as lsp
from midspan.engine import Candidate, Infill, InfillRequest
from midspan.grammars import Syntax, new_errors
from midspan.lsp import protocol
from midspan.lsp.actions.desk import IN_PIECES, Bounds
from midspan.lsp.actions.offers import BODY, INSTRUCTION, LIGHTLY, REFILL, REPAIR, TITLES, Offer, asked_for, offers
from midspan.lsp.actions.repairs import Edit
from midspan.lsp.actions.rewriting import NothingBetterError, Wish, rewritten
from midspan.lsp.actions.spoken import spoken
from midspan.lsp.actions.stubs import stub_at
from midspan.lsp.documents import Document

ALL = asked_for(None)


class Given:
    """An engine that writes these texts, one an attempt, and remembers what it was asked."""

    name = "given"

    def __init__(self, *texts: str, follows: bool = False, stop: str = "converged") -> None:
        self.texts, self.stop, self.follows_instructions = list(texts), stop, follows
        self.limits = SimpleNamespace(gap_buckets=(16, 32, 64))
        self.asked: list[dict[str, Any]] = []

    def _next(self) -> Infill:
        text = self.texts[min(len(self.asked), len(self.texts)) - 1]
        candidates = tuple(Candidate(one, (), frozenset({"canvas"})) for one in text.split("|"))
        return Infill(text.split("|")[0], (), (), 1, self.stop, {}, 0.5, "canvas", candidates)

    def rewrite(
        self, prefix: str, selection: str, suffix: str, strength: float, instruction: str | None = None, **_: Any
    ) -> Infill:
        self.asked.append(
            {"prefix": prefix, "old": selection, "suffix": suffix, "strength": strength, "told": instruction}
        )
        return self._next()

    def infill(self, request: InfillRequest) -> Infill:
        self.asked.append({"prefix": request.prefix, "old": "", "suffix": request.suffix})
        return self._next()


def marked(text: str) -> tuple[str, int, int]:
    """║ is the cursor; two of them stand around what is selected."""
    parts = text.split("║")
    return "".join(parts), len(parts[0]), len(parts[0]) + (len(parts[1]) if len(parts) == 3 else 0)


def kinds(text: str, language: str = "python", follows: bool = False) -> list[str]:
    code, start, end = marked(text)
    return [one.kind for one in offers(Syntax.parse(code, language), start, end, ALL, follows)]


def written(text: str, engine: Given, kind: str = REFILL, language: str = "python", **wish: Any) -> str:
    """The document after the rewrite."""
    code, start, end = marked(text)
    bounds = Bounds(0, time.monotonic() + 20, lambda: False)
    edit = rewritten(Wish(kind, start, end, **wish), Syntax.parse(code, language), engine, bounds)  # type: ignore[arg-type]
    return code[: edit.start] + edit.text + code[edit.end :]


# -- what is offered


def test_kinds_are_hierarchical() -> None:
    assert asked_for(None) == asked_for([""]) == set(TITLES)
    assert asked_for(["quickfix"]) == {REPAIR}
    assert asked_for(["refactor"]) == asked_for(["refactor.rewrite"]) == {BODY, LIGHTLY, REFILL, INSTRUCTION}
    assert asked_for(["refactor.rewrite.midspan.body", "source"]) == {BODY}
    assert not asked_for([]) and not asked_for(["quick", "refactor.rewrite.mid"])


STUBS = [
    ("python", "def f(x):\n    pa║ss\n", "def f(x):\n    ●\n"),
    ("python", "def f(x): ║...\n", "def f(x):\n    ●\n"),
    ("python", "def f(x):║\n\n\ny = 1\n", "def f(x):\n    ●\n\n\ny = 1\n"),
    ("python", "def f(x):\n    # TODO║\n    pass\n", "def f(x):\n    ●\n"),
    ("python", "def f(x):\n    # TODO: add║ them\n    pass\n", "def f(x):\n    # TODO: add them\n    ●\n"),
    ("python", 'def f(x):\n  """Doc."""\n  ║raise NotImplementedError("f")\n', 'def f(x):\n  """Doc."""\n  ●\n'),
    ("python", "class A:\n\tdef f(self):\n\t\t║...\n", "class A:\n\tdef f(self):\n\t\t●\n"),
    ("javascript", "function f(a) {║}\n", "function f(a) {\n  ●\n}\n"),
    ("javascript", "  f = (a) => {\n    // sum ║them\n  };\n", "  f = (a) => {\n    // sum them\n    ●\n  };\n"),
    ("javascript", "f = () => {\n  ║throw new Error('not implemented');\n}\n", "f = () => {\n  ●\n}\n"),
    ("rust", "fn f(a: i32) -> i32 {\n    ║todo!()\n}\n", "fn f(a: i32) -> i32 {\n    ●\n}\n"),
    ("go", 'package p\n\nfunc f() {\n\t║panic("not implemented")\n}\n', "package p\n\nfunc f() {\n\t●\n}\n"),
    ("java", "class A {\n  int f() {║\n  }\n}\n", "class A {\n  int f() {\n    ●\n  }\n}\n"),
    ("c", "int f(int a)║\n{\n}\n", "int f(int a)\n{\n    ●\n}\n"),
]
NO_STUBS = [
    "def f(x):\n    retu║rn x\n",
    "def f(x):\n    return║\n",
    "class A:\n    pa║ss\n",
    "def f(x):\n    if x:\n        pa║ss\n    return 1\n",
    "pass║\n",
    "def f(x):\n    pass\n\n\ny = 1║\n",
]


@pytest.mark.parametrize(("language", "text", "filled"), STUBS)
def test_a_function_that_waits_for_its_body(language: str, text: str, filled: str) -> None:
    code, start, end = marked(text)
    place = stub_at(Syntax.parse(code, language), start, end)
    assert place is not None and BODY in kinds(text, language)
    assert code[: place.start] + place.lead + "●" + place.tail + code[place.end :] == filled


@pytest.mark.parametrize("text", NO_STUBS)
def test_a_function_that_does_not_wait(text: str) -> None:
    assert BODY not in kinds(text)


@pytest.mark.parametrize(
    ("text", "instruction", "about"),
    [
        ("║# use a set\nx = []\n║y = 1\n", "use a set", "x = []"),
        ("# use\n# a set\n║x = []║\n", "use\na set", "x = []"),
        ("    # use a set\n    ║x = []\n    y = 2║\n", "use a set", "x = []\n    y = 2"),
    ],
)
def test_a_comment_says_what_is_wanted(text: str, instruction: str, about: str) -> None:
    code, start, end = marked(text)
    said = spoken(Syntax.parse(code, "python"), start, end)
    assert said is not None
    assert (said.instruction, code[said.start : said.end]) == (instruction, about)
    assert INSTRUCTION in kinds(text, follows=True)
    assert INSTRUCTION not in kinds(text), "this model does not follow it"


@pytest.mark.parametrize("text", ["║x = 1║\n", "║# only words║\n", "# --\n║x = 1║\n", "║   ║\n", "# far\n\n║x = 1║\n"])
def test_where_no_comment_says_anything(text: str) -> None:
    assert INSTRUCTION not in kinds(text, follows=True)


# -- repairs


@pytest.mark.parametrize(
    ("language", "text", "mended"),
    [
        ("python", "def f(x)║\n    return x\n", "def f(x):\n    return x\n"),
        ("python", "print(max(a, b)║\nx = 1\n", "print(max(a, b))\nx = 1\n"),
        ("python", "print(max(a, b)\n║x = 1\n", "print(max(a, b))\nx = 1\n"),
        ("python", "x = [1, 2║\ny = 3\n", "x = [1, 2]\ny = 3\n"),
        ("python", "x = foo(a ║b)\n", "x = foo(a, b)\n"),
        ("python", "x = 'abc║\ny = 2\n", "x = 'abc'\ny = 2\n"),
        ("python", "x = f(a))║\n", "x = f(a)\n"),
        ("python", "class A\r\n    ║x = 1\r\n", "class A:\r\n    x = 1\r\n"),
        ("javascript", "if (a {║\n  b();\n}\n", "if (a) {\n  b();\n}\n"),
        ("c", "int f(int a) {\n  return a║\n}\n", "int f(int a) {\n  return a;\n}\n"),
    ],
)
def test_one_token_mends_it_and_no_model_is_asked(language: str, text: str, mended: str) -> None:
    engine = Given("never")
    assert written(text, engine, REPAIR, language) == mended
    assert not engine.asked


def test_what_is_more_than_a_token_is_the_model_s_and_has_to_mend() -> None:
    text = "y = 1\nif y == 3 and: pass║\nz = 2\n"
    assert kinds(text) == [REPAIR]
    assert written(text, Given("if y == 3 or or: pass", "if y == 3: pass"), REPAIR) == "y = 1\nif y == 3: pass\nz = 2\n"
    with pytest.raises(NothingBetterError, match="no repair was found"):
        written(text, Given("if (y"), REPAIR)


def test_nothing_is_repaired_where_nothing_is_broken() -> None:
    assert REPAIR not in kinds("x = 1║\n\n\n\ny = (2\n"), "another error is elsewhere"
    with pytest.raises(NothingBetterError, match="there is no syntax error here"):
        written("x = 1║\n", Given("y"), REPAIR)


# -- what an engine writes


LOOP = "def f(a):\n    for x in a:\n        ║g(x)║\n    return a\n"


def test_the_first_text_that_is_fit_is_taken() -> None:
    engine = Given("g(x)|h((x)|if x:|  |h(x)")
    assert written(LOOP, engine) == LOOP.replace("║g(x)║", "h(x)")
    (asked,) = engine.asked
    assert asked == {
        "prefix": "def f(a):\n    for x in a:\n        ",
        "old": "g(x)",
        "suffix": "\n    return a\n",
        "strength": 1.0,
        "told": None,
    }


@pytest.mark.parametrize("text", ["g(x)", "  g(x) ", "", " \n", "h((x)", "if x:", "return a\n\ndef"])
def test_what_is_not_fit_never_touches_the_code(text: str) -> None:
    with pytest.raises(NothingBetterError, match="no better text was found"):
        written(LOOP, Given(text))


def test_lightly_goes_further_until_something_else_comes_out() -> None:
    engine = Given("g(x)", "g(x)", "g(y)")
    assert "g(y)" in written(LOOP, engine, LIGHTLY)
    strengths = [one["strength"] for one in engine.asked]
    assert strengths == sorted(strengths) and 0 < strengths[0] < strengths[-1] < 1


def test_a_strength_that_is_asked_for_is_kept() -> None:
    engine = Given("h(x)")
    written(LOOP, engine, strength=0.7)
    assert engine.asked[0]["strength"] == 0.7


def test_a_selection_that_one_gap_does_not_hold_is_written_in_pieces() -> None:
    lines = "\n".join(f"value_{i} = {i}" for i in range(40))
    engine = Given("value = 1")
    written(f"║{lines}║\n", engine)
    assert engine.asked[0]["strength"] == IN_PIECES
    with pytest.raises(NothingBetterError, match="the selection is too long"):
        written(f"║{lines}║\n", Given(lines, stop="too long"))


def test_line_ends_and_fences() -> None:
    text = "x = 1  # 😀\r\n║y = 2\r\nz = 3\r\n║w = 4\r\n"
    assert written(text, Given("```python\ny = 5\nz = 6\n```")) == "x = 1  # 😀\r\ny = 5\r\nz = 6\r\nw = 4\r\n"


def test_a_filter_that_would_cut_the_user_s_own_code_is_no_judge() -> None:
    text = "║print(1)\nprint(1)\nprint(1)\nprint(1)║\n"
    assert written(text, Given("print(2)\nprint(2)\nprint(2)\nprint(2)")) == "print(2)\n" * 4


def test_a_body_is_filled_where_it_belongs_and_not_by_another_stub() -> None:
    text = "def f(a):\n    # add them\n    ║pass\n\n\ny = 1\n"
    engine = Given("pass", "...", "return sum(a)")
    assert written(text, engine, BODY) == "def f(a):\n    # add them\n    return sum(a)\n\n\ny = 1\n"
    assert engine.asked[0]["prefix"] == "def f(a):\n    # add them\n    "
    assert engine.asked[0]["suffix"] == "\n\n\ny = 1\n"


def test_an_instruction_reaches_a_model_that_follows_it_and_no_other() -> None:
    with pytest.raises(NothingBetterError, match="given follows no instructions"):
        written(LOOP, Given("h(x)"), INSTRUCTION, instruction="call h")
    engine = Given("h(x)\n        k(x)", follows=True)
    assert written(LOOP, engine, INSTRUCTION, instruction="call h").count("k(x)") == 1, "it may take more lines"
    assert engine.asked[0]["told"].startswith("call h\n") and "g(x)" in engine.asked[0]["told"]
    engine = Given("h(x)", follows=True)
    assert written("║# call h\ng(x)║\n", engine, INSTRUCTION) == "# call h\nh(x)\n"


def test_a_rewrite_that_is_called_off_ends_with_the_attempt() -> None:
    engine = Given("g(x)")
    code, start, end = marked(LOOP)
    bounds = Bounds(0, time.monotonic() + 20, lambda: True)
    with pytest.raises(NothingBetterError):
        rewritten(Wish(LIGHTLY, start, end), Syntax.parse(code, "python"), engine, bounds)  # type: ignore[arg-type]
    assert len(engine.asked) == 1


PIECES = st.sampled_from(
    [
        "def f(x):",
        "    pass",
        "\n",
        "\r\n",
        "x = (1",
        "]",
        "'",
        "😀",
        "\ud800",
        "# TODO",
        "\t",
        "if a",
        ":",
        "",
        "{",
        "}",
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    pieces=st.lists(PIECES, max_size=10),
    answer=st.lists(PIECES, max_size=4),
    low=st.integers(-3, 60),
    high=st.integers(-3, 60),
    language=st.sampled_from(["python", "javascript", "plaintext"]),
)
def test_whatever_stands_there_and_whatever_is_written(
    pieces: Sequence[str], answer: Sequence[str], low: int, high: int, language: str
) -> None:
    text = "".join(pieces)
    syntax, engine = Syntax.parse(text, language), Given("".join(answer))
    start, end = (min(max(0, at), len(text)) for at in sorted((low, high)))
    for offer in offers(syntax, start, end, ALL, follows_instructions=True):
        try:
            edit = rewritten(
                Wish(offer.kind, start, end),
                syntax,
                engine,  # type: ignore[arg-type]
                Bounds(0, time.monotonic() + 20, lambda: False),
            )
        except NothingBetterError:
            continue
        assert 0 <= edit.start <= edit.end <= len(text)
        after = edit.applied(syntax)
        assert after.text != text
        if offer.kind == REPAIR:
            assert len(after.flaws) < len(syntax.flaws)
        else:
            assert edit.text.strip()
            assert not new_errors(syntax, after, edit.start, edit.start + len(edit.text))


# -- what clients are told


def asked_in(document: Document) -> lsp.CodeActionParams:
    place = lsp.Range(lsp.Position(0, 0), lsp.Position(0, 1))
    return lsp.CodeActionParams(lsp.TextDocumentIdentifier(document.uri), place, lsp.CodeActionContext([]))


def test_an_edit_names_the_version_where_a_client_can_read_it() -> None:
    document = Document("file:///a.py", "python", 7, "😀 = 1\r\nx\r\n", "utf-16")
    plain = protocol.workspace_edit(Edit(2, 8, "y\r\n"), document, lsp.ClientCapabilities())
    assert plain.document_changes is None and plain.changes is not None
    (edit,) = plain.changes["file:///a.py"]
    assert (edit.range, edit.new_text) == (lsp.Range(lsp.Position(0, 3), lsp.Position(1, 1)), "y\r\n")
    workspace = lsp.WorkspaceClientCapabilities(workspace_edit=lsp.WorkspaceEditClientCapabilities(True))
    versioned = protocol.workspace_edit(Edit(2, 8, "y"), document, lsp.ClientCapabilities(workspace))
    assert versioned.changes is None and versioned.document_changes is not None
    (change,) = versioned.document_changes
    assert isinstance(change, lsp.TextDocumentEdit) and change.text_document.version == 7


@pytest.mark.parametrize(("data", "properties"), [(False, ["edit"]), (True, ["command"])])
def test_who_would_lose_the_data_gets_a_command(data: bool, properties: list[str]) -> None:
    document = Document("file:///a.py", "python", 7, "x\n", "utf-16")
    action = lsp.CodeActionClientCapabilities(
        code_action_literal_support=lsp.ClientCodeActionLiteralOptions(lsp.ClientCodeActionKindOptions([])),
        data_support=data,
        resolve_support=lsp.ClientCodeActionResolveOptions(properties),
    )
    client = lsp.ClientCapabilities(text_document=lsp.TextDocumentClientCapabilities(code_action=action))
    (told,) = protocol.code_actions(asked_in(document), document, client)([Offer(REFILL)])
    assert isinstance(told, lsp.CodeAction) and told.data is None and told.command is not None
    wanted = protocol.order(told.command.arguments[0] if told.command.arguments else None)
    assert (wanted.uri, wanted.version, wanted.kind, wanted.start, wanted.end) == (
        "file:///a.py",
        7,
        REFILL,
        (0, 0),
        (0, 1),
    )
