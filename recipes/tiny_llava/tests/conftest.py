"""What tests of training share."""

import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: tests never ask a hub

from tokenizers import Tokenizer

from recipes.tiny_llava.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """A small vocabulary, trained once for all tests; those of shipped models bring their own."""
    return train_tokenizer(vocabulary=500, questions=200)
