"""The examples' images and the embedded model, loaded once for these tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from llama_index.embeddings.llava import LlavaEmbedding
from llama_index.llms.llava import Llava

IMAGES = Path(__file__).parents[3] / "examples" / "images"


@pytest.fixture(scope="session")
def night() -> Path:
    """A yellow star and a white circle on a black background."""
    return IMAGES / "night.png"


@pytest.fixture(scope="session")
def llm() -> Llava:
    """The embedded model, which may read the examples' images."""
    return Llava(allowed_directories=[IMAGES])


@pytest.fixture(scope="session")
def embedding() -> LlavaEmbedding:
    return LlavaEmbedding()
