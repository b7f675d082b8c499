"""`LlavaEmbedding`: LlamaIndex's methods for vectors, on a model whose vectors are lengths."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.indices import MultiModalVectorStoreIndex
from llama_index.core.schema import ImageNode
from PIL import Image

from llama_index.embeddings.llava import LlavaEmbedding
from llava_tools import model_cache
from llava_tools.errors import ImageError, RequestError
from llava_tools.images import ImageRef
from llava_tools.options import EmbeddingOptions


class LengthEmbedder:
    """Embeds a text or an image as its length or width, and records the sizes of its batches."""

    model_name = "lengths"
    dimensions = 2

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.closed = False

    def embed_texts(self, texts: Sequence[str]) -> list[list[float]]:
        self.batches.append(len(texts))
        return [[float(len(text)), 1.0] for text in texts]

    def embed_images(self, images: Sequence[ImageRef]) -> list[list[float]]:
        self.batches.append(len(images))
        return [[float(image.size[0]), 1.0] for image in images]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> LengthEmbedder:
    model = LengthEmbedder()

    def load(options: EmbeddingOptions) -> LengthEmbedder:
        return model

    monkeypatch.setattr(model_cache, "embeddings", model_cache.ModelCache(load))
    return model


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = tmp_path / "a.png"
    Image.new("RGB", (7, 3)).save(path)
    return str(path)


async def test_texts(lengths: LengthEmbedder) -> None:
    embedding = LlavaEmbedding(embed_batch_size=2)
    assert embedding.get_query_embedding("one") == [3.0, 1.0]
    assert await embedding.aget_query_embedding("one") == [3.0, 1.0]
    assert embedding.get_text_embedding("four") == [4.0, 1.0]
    assert await embedding.aget_text_embedding("four") == [4.0, 1.0]
    expected = [[3.0, 1.0]] * 3
    lengths.batches.clear()
    assert embedding.get_text_embedding_batch(["one"] * 3) == expected
    assert await embedding.aget_text_embedding_batch(["one"] * 3) == expected
    assert lengths.batches[:2] == [2, 1]
    assert sorted(lengths.batches[2:]) == [1, 2]  # concurrently, in any order


async def test_images(lengths: LengthEmbedder, path: str) -> None:
    embedding = LlavaEmbedding(embed_batch_size=2)
    file = io.BytesIO(Path(path).read_bytes())
    assert embedding.get_image_embedding(path) == [7.0, 1.0]
    assert await embedding.aget_image_embedding(file) == [7.0, 1.0]
    lengths.batches.clear()
    assert embedding.get_image_embedding_batch([path] * 3) == [[7.0, 1.0]] * 3
    assert await embedding.aget_image_embedding_batch([path] * 3) == [[7.0, 1.0]] * 3
    assert lengths.batches[:2] == [2, 1]
    assert sorted(lengths.batches[2:]) == [1, 2]  # concurrently, in any order
    with pytest.raises(ImageError):
        embedding.get_image_embedding("http://169.254.169.254/a.png")


def test_image_index(lengths: LengthEmbedder, path: str) -> None:
    embedding = LlavaEmbedding()
    node = ImageNode(image_path=path, metadata={"file_name": "a.png"})
    index = MultiModalVectorStoreIndex([node], embed_model=embedding, image_embed_model=embedding)
    (result,) = index.as_retriever(image_similarity_top_k=1).retrieve("words")
    assert result.node.metadata == {"file_name": "a.png"}


def test_options() -> None:
    assert LlavaEmbedding().model_name == "tiny"
    assert LlavaEmbedding(model="7b").model_name == "7b"
    embedding = LlavaEmbedding(model_name="7b", device="cpu", embed_batch_size=3)
    assert LlavaEmbedding.from_dict(embedding.to_dict()).to_dict() == embedding.to_dict()
    bad: list[dict[str, Any]] = [{"devise": "cpu"}, {"device": "tpu"}, {"embed_batch_size": 0}]
    for options in bad:
        with pytest.raises(RequestError) as caught:
            LlavaEmbedding(**options)
        assert "\n" not in str(caught.value)


def test_a_closed_embedding_model_loads_again(lengths: LengthEmbedder) -> None:
    embedding = LlavaEmbedding()
    embedding.get_query_embedding("one")
    embedding.close()
    assert lengths.closed
    assert embedding.get_query_embedding("one") == [3.0, 1.0]
