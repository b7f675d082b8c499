"""LlamaIndex's vector stores by name: pairs of empty stores, for texts and for images."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import QdrantClient

#: A store for texts and one for images.
Stores = tuple[Any, Any]


def simple(folder: Path) -> Stores:
    return SimpleVectorStore(), SimpleVectorStore()


def chroma(folder: Path) -> Stores:
    client = pytest.importorskip("chromadb").EphemeralClient()
    module = pytest.importorskip("llama_index.vector_stores.chroma")
    collections = [client.create_collection(str(uuid.uuid4())) for _ in range(2)]
    texts, images = (module.ChromaVectorStore(chroma_collection=c) for c in collections)
    return texts, images


def qdrant(folder: Path) -> Stores:
    client = QdrantClient(":memory:")
    return QdrantVectorStore("texts", client=client), QdrantVectorStore("images", client=client)


def lancedb(folder: Path) -> Stores:
    pytest.importorskip("pandas")  # imported by the next one, which does not require it
    module = pytest.importorskip("llama_index.vector_stores.lancedb")
    names = ("texts", "images")
    texts, images = (
        module.LanceDBVectorStore(uri=str(folder / "lance"), table_name=n) for n in names
    )
    return texts, images


STORES: dict[str, Callable[[Path], Stores]] = {
    "simple": simple,
    "chroma": chroma,
    "qdrant": qdrant,
    "lancedb": lancedb,
}
