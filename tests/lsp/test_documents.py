"""The document store against an oracle that works in UTF-16 or UTF-8 code units on the whole text."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midspan.lsp.documents import Change, Document, Documents, Encoding

ENCODINGS: tuple[Encoding, ...] = ("utf-8", "utf-16", "utf-32")
CODECS = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}

# What str.splitlines takes for a line's end and LSP does not, real line endings, astral and combining characters.
PIECES = [
    "a",
    "bc",
    " ",
    "\n",
    "\r",
    "\r\n",
    "\u2028",
    "\x0c",
    "\x85",
    "\x0b",
    "\x1c",
    "é",
    "한",
    "😀",
    "e\u0301",
    "\ud800",
]
texts = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
places = st.tuples(st.integers(0, 8), st.integers(0, 12))
edits = st.lists(st.tuples(places, places, texts), max_size=6)


def units(text: str, encoding: Encoding) -> int:
    codec, size = CODECS[encoding]
    return len(text.encode(codec, "surrogatepass")) // size


def joined(text: str) -> str:
    """The text with the halves of a split character joined, as a client counting in UTF-16 sees it."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def oracle_offset(text: str, place: tuple[int, int], encoding: Encoding) -> int:
    line, character = place
    starts = [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", text))]
    if line >= len(starts):
        return len(text)
    offset = starts[line]
    while (
        offset < len(text)
        and text[offset] not in "\r\n"
        and units(text[starts[line] : offset + 1], encoding) <= character
    ):
        offset += 1
    return offset


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(deadline=None)
@given(text=texts, changes=edits)
def test_edits_give_the_text_the_client_has(encoding: Encoding, text: str, changes: list[Any]) -> None:
    document = Document("u", "x", 0, text, encoding)
    expected = joined(text)
    for version, (one, other, new) in enumerate(changes, 1):
        start, end = sorted(oracle_offset(expected, place, encoding) for place in (one, other))
        expected = joined(expected[:start] + new + expected[end:])
        document.apply(version, [Change(new, one, other)])
        assert document.text == expected
        fresh, offsets = Document("u", "x", 0, expected, encoding), range(len(expected) + 1)
        assert [*map(document.position, offsets)] == [*map(fresh.position, offsets)]


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(deadline=None)
@given(text=texts, place=places)
def test_positions_and_offsets(encoding: Encoding, text: str, place: tuple[int, int]) -> None:
    document = Document("u", "x", 0, text, encoding)
    offset = document.offset(place)
    assert offset == oracle_offset(document.text, place, encoding)
    assert document.offset(document.position(offset)) == offset


@settings(deadline=None)
@given(text=texts, changes=edits)
def test_one_notification_with_many_changes_is_the_changes_one_by_one(text: str, changes: list[Any]) -> None:
    together, alone = Document("u", "x", 0, text, "utf-16"), Document("u", "x", 0, text, "utf-16")
    steps = [Change(new, one, other) for one, other, new in changes]
    together.apply(1, steps)
    for step in steps:
        alone.apply(1, [step])
    assert together.text == alone.text


def test_separators_that_are_not_line_ends() -> None:
    document = Document("u", "python", 1, "a😀b\r\nc\u2028d\n\x0ce\nlast", "utf-16")
    document.apply(2, [Change("LAST", (3, 0), (3, 4))])
    assert document.text == "a😀b\r\nc\u2028d\n\x0ce\nLAST"


@pytest.mark.parametrize(
    ("encoding", "character", "expected"),
    [
        ("utf-8", 1, 1),
        ("utf-8", 2, 1),
        ("utf-8", 5, 2),
        ("utf-16", 2, 1),
        ("utf-16", 3, 2),
        ("utf-32", 2, 2),
        ("utf-16", 99, 3),
    ],
)
def test_inside_a_character_means_before_it(encoding: Encoding, character: int, expected: int) -> None:
    document = Document("u", "x", 1, "a😀b\r\nnext", encoding)
    assert document.offset((0, character)) == expected


def test_halves_of_a_character_that_arrive_apart_become_one() -> None:
    document = Document("u", "x", 1, "ab", "utf-16")
    document.apply(2, [Change("\ud83d", (0, 1), (0, 1)), Change("\ude00", (0, 2), (0, 2))])
    assert document.text == "a😀b"


def test_a_lone_surrogate_stays() -> None:
    document = Document("u", "x", 1, "a\ud800b\nc", "utf-8")
    document.apply(2, [Change("!", (1, 0), (1, 0))])
    assert document.text == "a\ud800b\n!c"


def test_a_line_ending_forms_across_an_edit() -> None:
    document = Document("u", "x", 1, "a\rb\nc", "utf-16")
    document.apply(2, [Change("", (1, 0), (1, 1))])
    assert document.text == "a\r\nc"
    assert document.offset((1, 0)) == 3


def test_a_change_that_is_not_newer_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    documents = Documents()
    documents.open("u", "x", 5, "old")
    assert not documents.change("u", 5, [Change("same version")])
    assert not documents.change("u", 3, [Change("older version")])
    assert documents.change("u", 9, [Change("new")])
    document = documents.get("u")
    assert document is not None
    assert (document.text, document.version) == ("new", 9)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


def test_notifications_about_documents_that_are_not_open(caplog: pytest.LogCaptureFixture) -> None:
    documents = Documents()
    assert not documents.change("u", 1, [Change("x")])
    documents.close("u")
    documents.open("u", "x", 1, "one")
    documents.open("u", "x", 1, "two")
    document = documents.get("u")
    assert document is not None
    assert document.text == "two"
    assert len(caplog.records) == 3
