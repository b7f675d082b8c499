"""The examples' images and the embedded model, loaded once for these tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from langchain_llava import ChatLlava, LlavaEmbeddings

IMAGES = Path(__file__).parents[3] / "examples" / "images"


@pytest.fixture(scope="session")
def image_paths() -> list[Path]:
    """Drawings of two shapes each: meadow, night, paper, sea and sunset."""
    paths = sorted(IMAGES.glob("*.png"))
    assert [path.stem for path in paths] == ["meadow", "night", "paper", "sea", "sunset"]
    return paths


@pytest.fixture(scope="session")
def night(image_paths: list[Path]) -> Path:
    """A yellow star and a white circle on a black background."""
    return image_paths[1]


@pytest.fixture(scope="session")
def model() -> ChatLlava:
    return ChatLlava()


@pytest.fixture(scope="session")
def embeddings() -> LlavaEmbeddings:
    return LlavaEmbeddings()
