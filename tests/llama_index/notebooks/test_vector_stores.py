"""The multi-modal index on four vector stores: images by text and by image, and answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from llama_index.core import PromptTemplate, SimpleDirectoryReader, StorageContext, VectorStoreIndex
from llama_index.core.indices import MultiModalVectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document, ImageDocument, ImageNode, QueryBundle

from llama_index.embeddings.llava import LlavaEmbedding
from llama_index.llms.llava import Llava
from llama_index.readers.llava import LlavaPageReader
from tests.llama_index.notebooks.conftest import IMAGES
from tests.llama_index.notebooks.stores import STORES

SHAPES = [("a yellow star", "night.png"), ("a red cross", "paper.png"), ("a diamond", "sea.png")]
TEXTS = ["a green triangle", "a purple square"]


def _load() -> list[Document]:
    reader = SimpleDirectoryReader(
        str(IMAGES), required_exts=[".png"], file_extractor={".png": LlavaPageReader()}
    )
    documents = reader.load_data()
    assert all(isinstance(document, ImageDocument) for document in documents)
    return documents


@pytest.fixture(params=STORES)
def index(
    request: pytest.FixtureRequest, embedding: LlavaEmbedding, tmp_path: Path
) -> MultiModalVectorStoreIndex:
    texts, images = STORES[request.param](tmp_path)
    return MultiModalVectorStoreIndex.from_documents(
        [*_load(), *(Document(text=text) for text in TEXTS)],
        storage_context=StorageContext.from_defaults(vector_store=texts, image_store=images),
        embed_model=embedding,
        image_embed_model=embedding,
    )


def _names(found: Any) -> list[str]:
    return [item.node.metadata["file_name"] for item in found]


def test_texts_and_images_are_found(index: MultiModalVectorStoreIndex, night: Path) -> None:
    retriever = index.as_retriever(similarity_top_k=1, image_similarity_top_k=1)
    for query, name in SHAPES:
        text, image = retriever.retrieve(query)
        assert text.text in TEXTS
        assert isinstance(image.node, ImageNode)
        assert _names([image]) == [name]
        assert _names(retriever.text_to_image_retrieve(query)) == [name]
    (text,) = retriever.text_retrieve("the purple square")
    assert text.text == TEXTS[1]
    found = retriever.image_to_image_retrieve(QueryBundle("", image_path=str(night)))
    assert _names(found) == ["night.png"]


async def test_images_are_found_async(index: MultiModalVectorStoreIndex) -> None:
    if "Qdrant" in type(index.image_vector_store).__name__:
        pytest.skip("Qdrant in memory has no async client for the same data")
    retriever = index.as_retriever(similarity_top_k=1, image_similarity_top_k=2)
    found = await retriever.atext_to_image_retrieve("a yellow star")
    assert _names(found)[0] == "night.png"
    assert found[0].get_score() > found[1].get_score()


def test_the_query_engine_answers_from_the_image(
    index: MultiModalVectorStoreIndex, llm: Llava
) -> None:
    engine = index.as_query_engine(
        llm=llm,
        similarity_top_k=1,
        image_similarity_top_k=1,
        text_qa_template=PromptTemplate("{query_str}"),  # the texts are no help
    )
    answer: Any = engine.query("What colour is the star?")
    assert str(answer) == "yellow"
    assert _names(answer.metadata["image_nodes"]) == ["night.png"]


@pytest.mark.parametrize("name", STORES)
def test_images_in_a_pipeline_are_embedded_as_images(
    name: str, embedding: LlavaEmbedding, tmp_path: Path
) -> None:
    store, _ = STORES[name](tmp_path)
    steps = [SentenceSplitter(), embedding]  # splitters make nodes of documents
    if name == "simple":  # keeps no nodes, so that an index has to
        nodes = IngestionPipeline(transformations=steps).run(documents=_load())
        index = VectorStoreIndex(nodes, embed_model=embedding)
    else:
        IngestionPipeline(transformations=steps, vector_store=store).run(documents=_load())
        index = VectorStoreIndex.from_vector_store(store, embed_model=embedding)
    retriever = index.as_retriever(similarity_top_k=1)
    for query, file_name in SHAPES:
        assert _names(retriever.retrieve(query)) == [file_name]


def test_nodes_name_files(embedding: LlavaEmbedding, llm: Llava) -> None:
    nodes = [
        ImageNode(image_path=str(path), metadata={"file_name": path.name})
        for path in sorted(IMAGES.glob("*.png"))
    ]
    index = MultiModalVectorStoreIndex(nodes, embed_model=embedding, image_embed_model=embedding)
    engine = index.as_query_engine(
        llm=llm,
        image_similarity_top_k=1,
        text_qa_template=PromptTemplate("{query_str}"),
    )
    assert str(engine.query("What colour is the cross?")) == "red"
