"""`LlavaEmbeddings`: LangChain's standard tests, text-to-image search, errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from PIL import Image
from pydantic import BaseModel

from langchain_llava import LlavaEmbeddings
from langchain_llava import compat as langchain
from llava_tools import model_cache
from llava_tools.errors import ImageError, ModelNotFoundError, RequestError
from recipes.tiny_llava.stranger import draw_scene
from recipes.tiny_llava.things import Scene, Shape


class TestUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return LlavaEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, str]:
        return {"device": "cpu"}


class TestIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return LlavaEmbeddings


SCENES = {
    "one red circle": Scene("white", shapes=(Shape("circle", "red", 0.5, 0.5, 0.3),)),
    "one green cross": Scene("yellow", shapes=(Shape("cross", "green", 0.5, 0.5, 0.3),)),
    "one blue star": Scene("white", shapes=(Shape("star", "blue", 0.4, 0.5, 0.3),)),
    "two pink squares": Scene(
        "black",
        shapes=(Shape("square", "pink", 0.25, 0.5, 0.15), Shape("square", "pink", 0.75, 0.5, 0.15)),
    ),
    "circle and triangle": Scene(
        "white",
        shapes=(
            Shape("circle", "orange", 0.25, 0.3, 0.15),
            Shape("triangle", "purple", 0.7, 0.7, 0.2),
        ),
    ),
}


@pytest.fixture(scope="module")
def drawn() -> dict[str, Image.Image]:
    rng = np.random.default_rng(8)
    return {name: draw_scene(scene, rng).image for name, scene in SCENES.items()}


@pytest.fixture(scope="module")
def embeddings() -> LlavaEmbeddings:
    return LlavaEmbeddings()


def store_of(embeddings: LlavaEmbeddings, drawn: dict[str, Image.Image]) -> InMemoryVectorStore:
    """Return a store of image vectors; its `add_documents` would embed texts."""
    store = InMemoryVectorStore(embeddings)
    vectors = embeddings.embed_images(list(drawn.values()))
    for name, vector in zip(drawn, vectors, strict=True):
        store.store[name] = {"id": name, "vector": vector, "text": name, "metadata": {}}
    return store


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("a red circle on a white background", "one red circle"),
        ("images with a green cross", "one green cross"),
        ("Which image has a blue star?", "one blue star"),
        ("two pink squares", "two pink squares"),
        ("an orange circle and a purple triangle", "circle and triangle"),
    ],
)
def test_text_finds_its_image(
    embeddings: LlavaEmbeddings, drawn: dict[str, Image.Image], query: str, name: str
) -> None:
    documents = store_of(embeddings, drawn).similarity_search(query, k=1)
    assert [document.page_content for document in documents] == [name]


def test_image_finds_a_similar_image(
    embeddings: LlavaEmbeddings, drawn: dict[str, Image.Image]
) -> None:
    store = store_of(embeddings, drawn)
    similar = draw_scene(SCENES["one blue star"], np.random.default_rng(9)).image
    (vector,) = embeddings.embed_images([similar])
    (document,) = store.similarity_search_by_vector(vector, k=1)
    assert document.page_content == "one blue star"


async def test_async_methods_return_the_same_vectors(
    embeddings: LlavaEmbeddings, drawn: dict[str, Image.Image]
) -> None:
    images = list(drawn.values())
    assert await embeddings.aembed_images(images) == embeddings.embed_images(images)
    assert await embeddings.aembed_query("a star") == embeddings.embed_query("a star")
    assert sum(x * x for x in embeddings.embed_query("a star")) == pytest.approx(1)


class ImageStore(InMemoryVectorStore):
    """Embeds images as Chroma and LanceDB do: through `embed_image`, by keyword."""

    def add_images(self, uris: list[str]) -> None:
        for uri, vector in zip(uris, self.embedding.embed_image(uris=uris), strict=True):  # type: ignore[attr-defined]
            self.store[uri] = {"id": uri, "vector": vector, "text": uri, "metadata": {}}


async def test_stores_embed_images_through_embed_image(
    embeddings: LlavaEmbeddings, drawn: dict[str, Image.Image], tmp_path: Path
) -> None:
    paths = []
    for name, image in drawn.items():
        image.save(path := tmp_path / f"{name}.png")
        paths.append(str(path))
    store = ImageStore(embeddings)
    store.add_images(paths)
    (document,) = store.similarity_search("a blue star", k=1)
    assert Path(document.page_content).stem == "one blue star"
    vectors = embeddings.embed_image(paths)
    assert vectors == embeddings.embed_images(paths) == await embeddings.aembed_image(uris=paths)
    assert (len(vectors), len(vectors[0])) == (len(paths), len(embeddings.embed_query("a star")))


def test_objects_of_a_process_share_one_model(embeddings: LlavaEmbeddings) -> None:
    before = embeddings.embed_query("a star")
    loaded = model_cache.embeddings.loaded()
    assert LlavaEmbeddings().embed_query("a star") == before
    assert model_cache.embeddings.loaded() == loaded


def test_closed_embeddings_load_the_model_again(embeddings: LlavaEmbeddings) -> None:
    other = LlavaEmbeddings(local_files_only=True)
    before = other.embed_query("a star")
    other.close()
    other.close()
    assert other.embed_query("a star") == before
    other.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modle": "7b"}, "LlavaEmbeddings takes no option 'modle'. Did you mean 'model'?"),
        ({"temperature": 1}, "LlavaEmbeddings takes no option 'temperature'."),
        ({"dtype": "float8"}, "dtype='float8' is not possible."),
        ({"model": "7b", "model_name": "13b"}, "model appears twice"),
    ],
)
def test_wrong_options_raise_at_construction(options: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message) as raised:
        LlavaEmbeddings(**options)
    assert isinstance(raised.value, langchain.ModelInvalidRequestError)


def test_errors_are_also_langchains(embeddings: LlavaEmbeddings, tmp_path: Path) -> None:
    with pytest.raises(ImageError) as raised:
        embeddings.embed_images([tmp_path / "none.png"])
    assert isinstance(raised.value, langchain.ModelInvalidRequestError)
    with pytest.raises(ModelNotFoundError) as missing:
        LlavaEmbeddings(model_name="7b", local_files_only=True).embed_query("a star")
    assert isinstance(missing.value, langchain.ModelNotFoundError)


def test_embeddings_can_be_the_field_of_a_pydantic_model(embeddings: LlavaEmbeddings) -> None:
    class Holder(BaseModel):
        embeddings: LlavaEmbeddings

    assert Holder(embeddings=embeddings).embeddings is embeddings
    assert "model='tiny'" in repr(embeddings)
