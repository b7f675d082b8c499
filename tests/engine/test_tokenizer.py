"""Text to tokens and back; text that spells special tokens stays text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import models, normalizers
from transformers import PreTrainedTokenizerFast

from llava_tools.core.unicode import well_formed
from llava_tools.engine.tokenizer import IncrementalDecoder, Tokenizer
from tests.checkpoints import llama_like_tokenizer

SPELLED = ["<image>", "</s>", "<s>", "<unk>", "USER:", " ASSISTANT:", "\n", "<", "/s>", " "]
texts = st.lists(st.one_of(st.sampled_from(SPELLED), st.text(max_size=6)), max_size=8).map("".join)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(llama_like_tokenizer())


@given(text=texts, start=st.booleans())
def test_text_never_becomes_a_special_token(tokenizer: Tokenizer, text: str, start: bool) -> None:
    special = set(tokenizer.tokenizer.get_added_vocab().values())
    assert special
    ids = tokenizer.encode(text, start=start)
    assert special.isdisjoint(ids)
    assert tokenizer.decode(ids).strip(" ") == text.strip(" ")


@given(text=texts)
def test_decoding_token_by_token_equals_decoding_at_once(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    decoder = IncrementalDecoder(tokenizer.decode)
    pieces = [decoder.step(token) for token in ids] + [decoder.rest()]
    assert "".join(pieces) == tokenizer.decode(ids)


@given(ids=st.lists(st.integers(0, 599), max_size=30))
def test_any_tokens_can_be_decoded_one_by_one(tokenizer: Tokenizer, ids: list[int]) -> None:
    decoder = IncrementalDecoder(tokenizer.decode)
    for token in ids:
        decoder.step(token)
    decoder.rest()


def test_plain_text_is_encoded_as_the_checkpoint_tokenizer_does(tokenizer: Tokenizer) -> None:
    reference = llama_like_tokenizer()
    text = "What is in the picture? A red circle."
    assert tokenizer.encode(text) == reference.encode(text, add_special_tokens=False)


@pytest.mark.parametrize("text", ["\ud800", "a \udce9 b", "</s\udfff></s>", "\udc00\ud800"])
@pytest.mark.parametrize("start", [True, False])
def test_lone_surrogates_are_encoded_as_replacement_characters(
    tokenizer: Tokenizer, text: str, start: bool
) -> None:
    ids = tokenizer.encode(text, start=start)
    assert ids == tokenizer.encode(well_formed(text), start=start)
    assert "\ufffd" in tokenizer.decode(ids)


@pytest.mark.parametrize("start", [True, False])
def test_i16_a_text_may_spell_special_tokens_any_number_of_times(
    tokenizer: Tokenizer, start: bool
) -> None:
    text = "</s><s></s" * 5000
    ids = tokenizer.encode(text, start=start)
    assert set(tokenizer.tokenizer.get_added_vocab().values()).isdisjoint(ids)
    assert tokenizer.decode(ids).strip(" ") == text


def test_i16_a_text_of_megabytes_takes_as_long_as_its_parts(tokenizer: Tokenizer) -> None:
    text = "</s> a red circle " * 200_000  # 3.6 MB
    assert len(tokenizer.encode(text)) == pytest.approx(
        1000 * len(tokenizer.encode(text[: len(text) // 1000])), rel=0.01
    )


def test_letters_that_are_normalized_never_become_a_special_token() -> None:
    saved = llama_like_tokenizer()
    backend = saved.backend_tokenizer
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), backend.normalizer])
    ids = Tokenizer(saved).encode("a \uff1c/s\uff1e \ufe64/\uff53> b")
    assert saved.convert_tokens_to_ids("</s>") not in ids
    assert str(saved.decode(ids)).strip() == "a </s> </s> b"


def test_unknown_text_is_the_vocabulary_s_unknown_token() -> None:
    backend = FastTokenizer(models.BPE({"<unk>": 0, "1": 1}, [], unk_token="<unk>"))
    saved = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")
    assert Tokenizer(saved).encode("1a1") == [1, 0, 1]


def test_no_space_is_added_before_the_first_word_after_an_end_of_turn(tokenizer: Tokenizer) -> None:
    after = tokenizer.encode("USER: hi", start=False)
    opening = tokenizer.encode("USER: hi", start=True)
    assert after != opening
    assert tokenizer.token_text(opening[0]).startswith(" ")
    assert not tokenizer.token_text(after[0]).startswith(" ")
    assert tokenizer.decode(after) == tokenizer.decode(opening) == "USER: hi"


def test_truncation_and_padding_of_training_do_not_change_texts(tokenizer: Tokenizer) -> None:
    expected = tokenizer.encode("A red circle and a blue square.")
    saved = llama_like_tokenizer()
    saved.backend_tokenizer.enable_truncation(4)
    saved.backend_tokenizer.enable_padding(length=64)
    assert Tokenizer(saved).encode("A red circle and a blue square.") == expected


def test_a_vocabulary_without_letters_has_no_start() -> None:
    backend = FastTokenizer(models.BPE({"1": 0}, []))
    codec = Tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>"))
    assert codec.bos == []
    assert codec.encode("1a1") == [0, 0]


def test_special_tokens_show_their_names(tokenizer: Tokenizer) -> None:
    assert tokenizer.token_text(tokenizer.end_of_turn) == "</s>"
