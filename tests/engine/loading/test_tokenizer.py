"""The tokenizer of a folder: tokenizer.json, or SentencePiece's model alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from llava_tools.engine.loading.tokenizer import read_tokenizer
from llava_tools.engine.tokenizer import Tokenizer
from llava_tools.errors import MissingExtraError
from tests.original_layout import write_sentencepiece

TEXTS = ("What is this?", "  two  spaces\n\tand 1234 digits", "Größe: 3 µm; 東京、🙂", "\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in the llava-hf layout whose tokenizer is SentencePiece's model alone."""
    config = {"tokenizer_class": "LlamaTokenizer", "chat_template": "{{ bos_token }}"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return tmp_path


def test_sentencepiece_alone_splits_texts_as_sentencepiece_does(folder: Path) -> None:
    pieces = write_sentencepiece(folder)
    backend = read_tokenizer(folder, "x")
    tokenizer = Tokenizer(backend)
    assert [tokenizer.encode(text) for text in TEXTS] == [pieces.encode(text) for text in TEXTS]
    assert tokenizer.bos == [pieces.bos_id()]
    assert backend.chat_template == "{{ bos_token }}"


def test_without_sentencepiece_the_error_names_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "tokenizer.model").write_bytes(b"\n\x0e")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(MissingExtraError, match=r"sentencepiece is not installed.* pip install"):
        read_tokenizer(folder, "x")
