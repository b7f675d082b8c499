"""LangChain's vector stores by name, each empty and in memory or in a folder of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from langchain_qdrant import QdrantVectorStore
from qdrant_client import QdrantClient, models

#: Length of the embedded model's vectors.
DIMENSIONS = 256


def in_memory(embeddings: Embeddings, folder: Path) -> VectorStore:
    return InMemoryVectorStore(embeddings)


def chroma(embeddings: Embeddings, folder: Path) -> VectorStore:
    module = pytest.importorskip("langchain_chroma")
    store: VectorStore = module.Chroma(f"store-{uuid.uuid4()}", embeddings)
    return store


def faiss(embeddings: Embeddings, folder: Path) -> VectorStore:
    index = pytest.importorskip("faiss").IndexFlatIP(DIMENSIONS)
    docstore = pytest.importorskip("langchain_community.docstore.in_memory")
    stores = pytest.importorskip("langchain_community.vectorstores")
    store: VectorStore = stores.FAISS(embeddings, index, docstore.InMemoryDocstore(), {})
    return store


def qdrant(embeddings: Embeddings, folder: Path) -> VectorStore:
    client = QdrantClient(":memory:")
    params = models.VectorParams(size=DIMENSIONS, distance=models.Distance.COSINE)
    client.create_collection("store", vectors_config=params)
    return QdrantVectorStore(client, "store", embeddings)


def lancedb(embeddings: Embeddings, folder: Path) -> VectorStore:
    stores = pytest.importorskip("langchain_community.vectorstores")
    store: VectorStore = stores.LanceDB(uri=str(folder / "lance"), embedding=embeddings)
    return store


STORES: dict[str, Callable[[Embeddings, Path], VectorStore]] = {
    "in_memory": in_memory,
    "chroma": chroma,
    "faiss": faiss,
    "qdrant": qdrant,
    "lancedb": lancedb,
}
