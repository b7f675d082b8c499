"""Any text goes through the shipped tokenizer unharmed, names are tokenised alike everywhere."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

import llava_tools

FOLDER = Path(llava_tools.__file__).parent / "tiny"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


@given(text=st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_survives(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    if not any(special in text for special in ("<s>", "</s>", "<unk>", "<pad>", "<image>")):
        assert 0 not in ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("name", ["onto", "get_weather", "colour"])
def test_a_name_is_tokenised_alike_after_a_space_and_a_quote(
    tokenizer: Tokenizer, name: str
) -> None:
    alone = tokenizer.encode(name, add_special_tokens=False).ids
    for before in (" ", '"', "(", "\n"):
        ids = tokenizer.encode(before + name, add_special_tokens=False).ids
        assert ids[-len(alone) :] == alone


def test_digits_stand_alone(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode("2048", add_special_tokens=False).tokens
    assert tokens == ["2", "0", "4", "8"]


def test_transformers_loads_it() -> None:
    loaded = AutoTokenizer.from_pretrained(FOLDER)
    assert loaded("<image>").input_ids == [1, 4]
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (1, 2, 3)
    assert loaded.model_max_length == 2048
