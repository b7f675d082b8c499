"""The shipped twin finds pictures by words, behind the eye that is shipped beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration

import llava_tools
from llava_tools.embedding import Embedder
from recipes.tiny_llava import retrieve
from recipes.tiny_llava.clip import digest, new_clip, trained

TINY = Path(llava_tools.__file__).parent / "tiny"


@pytest.fixture(scope="module")
def embedder() -> Iterator[Embedder]:
    with Embedder() as made:
        yield made


@pytest.mark.parametrize("name", ["own", "stranger"])
def test_words_find_pictures_and_pictures_words(embedder: Embedder, name: str) -> None:
    def texts(said: Sequence[str]) -> retrieve.Vectors:
        return np.array(embedder.embed_texts(said), np.float32)

    def pictures(shown: Sequence[Image.Image]) -> retrieve.Vectors:
        return np.array(embedder.embed_images(shown), np.float32)

    told = retrieve.figures(retrieve.trial(name, seed=77), texts, pictures)
    assert told["text 1"] >= 0.85
    assert told["picture 1"] >= 0.85
    assert min(told["text 5"], told["picture 5"]) >= 0.95
    assert told["part 1"] >= 0.8
    assert told["part chance"] < 0.15


def test_it_belongs_to_the_eye_beside_it() -> None:
    """Another eye needs another twin: train it anew when the embedded model's eye changes."""
    model = LlavaForConditionalGeneration.from_pretrained(TINY, dtype=torch.float32)
    clip = new_clip(model)
    assert f'"eye_sha256": "{digest(clip)}"' in (TINY / "clip" / "config.json").read_text()
    weights = load_file(TINY / "clip" / "model.safetensors")
    new = trained(clip)
    assert {name: value.shape for name, value in weights.items()} == {
        name: value.shape for name, value in new.items()
    }


def test_the_files_are_small_and_complete() -> None:
    assert (TINY / "clip" / "model.safetensors").stat().st_size < 6_000_000
    assert {path.name for path in (TINY / "clip").iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
    }
