"""Images in vector stores: by summaries that the model writes, and by vectors of the images."""

from __future__ import annotations

import base64
import operator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from langchain_classic.retrievers.multi_vector import MultiVectorRetriever
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.stores import InMemoryByteStore, InMemoryStore
from langchain_core.vectorstores import InMemoryVectorStore
from qdrant_client import models

from langchain_llava import ChatLlava, LlavaEmbeddings, image_block
from tests.langchain.notebooks.stores import STORES, chroma, faiss, lancedb, qdrant

SHAPES = [("a yellow star", "night"), ("a red cross", "paper"), ("a diamond", "sea")]


def _question(image: dict[str, Any], text: str) -> list[HumanMessage]:
    return [HumanMessage([image, {"type": "text", "text": text}])]


def _inline(path: Path) -> dict[str, Any]:
    data = base64.b64encode(path.read_bytes()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


@pytest.mark.parametrize("name", STORES)
def test_multi_vector_retriever_finds_images_by_their_summaries(
    name: str,
    model: ChatLlava,
    embeddings: LlavaEmbeddings,
    image_paths: list[Path],
    tmp_path: Path,
) -> None:
    summarize = (
        RunnableLambda[Path, Any](lambda path: _question(_inline(path), "Describe the picture."))
        | model
        | StrOutputParser()
    )
    summaries = summarize.batch(image_paths)
    assert summaries[1] == "a yellow star and a white circle on a black background"

    retriever: Any = MultiVectorRetriever(
        vectorstore=STORES[name](embeddings, tmp_path),
        docstore=InMemoryStore(),
        id_key="image",
        search_kwargs={"k": 1},
    )
    ids = [path.stem for path in image_paths]
    retriever.vectorstore.add_documents(
        [Document(text, metadata={"image": i}) for i, text in zip(ids, summaries, strict=True)]
    )
    blocks = [image_block(path) for path in image_paths]
    retriever.docstore.mset(list(zip(ids, blocks, strict=True)))
    for query, stem in SHAPES:
        assert retriever.invoke(query) == [blocks[ids.index(stem)]]

    answer: Any = (
        {"images": retriever, "question": RunnablePassthrough()}
        | RunnableLambda[Any, Any](lambda found: _question(found["images"][0], found["question"]))
        | model
        | StrOutputParser()
    )
    assert answer.invoke("What colour is the star?") == "yellow"


def test_multi_vector_retriever_keeps_documents_with_handles_as_bytes(
    embeddings: LlavaEmbeddings, night: Path, model: ChatLlava
) -> None:
    options: Any = {"byte_store": InMemoryByteStore(), "id_key": "id"}
    store = InMemoryVectorStore(embeddings)
    retriever = MultiVectorRetriever(vectorstore=store, **options)
    block = image_block(night)
    retriever.vectorstore.add_documents([Document("a yellow star", metadata={"id": "1"})])
    retriever.docstore.mset([("1", Document("night", metadata={"handle": block["file_id"]}))])
    (document,) = retriever.invoke("a star")
    image = {"type": "image", "file_id": document.metadata["handle"]}
    assert model.invoke(_question(image, "What colour is the star?")).text == "yellow"


@pytest.mark.parametrize("make", [chroma, lancedb])
def test_add_images_embeds_the_files(
    make: Any,
    model: ChatLlava,
    embeddings: LlavaEmbeddings,
    image_paths: list[Path],
    tmp_path: Path,
) -> None:
    store = make(embeddings, tmp_path)
    uris = [str(path) for path in image_paths]
    names = [{"name": path.stem} for path in image_paths]
    store.add_images(uris=uris, metadatas=names)
    for query, stem in SHAPES:
        (found,) = store.similarity_search(query, k=1)
        assert found.metadata["name"] == stem
        # These stores keep the file in base64 as the document's text.
        assert (
            base64.b64decode(found.page_content)
            == (image_paths[0].parent / f"{stem}.png").read_bytes()
        )
    (found,) = store.as_retriever(search_kwargs={"k": 1}).invoke("a star")
    image = {"type": "image", "base64": found.page_content, "mime_type": "image/png"}
    assert model.invoke(_question(image, "What colour is the star?")).text == "yellow"


def test_chroma_searches_by_image(
    embeddings: LlavaEmbeddings, image_paths: list[Path], night: Path, tmp_path: Path
) -> None:
    store: Any = chroma(embeddings, tmp_path)
    store.add_images(uris=[str(path) for path in image_paths], ids=[p.stem for p in image_paths])
    (found,) = store.similarity_search_by_image(str(night), k=1)
    assert found.id == "night"
    store.add_texts(["a yellow star"], ids=["text"])
    texts_and_images = store.similarity_search("a yellow star", k=2)
    assert [document.id for document in texts_and_images] == ["text", "night"]


def test_faiss_takes_vectors_of_images(
    embeddings: LlavaEmbeddings, image_paths: list[Path], tmp_path: Path
) -> None:
    store: Any = faiss(embeddings, tmp_path)
    vectors = embeddings.embed_images(image_paths)
    handles = [image_block(path)["file_id"] for path in image_paths]
    names = [{"name": path.stem} for path in image_paths]
    store.add_embeddings(zip(handles, vectors, strict=True), names)
    store.save_local(str(tmp_path / "index"))
    loaded = store.load_local(
        str(tmp_path / "index"), embeddings, allow_dangerous_deserialization=True
    )
    for query, stem in SHAPES:
        (found,) = loaded.similarity_search(query, k=1)
        assert (found.metadata["name"], found.page_content) == (
            stem, handles[[p.stem for p in image_paths].index(stem)],
        )  # fmt: skip


def test_qdrant_takes_vectors_of_images(
    embeddings: LlavaEmbeddings, image_paths: list[Path], tmp_path: Path
) -> None:
    store: Any = qdrant(embeddings, tmp_path)
    points = [
        models.PointStruct(
            id=number,
            vector=vector,
            payload={"page_content": image_block(path)["file_id"], "metadata": {"name": path.stem}},
        )
        for number, (path, vector) in enumerate(
            zip(image_paths, embeddings.embed_images(image_paths), strict=True)
        )
    ]
    store.client.upsert("store", points)
    for query, stem in SHAPES:
        (found,) = store.similarity_search(query, k=1)
        assert found.metadata["name"] == stem
    (found,) = store.max_marginal_relevance_search("a star", k=1)
    assert found.metadata["name"] == "night"


@pytest.mark.parametrize("name", STORES)
async def test_texts_are_stored_and_found_async_and_scores_fall(
    name: str, embeddings: LlavaEmbeddings, tmp_path: Path
) -> None:
    store = STORES[name](embeddings, tmp_path)
    texts = ["a yellow star", "a red cross", "an orange diamond"]
    await store.aadd_texts(texts, [{"n": n} for n in range(3)])
    (found,) = await store.asimilarity_search("a star", k=1)
    assert found.page_content == "a yellow star"
    scored = await store.asimilarity_search_with_score("a yellow star", k=3)
    assert scored[0][0].page_content == "a yellow star"
    assert len(scored) == 3
    scores = [score for _, score in scored]
    # Chroma and LanceDB return distances.
    order = operator.le if name in ("chroma", "lancedb") else operator.ge
    assert all(order(a, b) for a, b in pairwise(scores))
