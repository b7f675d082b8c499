from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_tools.engine.tokenizer import Tokenizer
from tests.checkpoints import llama_like_tokenizer

SPELLED = ["<image>", "</s>", "<s>", "<unk>", "USER:", " ASSISTANT:", "\n", "<", "/s>", " "]
texts = st.lists(st.one_of(st.sampled_from(SPELLED), st.text(max_size=6)), max_size=8).map("".join)


@pytest.fixture(scope="module")
def tokenizer() -> object:
    return llama_like_tokenizer()


@pytest.fixture(scope="module")
def codec(tokenizer: object) -> Tokenizer:
    return Tokenizer(tokenizer)


@given(text=texts, start=st.booleans())
def test_text_never_becomes_structure(codec: Tokenizer, text: str, start: bool) -> None:
    structure = set(codec._structure.values())
    ids = codec.encode(text, start=start)
    assert structure.isdisjoint(ids)
    assert codec.decode(ids).strip(" ") == text.strip(" ")


@given(text=texts)
def test_decoding_token_by_token_equals_decoding_at_once(codec: Tokenizer, text: str) -> None:
    ids = codec.encode(text)
    decoder = codec.decode_stream()
    pieces = [decoder.step(token) for token in ids] + [decoder.rest()]
    assert "".join(pieces) == codec.decode(ids)


@given(ids=st.lists(st.integers(0, 599), max_size=30))
def test_any_tokens_can_be_decoded_one_by_one(codec: Tokenizer, ids: list[int]) -> None:
    decoder = codec.decode_stream()
    for token in ids:
        decoder.step(token)
    decoder.rest()


def test_plain_text_is_encoded_as_the_checkpoint_tokenizer_does(codec: Tokenizer) -> None:
    reference = llama_like_tokenizer()
    text = "What is in the picture? A red circle."
    assert codec.encode(text) == reference.encode(text, add_special_tokens=False)


def test_no_space_is_put_before_the_first_word_behind_an_end_of_turn(codec: Tokenizer) -> None:
    behind, opening = codec.encode("USER: hi", start=False), codec.encode("USER: hi", start=True)
    assert behind != opening
    assert codec.token_text(opening[0]).startswith(" ")
    assert not codec.token_text(behind[0]).startswith(" ")
    assert codec.decode(behind) == codec.decode(opening) == "USER: hi"


def test_special_tokens_show_their_names(codec: Tokenizer) -> None:
    assert codec.token_text(codec.end_of_turn) == "</s>"
