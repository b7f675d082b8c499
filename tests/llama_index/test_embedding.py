"""`LlavaEmbedding`: LlamaIndex's methods for vectors, on a model whose vectors are lengths."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.indices import MultiModalVectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    MediaResource,
    Node,
    TextNode,
)
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


def _nodes(path: str) -> list[BaseNode]:
    """Return nodes with an image of width 7 in every place, and texts of 4 letters between them."""
    data = Path(path).read_bytes()
    encoded = base64.b64encode(data)
    return [
        ImageNode(image_path=path, text="its path is text too"),
        TextNode(text="text"),
        ImageNode(image=encoded.decode()),
        ImageNode(metadata={"file_path": path}, text="text", excluded_embed_metadata_keys=[PATH]),
        ImageDocument(image=encoded, metadata={"file_path": path}),
        ImageDocument(image_path=path),
        Document(text="text"),
        Node(image_resource=MediaResource(data=data), text_resource=MediaResource(text="words")),
        Node(text_resource=MediaResource(text="text")),
    ]


PATH = "file_path"
WIDTHS = [7.0, 4.0, 7.0, 4.0, 7.0, 7.0, 4.0, 7.0, 4.0]


async def test_a_pipeline_embeds_images_by_the_image(lengths: LengthEmbedder, path: str) -> None:
    pipeline = IngestionPipeline(transformations=[LlavaEmbedding(embed_batch_size=3)])
    for nodes in (
        pipeline.run(nodes=_nodes(path), in_place=False),
        await pipeline.arun(nodes=_nodes(path), in_place=False),
        LlavaEmbedding()(_nodes(path)),
        await LlavaEmbedding().acall(_nodes(path), show_progress=False),
    ):
        assert [node.get_embedding()[0] for node in nodes] == WIDTHS
    assert max(lengths.batches[:4]) == 3


def test_photographs_after_a_splitter_are_embedded_by_the_image(
    lengths: LengthEmbedder, path: str
) -> None:
    pipeline = IngestionPipeline(transformations=[SentenceSplitter(), LlavaEmbedding()])
    documents = [ImageDocument(image_path=path, metadata={PATH: path}), Document(text="text")]
    assert [node.get_embedding()[0] for node in pipeline.run(documents=documents)] == [7.0, 4.0]


def test_an_image_url_opens_no_local_file(lengths: LengthEmbedder, path: str) -> None:
    for url in (path, f"file://{path}", "http://127.0.0.1/a.png"):
        with pytest.raises(ImageError):
            LlavaEmbedding()([ImageNode(image_url=url)])


def test_a_node_without_image_and_text_is_one_error(lengths: LengthEmbedder) -> None:
    with pytest.raises(ImageError, match="neither an image nor a text"):
        LlavaEmbedding()([Document(text="text"), ImageNode(image_url="")])
