"""Text to ids and back: nothing special from text, nothing broken from ids."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midspan.engine.tokens import Tokens
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ["<pad>", "<eos>", "<bos>", "<mask>", "<delete>", *(f"<reserved:{i}>" for i in range(5, 32))]
SAMPLE = "def mean(values):\n    return sum(values) / len(values) if values else None  # nothing\n" * 3
VOCAB = 32 + 256 + 64


def train_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    pieces = pre_tokenizers.Split(Regex(r" ?[\p{L}_]+| ?\p{N}| ?[^\s\p{L}\p{N}_]+|\n|[^\S\n]+"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pieces, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        [SAMPLE],
        trainers.BpeTrainer(
            vocab_size=VOCAB - 10,  # as in a checkpoint whose embedding is padded
            special_tokens=SPECIAL,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    return tokenizer


TOKENS = Tokens(train_tokenizer(), frozenset(range(32)), VOCAB)


@settings(deadline=None)
@given(st.text())
def test_tokens_give_the_text_back(text: str) -> None:
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    ids = TOKENS.encode(text)
    assert TOKENS.special.isdisjoint(ids)
    if "\ufffd" not in text:
        assert TOKENS.decode(ids) == lines


@pytest.mark.parametrize("added", [True, False])
def test_text_never_becomes_a_special_token(added: bool) -> None:
    tokenizer = train_tokenizer()
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = []
    tokenizer = Tokenizer.from_str(json.dumps(state))
    if added:  # not marked special, so the library would find them in any text
        tokenizer.add_tokens([AddedToken(name, special=False) for name in SPECIAL])
    tokens = Tokens(tokenizer, frozenset(range(32)), VOCAB)
    for text in ("<mask>", "a<mask><mask>b <delete>\n<eos>", "<<mask>>", "<reserved:17>"):
        ids = tokens.encode(text)
        assert tokens.special.isdisjoint(ids)
        assert tokens.decode(ids) == text


def test_text_that_names_a_special_token_is_read_like_any_other_text() -> None:
    state = json.loads(train_tokenizer().to_str())
    state["added_tokens"] = []
    plain = Tokenizer.from_str(json.dumps(state))
    for text in ("a <mask> b", "<bos>", "x<delete><delete>y"):
        assert TOKENS.encode(text) == plain.encode(text).ids


def test_special_ids_and_half_characters_are_no_text() -> None:
    a, snowman = TOKENS.encode("ab"), TOKENS.encode("☃")
    assert len(snowman) == 3
    assert TOKENS.decode([3, *a, 4, 1]) == "ab"
    assert TOKENS.decode([*snowman[1:], *a, *snowman, *snowman[:2]]) == "ab☃"
    assert TOKENS.decode([*a, snowman[0], *a]) == "ab"
    assert TOKENS.decode([]) == ""


def test_the_newline_mask_covers_every_id_that_breaks_a_line() -> None:
    for text in ("\n", "\n\n", "x\n"):
        assert any(TOKENS.newline[id_] for id_ in TOKENS.encode(text))
    assert not any(TOKENS.newline[id_] for id_ in TOKENS.encode("def mean(values):\t"))
    assert TOKENS.newline.sum() == 2  # \n and \r: pieces never cross a line end in this tokenizer
    used = train_tokenizer().get_vocab_size()
    assert 288 < used < VOCAB
    assert TOKENS.unwritable[:32].all() and TOKENS.unwritable[used:].all() and not TOKENS.unwritable[32:used].any()


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=300), st.integers(1, 60))
def test_the_head_of_a_long_suffix_is_the_head_of_all_of_it(text: str, n_tokens: int) -> None:
    long = text + SAMPLE * 20
    ids, whole = TOKENS.head(long, n_tokens)
    assert ids == TOKENS.encode(long)[:n_tokens] and not whole
    ids, whole = TOKENS.head(text, n_tokens)
    assert ids == TOKENS.encode(text)[:n_tokens]
    assert whole == (len(TOKENS.encode(text)) <= n_tokens)


@pytest.mark.parametrize("n_tokens", range(8, 40))
def test_a_word_cut_where_the_head_is_read_to_does_not_show(n_tokens: int) -> None:
    text = " values" * 100
    assert TOKENS.head(text, n_tokens) == (TOKENS.encode(text)[:n_tokens], False)
