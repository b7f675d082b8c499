"""`Embedder` above the backend interface: what it refuses, that it shares, that it lets the loop go on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from PIL import Image

from llava_tools import registry
from llava_tools.embedding import Embedder
from llava_tools.errors import EngineClosedError, ImageError, RequestError
from llava_tools.images import ImageRef
from llava_tools.options import CLIP, EmbeddingOptions


class Counting:
    """Vectors that tell lengths; counts how often it was loaded and closed."""

    loads = 0
    closes = 0
    model_name = "counting"
    dimensions = 1

    def embed_texts(self, texts: Sequence[str]) -> list[list[float]]:
        return [[float(len(text))] for text in texts]

    def embed_images(self, images: Sequence[ImageRef]) -> list[list[float]]:
        return [[float(image.size[0])] for image in images]

    def close(self) -> None:
        Counting.closes += 1


@pytest.fixture(autouse=True)
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(options: EmbeddingOptions) -> Counting:
        Counting.loads += 1
        return Counting()

    Counting.loads = Counting.closes = 0
    monkeypatch.setattr(registry, "embeddings", registry.ModelCache(load))


def test_texts_and_images_become_vectors() -> None:
    with Embedder() as embedder:
        assert embedder.embed_texts(["one", ""]) == [[3.0], [0.0]]
        assert embedder.embed_images([Image.new("RGB", (7, 3))]) == [[7.0]]
        assert (embedder.model_name, embedder.dimensions) == ("counting", 1)
        assert repr(embedder) == "Embedder('tiny')"


def test_nothing_is_loaded_for_nothing() -> None:
    embedder = Embedder("13b")
    assert embedder.embed_texts([]) == []
    assert embedder.embed_images([]) == []
    assert Counting.loads == 0


def test_equal_options_share_one_until_the_last_is_closed() -> None:
    one, two, other = Embedder("7b"), Embedder("7b"), Embedder("7b", dtype="float16")
    for embedder in (one, two, other):
        embedder.embed_texts(["a"])
    assert Counting.loads == 2
    one.close()
    one.close()
    assert Counting.closes == 0
    two.close()
    assert Counting.closes == 1
    with pytest.raises(EngineClosedError, match="Make a new one"):
        two.embed_texts(["a"])
    assert other.embed_texts(["a"]) == [[1.0]]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"devise": "cpu"}, "Embedder takes no option 'devise'. Did you mean 'device'?"),
        ({"quantization": "4bit"}, "Embedder takes no option 'quantization'"),
        ({"dtype": "float8"}, "dtype='float8' is not possible"),
        ({"device": "tpu"}, "device='tpu' is not possible"),
        ({"local_files_only": "yes"}, "offline='yes' is not possible"),
        ({"clip": " "}, "clip=' ' is not possible"),
        ({"model": ""}, "model='' is not possible"),
    ],
)
def test_bad_options_are_refused_at_once(options: dict[str, str], told: str) -> None:
    with pytest.raises(RequestError) as raised:
        Embedder(**options)
    assert told in str(raised.value)


def test_what_is_not_a_list_is_refused() -> None:
    embedder = Embedder()
    with pytest.raises(RequestError, match="'a red star' is a str, not a list of strings"):
        embedder.embed_texts("a red star")
    with pytest.raises(RequestError, match=r"texts\[1\]=7 is a int"):
        embedder.embed_texts(["a", 7])  # type: ignore[list-item]
    with pytest.raises(RequestError, match=r"'a\.png' is a str, not a list of pictures"):
        embedder.embed_images("a.png")
    with pytest.raises(ImageError, match=r"none\.png"):
        embedder.embed_images(["/none.png"])
    assert Counting.loads == 0


async def test_the_loop_goes_on_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(self: Counting, texts: Sequence[str]) -> list[list[float]]:
        begun.set()
        assert go_on.wait(20)
        return [[0.0]]

    monkeypatch.setattr(Counting, "embed_texts", wait)
    embedder = Embedder()
    task = asyncio.create_task(embedder.aembed_texts(["a"]))
    while not begun.is_set():
        await asyncio.sleep(0)
    go_on.set()
    assert await task == [[0.0]]
    assert await embedder.aembed_images([Image.new("L", (4, 4))]) == [[4.0]]


def test_the_released_models_have_a_usual_clip() -> None:
    assert EmbeddingOptions("7b").default_clip == CLIP
    assert EmbeddingOptions("llava-hf/llava-1.5-13b-hf").default_clip == CLIP
    assert EmbeddingOptions("tiny").default_clip is None
    assert EmbeddingOptions("somebody/fine-tuned").default_clip is None
