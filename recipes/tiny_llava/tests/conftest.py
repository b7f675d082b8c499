"""What tests of training share."""

import pytest
from tokenizers import Tokenizer

from recipes.tiny_llava.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """A small vocabulary, trained once for all tests; those of shipped models bring their own."""
    return train_tokenizer(vocabulary=500, questions=200)
