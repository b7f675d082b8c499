"""A converted tokenizer splits every text as SentencePiece does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from llava_tools.engine.loading.original.tokenizer import read_tokenizer, save_tokenizer
from llava_tools.errors import ModelError
from tests.checkpoints import llama_like_tokenizer
from tests.original_layout import write_sentencepiece


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    write_sentencepiece(path)
    return path


@pytest.fixture(scope="module")
def reference(folder: Path) -> SentencePieceProcessor:
    return SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    save_tokenizer(read_tokenizer(folder, "x"), folder / "out")
    loaded = AutoTokenizer.from_pretrained(folder / "out")
    assert isinstance(loaded, PreTrainedTokenizerFast)
    return loaded


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.sampled_from("USER: ASSISTANT What is the\n 0123é🙂"), max_size=40))
def test_ids_are_those_of_sentencepiece(
    tokenizer: PreTrainedTokenizerFast, reference: SentencePieceProcessor, text: str
) -> None:
    assert tokenizer.encode(text, add_special_tokens=False) == reference.encode(text)


def test_special_tokens_have_the_ids_of_the_llava_hf_layout(
    tokenizer: PreTrainedTokenizerFast, reference: SentencePieceProcessor
) -> None:
    pieces = reference.vocab_size()
    assert tokenizer.convert_tokens_to_ids(["<image>", "<pad>"]) == [pieces, pieces + 1]
    assert tokenizer.pad_token == "<pad>"
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)
    assert tokenizer.encode("is<image>the")[:1] == [1]
    assert tokenizer.decode([1, *reference.encode("What is"), 2], skip_special_tokens=True) == (
        "What is"
    )


def test_added_tokens_keep_their_ids(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes((folder / "tokenizer.model").read_bytes())
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<b>": 421, "<a>": 420}))
    tokenizer = read_tokenizer(tmp_path, "x")
    assert tokenizer.convert_tokens_to_ids(["<a>", "<b>", "<image>"]) == [420, 421, 422]


def test_a_gap_in_the_added_ids_is_an_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes((folder / "tokenizer.model").read_bytes())
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<a>": 500}))
    with pytest.raises(ModelError, match="'<a>' the id 500"):
        read_tokenizer(tmp_path, "x")


def test_a_tokenizer_json_is_taken_as_it_is(tmp_path: Path) -> None:
    published = llama_like_tokenizer()
    published.save_pretrained(tmp_path)
    tokenizer = read_tokenizer(tmp_path, "x")
    text = "  What is </s> in the image?"
    assert tokenizer.encode(text) == published.encode(text)
    assert tokenizer.convert_tokens_to_ids("<image>") == published.convert_tokens_to_ids("<image>")


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ModelError, match="tokenizer of 'x' is damaged"):
        read_tokenizer(tmp_path, "x")
