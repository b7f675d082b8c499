from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: tests use no hub

from llava_tools import Llava
from llava_tools.core.backend import Backend
from llava_tools.options import EngineOptions
from tests.hardening import guard

guard.install()  # tests reach this machine only


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random-weight LLaVA with a Llama-like tokenizer."""
    from tests.checkpoints import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def llava(checkpoint: Path) -> Iterator[Llava]:
    """A `Llava` on the random-weight checkpoint in float32, loaded once for all tests."""
    with Llava(str(checkpoint), dtype="float32") as model:
        yield model


@pytest.fixture
def fresh(checkpoint: Path) -> Iterator[Callable[..., Llava]]:
    """Creates `Llava`s in float32, each with a new engine of its own."""
    from llava_tools.engine import load_engine

    engines: list[Backend] = []

    def make(**options: Any) -> Llava:
        # The default on a CPU with bfloat16 units is bfloat16, which compares less exactly.
        exact: dict[str, Any] = {"dtype": "float32", **options}
        engines.append(load_engine(EngineOptions(str(checkpoint), **exact)))
        return Llava(backend=engines[-1])

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture(scope="session")
def images() -> list[Image.Image]:
    """Six different images, wide, tall and square."""
    drawings = []
    for index, size in enumerate([(64, 64), (90, 40), (30, 80), (56, 56), (200, 120), (17, 19)]):
        image = Image.new("RGB", size, (40 * index, 255 - 40 * index, 128))
        draw = ImageDraw.Draw(image)
        draw.ellipse((size[0] // 5, size[1] // 5, size[0] // 2, size[1] // 2), fill="red")
        drawings.append(image)
    return drawings


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A photograph of a temple, 640×427."""
    from sklearn.datasets import load_sample_images  # type: ignore[import-untyped]

    return Image.fromarray(load_sample_images().images[0])


@pytest.fixture(scope="session")
def small(photo: Image.Image) -> Image.Image:
    """The photograph at 61×40."""
    return photo.resize((61, 40))
