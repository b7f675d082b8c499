"""`Embedder` over a fake model: errors, sharing, and its async methods."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from PIL import Image

from llava_tools import model_cache
from llava_tools.embedding import Embedder
from llava_tools.errors import EngineClosedError, ImageError, RequestError
from llava_tools.images import ImageRef
from llava_tools.options import CLIP, EmbeddingOptions


class CountingModel:
    """Embeds lengths; counts loads and closes."""

    loads = 0
    closes = 0
    model_name = "counting"
    dimensions = 1

    def embed_texts(self, texts: Sequence[str]) -> list[list[float]]:
        return [[float(len(text))] for text in texts]

    def embed_images(self, images: Sequence[ImageRef]) -> list[list[float]]:
        return [[float(image.size[0])] for image in images]

    def close(self) -> None:
        CountingModel.closes += 1


@pytest.fixture(autouse=True)
def _counting_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(options: EmbeddingOptions) -> CountingModel:
        CountingModel.loads += 1
        return CountingModel()

    CountingModel.loads = CountingModel.closes = 0
    monkeypatch.setattr(model_cache, "embeddings", model_cache.ModelCache(load))


def test_texts_and_images_become_vectors() -> None:
    with Embedder() as embedder:
        assert embedder.embed_texts(["one", ""]) == [[3.0], [0.0]]
        assert embedder.embed_images([Image.new("RGB", (7, 3))]) == [[7.0]]
        assert (embedder.model_name, embedder.dimensions) == ("counting", 1)
        assert repr(embedder) == "Embedder('tiny')"


def test_empty_lists_load_nothing() -> None:
    embedder = Embedder("13b")
    assert embedder.embed_texts([]) == []
    assert embedder.embed_images([]) == []
    assert CountingModel.loads == 0


def test_equal_options_share_one_model_until_the_last_is_closed() -> None:
    first, second, other = Embedder("7b"), Embedder("7b"), Embedder("7b", dtype="float16")
    for embedder in (first, second, other):
        embedder.embed_texts(["a"])
    assert CountingModel.loads == 2
    first.close()
    first.close()
    assert CountingModel.closes == 0
    second.close()
    assert CountingModel.closes == 1
    with pytest.raises(EngineClosedError, match="Make a new one"):
        second.embed_texts(["a"])
    assert other.embed_texts(["a"]) == [[1.0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devise": "cpu"}, "Embedder takes no option 'devise'. Did you mean 'device'?"),
        ({"quantization": "4bit"}, "Embedder takes no option 'quantization'"),
        ({"dtype": "float8"}, "dtype='float8' is not possible"),
        ({"device": "tpu"}, "device='tpu' is not possible"),
        ({"local_files_only": "yes"}, "local_files_only='yes' is not possible"),
        ({"clip": " "}, "clip=' ' is not possible"),
        ({"revision": 5}, "revision=5 is not possible"),
        ({"clip_revision": b"main"}, "clip_revision=b'main' is not possible"),
        ({"model": ""}, "model='' is not possible"),
    ],
)
def test_invalid_options_raise_at_creation(options: dict[str, str], message: str) -> None:
    with pytest.raises(RequestError) as raised:
        Embedder(**options)
    assert message in str(raised.value)


def test_texts_and_images_must_be_lists() -> None:
    embedder = Embedder()
    with pytest.raises(RequestError, match="'a red star' is a str, not a list of strings"):
        embedder.embed_texts("a red star")
    with pytest.raises(RequestError, match=r"texts\[1\]=7 is a int"):
        embedder.embed_texts(["a", 7])  # type: ignore[list-item]
    with pytest.raises(RequestError, match=r"'a\.png' is a str, not a list of images"):
        embedder.embed_images("a.png")
    with pytest.raises(ImageError, match=r"none\.png"):
        embedder.embed_images(["/none.png"])
    assert CountingModel.loads == 0


async def test_async_methods_do_not_block_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    started, resume = threading.Event(), threading.Event()

    def wait(self: CountingModel, texts: Sequence[str]) -> list[list[float]]:
        started.set()
        assert resume.wait(20)
        return [[0.0]]

    monkeypatch.setattr(CountingModel, "embed_texts", wait)
    embedder = Embedder()
    task = asyncio.create_task(embedder.aembed_texts(["a"]))
    while not started.is_set():
        await asyncio.sleep(0)
    resume.set()
    assert await task == [[0.0]]
    assert await embedder.aembed_images([Image.new("L", (4, 4))]) == [[4.0]]


def test_released_models_have_a_default_clip() -> None:
    assert EmbeddingOptions("7b").default_clip == CLIP
    assert EmbeddingOptions("llava-hf/llava-1.5-13b-hf").default_clip == CLIP
    assert EmbeddingOptions("0.5b").default_clip is None  # its vision tower is a SigLIP
    assert EmbeddingOptions("tiny").default_clip is None
    assert EmbeddingOptions("someone/fine-tuned").default_clip is None
