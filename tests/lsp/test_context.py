"""What a request may draw on: the right files, never the wrong ones, and the same while someone types."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midspan.grammars import Syntax
from midspan.grammars.names import language_id
from midspan.lsp.complete import Snapshot
from midspan.lsp.context.around import around
from midspan.lsp.context.edits import MOST, Edits
from midspan.lsp.context.excerpts import edited
from midspan.lsp.context.gather import HOLD, MOST_LIBRARY, MOST_OF_FILE, Context, Gatherer
from midspan.lsp.documents import Change, Document, Documents
from midspan.lsp.settings.exclusions import Exclusions
from midspan.lsp.wire.client import INVOKED

from tests.fixture import Fixture, parse

from .conftest import Launcher

SHAPES = """
    //- app/shapes.py
    class Circle:
        \"\"\"A circle around its centre.\"\"\"

        radius: float

        def area(self, precision: int) -> float:
            return round(3.14 * self.radius**2, precision)

    def unrelated():
        return None
    //- app/main.py
    from .shapes import Circle

    def describe(circle: Circle):
        total = circle.area(
        print(║)
    """


class Workspace:
    """A folder, the documents open in an editor, and the context of the one with the cursor."""

    def __init__(self, root: Path, source: str, *, opened: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> None:
        self.root, self.fixture = root, parse(source)
        self.documents, self.edits, self.gatherer = Documents(), Edits(), Gatherer()
        self.exclusions = Exclusions(exclude, [root.as_posix()])
        for path, text in {**self.fixture.files, self.fixture.path: self.fixture.text}.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
            if path in opened or path == self.fixture.path:
                self.documents.open((root / path).as_uri(), language_id(path), 1, text)
        self.document = self.documents.get((root / self.fixture.path).as_uri())
        assert self.document is not None
        self.offset = self.fixture.start

    def change(self, path: str, change: Change) -> None:
        uri = (self.root / path).as_uri()
        document = self.documents.get(uri)
        assert document is not None
        self.documents.change(uri, document.version + 1, [change])
        self.edits.change(uri, [change])

    def type(self, text: str) -> None:
        assert self.document is not None
        place = self.document.position(self.offset)
        self.change(self.fixture.path, Change(text, place, place))
        self.offset += len(text)

    def context(self, reach: str = "folder", tokens: int = 512, prefix_tokens: int = 40) -> Context:
        document = self.document
        assert document is not None
        snapshot = Snapshot(document.uri, 1, document.language_id, document.text, self.offset, self.offset)
        found = around(
            document.uri,
            self.documents,
            self.edits,
            [self.root],
            self.exclusions,
            reach,
            self.exclusions.excluded,
        )
        syntax = Syntax.parse(document.text, document.language_id)
        return self.gatherer.gather(snapshot, syntax, found, prefix_tokens, tokens)


def test_names_near_the_cursor_come_with_their_definitions(tmp_path: Path) -> None:
    shown = Workspace(tmp_path, SHAPES).context(prefix_tokens=400).shown
    assert shown.startswith("# app/shapes.py\nclass Circle:\n")
    assert '"""A circle around its centre."""' in shown
    assert "    def area(self, precision: int) -> float:\n" in shown
    assert "round(" not in shown and "unrelated" not in shown


def test_drafts_get_the_whole_file_and_the_trace_its_name(tmp_path: Path) -> None:
    context = Workspace(tmp_path, SHAPES).context(tokens=0)
    text = (tmp_path / "app/shapes.py").read_text()
    assert context.library == (text,) and context.shown == ""
    assert [(one.file, one.purpose, one.characters) for one in context.used] == [("app/shapes.py", "drafts", len(text))]


def test_what_is_open_counts_as_it_stands_in_the_editor(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, SHAPES, opened=("app/shapes.py",))
    workspace.change("app/shapes.py", Change("class Square: ...\n", (0, 0), (0, 0)))
    (text,) = workspace.context().library
    assert text.startswith("class Square: ...\nclass Circle:")


def test_far_parts_of_the_file_itself_are_shown_and_near_ones_are_not(tmp_path: Path) -> None:
    filler = "".join(f"    value_{n} = {n}\n" for n in range(60))
    source = f"//- a.py\nimport far_away\n\ndef first(a, b):\n    return a\n\ndef second():\n{filler}    x = ║\n"
    shown = Workspace(tmp_path, source).context().shown
    assert shown == "# a.py\nimport far_away\ndef first(a, b):\ndef second():\n\n"


def test_places_edited_last_are_shown_unless_they_are_like_the_cursor_s(tmp_path: Path) -> None:
    body = "".join(f"    alpha_{n} = beta_{n}(gamma)\n" for n in range(40))
    source = f"//- b.py\ndef other():\n{body}//- a.py\nimport b\n\ndef mine():\n    x = ║\n"
    workspace = Workspace(tmp_path, source, opened=("b.py",))
    assert "edited" not in {one.purpose for one in workspace.context().used}
    workspace.change("b.py", Change("    new_line = 1\n", (20, 0), (20, 0)))
    found = workspace.context()
    assert "edited" in {one.purpose for one in found.used} and "new_line = 1" in found.shown
    assert "alpha_2 " not in found.shown
    assert edited(body, 20, near=body) == "" != edited(body, 20, near="other text")


def test_what_is_imported_comes_first_and_the_bounds_hold(tmp_path: Path) -> None:
    line = "value = compute(1, 2, 3)\n"
    files = "".join(f"//- p/m{n:02}.py\n{line * 2000}" for n in range(20))
    source = f"{files}//- p/zz.py\nlast = 1\n//- p/a.py\nfrom .zz import last\n║\n"
    library = Workspace(tmp_path, source).context().library
    assert library[0] == "last = 1\n"
    assert sum(map(len, library)) <= MOST_LIBRARY and max(map(len, library)) <= MOST_OF_FILE
    assert all(text.endswith("\n") for text in library)


# -- what must never be there

SECRET = "the_secret_name = 1"


@pytest.mark.parametrize(
    "path",
    ["p/secrets.py", "p/vendor/x.py", "p/x.min.py", "p/x.js", "p/ignored.py", "q/x.py", "p/.hidden.py", "p/sub/x.py"],
)
@pytest.mark.parametrize("is_open", [False, True])
def test_what_is_excluded_ignored_elsewhere_or_in_another_language_is_not_there(
    tmp_path: Path, path: str, is_open: bool
) -> None:
    allowed_open = path in ("q/x.py", "p/sub/x.py", "p/.hidden.py")
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    source = f"//- {path}\n{SECRET}\n//- p/a.py\nimport secrets, ignored, x\n║\n"
    opened = (path,) if is_open else ()
    workspace = Workspace(tmp_path, source, opened=opened, exclude=("vendor/", "*.min.py"))
    context = workspace.context()
    told = context.shown + "".join(context.library) + repr(context.used)
    assert (SECRET in told) == (is_open and allowed_open)
    assert (path in told) == (is_open and allowed_open)


def test_how_far_it_reaches_is_the_user_s_choice(tmp_path: Path) -> None:
    source = "//- opened.py\nin_opened = 1\n//- beside.py\nin_beside = 1\n//- a.py\n║\n"
    workspace = Workspace(tmp_path, source, opened=("opened.py",))
    assert workspace.context("folder").library == ("in_opened = 1\n", "in_beside = 1\n")
    assert workspace.context("open").library == ("in_opened = 1\n",)
    assert workspace.context("off").library == ()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_links_lead_nowhere(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    (outside / "x.py").write_text(SECRET)
    workspace = Workspace(root, "//- p/a.py\nimport x\n║\n")
    (root / "p/x.py").symlink_to(outside / "x.py")
    os.mkfifo(root / "p/y.py")
    assert workspace.context().library == ()
    (root / "linked").symlink_to(outside, target_is_directory=True)
    beside_a_link = Workspace(root, "//- linked/a.py\nimport x\n║\n")
    assert beside_a_link.context().library == ()


@pytest.mark.parametrize("data", [b"\0" * 50, b"\xff\xfe", b"x = 1;" * 500, b"", b"x" * 200_000])
def test_what_nobody_wrote_is_not_read(tmp_path: Path, data: bytes) -> None:
    workspace = Workspace(tmp_path, "//- a.py\nimport x\n║\n")
    (tmp_path / "x.py").write_bytes(data)
    assert workspace.context().library == ()


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "//- x.py\nold = 1\n//- a.py\nimport x\n║\n")
    assert workspace.context().library == ("old = 1\n",)
    (tmp_path / "x.py").write_text("newer = 1\n")
    workspace.type("\n" * (HOLD + 1))
    assert workspace.context().library == ("newer = 1\n",)


# -- stability


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("typing")


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from(["x", "Circle", "area(", ")", " = ", "unrelated", "'é😀'", "\n"]), max_size=HOLD))
def test_it_stays_the_same_object_while_someone_types(folder: Path, keys: list[str]) -> None:
    workspace = Workspace(folder, SHAPES, opened=("app/shapes.py",))
    before = workspace.context()
    for key in keys:
        workspace.type(key)
        assert workspace.context() is before


def test_a_change_of_another_document_is_seen_at_once(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, SHAPES, opened=("app/shapes.py",))
    before = workspace.context()
    workspace.change("app/shapes.py", Change("    name: str\n", (3, 0), (3, 0)))
    assert "name: str" in workspace.context().shown and workspace.context() is not before


# -- where was edited last


def test_places_edited_last_move_with_the_text() -> None:
    edits = Edits()
    edits.change("u", [Change("x", (50, 0), (50, 0))])
    edits.change("u", [Change("a\nb\nc", (10, 0), (10, 0))])
    assert edits.lines("u") == (12, 52)
    edits.change("v", [Change("", (0, 0), (0, 3))])
    assert edits.uris() == ("v", "u")
    edits.change("u", [Change("", (0, 0), (30, 0))])
    assert edits.lines("u") == (0, 22)
    edits.change("u", [Change("another text")])
    assert edits.lines("u") == () and edits.uris() == ("v",)


@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 5), st.text("ab\n", max_size=8)).map(
            lambda edit: Change(edit[2], (edit[0], 0), (edit[0] + edit[1], 0))
        ),
        max_size=20,
    )
)
def test_places_are_few_and_inside_the_text(changes: list[Change]) -> None:
    document, edits = Document("u", "python", 1, "x\n" * 60, "utf-32"), Edits()
    for version, change in enumerate(changes, 2):
        n_lines = document.text.count("\n") + 1
        if change.start and change.start[0] < n_lines and change.end and change.end[0] < n_lines:
            document.apply(version, [change])
            edits.change("u", [change])
    assert len(edits.lines("u")) <= MOST
    assert all(0 <= line <= document.text.count("\n") for line in edits.lines("u"))


# -- a real server


def test_a_name_of_one_open_file_is_proposed_in_the_other(start: Launcher, tmp_path: Path) -> None:
    fixture: Fixture = parse("""
        //- settings.py
        def configure(registry):
            registry.declare_option(retry_interval_seconds=30, jitter=True)
            registry.declare_option(retry_attempts=5)
        //- plugin.py
        def install(registry):
            registry.declare_option(retry_inter║
        """)
    (tmp_path / "secrets.py").write_text("registry.declare_option(retry_internal_password=hunter2)\n")
    server = start()
    options = {"threads": 1, "deadline": 20, "diskCache": False, "trace": True, "status": True}
    server.initialize(options, rootUri=tmp_path.as_uri())
    for name in ("settings.py", "plugin.py", "secrets.py"):
        text = {**fixture.files, "plugin.py": fixture.text}.get(name) or (tmp_path / name).read_text()
        server.open((tmp_path / name).as_uri(), "python", text)
    server.notification("midspan/status", kind="ready", timeout=120)
    texts: dict[str, list[str]] = {}
    for reach, files in (("open", ["settings.py"]), ("off", [])):
        server.notify("workspace/didChangeConfiguration", {"settings": {**options, "context": reach}})
        number = server.begin_completion((tmp_path / "plugin.py").as_uri(), 1, 39, INVOKED)
        reply = server.result(number, 60)
        texts[reach] = [item["insertText"] for item in reply["items"]] if reply else []
        assert [one["file"] for one in server.notification("midspan/trace")["context"]] == files
    assert server.shut_down() == 0
    assert any("val_seconds=30, jitter=True)" in text for text in texts["open"])
    assert not any("val_seconds" in text for text in texts["off"])
    assert not any("hunter2" in text or "password" in text for found in texts.values() for text in found)
