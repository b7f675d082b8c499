"""Both frameworks' loaders, retrievers, embeddings and tools find, embed and describe the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from llama_index.core.llms import ChatMessage, ImageBlock
from llama_index.core.schema import BaseNode, ImageDocument
from PIL import Image

from langchain_llava import (
    ChatLlava,
    LlavaEmbeddings,
    LlavaPageLoader,
    LlavaPageRetriever,
    LlavaToolkit,
)
from llama_index.embeddings.llava import LlavaEmbedding
from llama_index.llms.llava import Llava as LlamaIndexLlava
from llama_index.readers.llava import LlavaPageReader
from llama_index.retrievers.llava import LlavaPageRetriever as LlamaIndexRetriever
from llama_index.tools.llava import LlavaToolSpec
from llava_tools import Llava
from llava_tools.errors import ImageError
from llava_tools.retrieval import PageIndex
from llava_tools.retrieval.search import SearchMode
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from llava_tools.tools import TOOLS
from tests.retrieval.documents import write_pdf


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    write_pdf(folder / "manual.pdf", ["A coffee machine", "How to descale it", "Coffee beans"])
    write_pdf(folder / "other.pdf", ["Tea and coffee"])
    Image.new("RGB", (50, 30), "red").save(folder / "red.png")
    return folder


def _langchain(document: Document) -> tuple[str, dict[str, Any]]:
    metadata = dict(document.metadata)
    metadata.pop("source")
    return document.page_content, metadata


def _llama_index(node: BaseNode) -> tuple[str, dict[str, Any]]:
    return node.get_content(), dict(node.metadata)


async def test_loader_and_reader_return_the_same_pages(folder: Path) -> None:
    pages = [_langchain(document) for document in LlavaPageLoader(folder).lazy_load()]
    reader = LlavaPageReader(layout="together")
    assert [_llama_index(document) for document in reader.load_data(folder)] == pages
    assert [_langchain(document) for document in await LlavaPageLoader(folder).aload()] == pages
    apart = await LlavaPageReader().aload_data(folder)
    images = [document for document in apart if isinstance(document, ImageDocument)]
    assert [document.metadata for document in images] == [metadata for _, metadata in pages]
    texts = [document.get_content() for document in apart if document not in images]
    assert texts == [text for text, _ in pages if text]


@pytest.mark.parametrize("mode", ["hybrid", "text", "image"])
async def test_retrievers_return_the_same_pages(
    folder: Path, tmp_path: Path, mode: SearchMode
) -> None:
    copies = tmp_path / "in"
    copies.mkdir()
    for path in folder.iterdir():
        (copies / path.name).write_bytes(path.read_bytes())
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([copies])
    (copies / "other.pdf").unlink()
    langchain = LlavaPageRetriever(index=index, k=5, mode=mode)
    llama_index = LlamaIndexRetriever(index, similarity_top_k=5, mode=mode)
    documents = [_langchain(document) for document in langchain.invoke("coffee")]
    assert [_langchain(document) for document in await langchain.ainvoke("coffee")] == documents
    for hits in (llama_index.retrieve("coffee"), await llama_index.aretrieve("coffee")):
        nodes = []
        for hit in hits:
            text, metadata = _llama_index(hit.node)
            nodes.append((text, {**metadata, "score": hit.score}))
        assert nodes == documents
    assert any("note" in metadata for _, metadata in documents)  # of the deleted file


def test_embeddings_are_equal(folder: Path) -> None:
    langchain, llama_index = LlavaEmbeddings(), LlavaEmbedding()
    texts, image = ["a red square", "coffee"], str(folder / "red.png")
    assert langchain.embed_documents(texts) == llama_index.get_text_embedding_batch(texts)
    assert langchain.embed_images([image]) == [llama_index.get_image_embedding(image)]


@pytest.mark.parametrize("name", TOOLS)
@pytest.mark.parametrize("anywhere", [False, True])
def test_tools_are_described_the_same(name: str, anywhere: bool, tmp_path: Path) -> None:
    folders = [tmp_path] if anywhere else []
    (langchain,) = LlavaToolkit(tools=(name,), allowed_directories=folders).get_tools()
    (llama_index,) = LlavaToolSpec(tools=[name], allowed_directories=folders).to_tool_list()
    assert langchain.name == llama_index.metadata.name
    assert langchain.description == llama_index.metadata.description
    assert langchain.args_schema is not None
    assert llama_index.metadata.fn_schema is not None
    schemas: list[Any] = [langchain.args_schema, llama_index.metadata.fn_schema]
    first, second = (schema.model_json_schema() for schema in schemas)
    assert first == second


async def test_tools_return_the_same_text(folder: Path) -> None:
    model = Llava(backend=ScriptedBackend(["red"] * 8))
    toolkit, spec = LlavaToolkit(llm=model, tools=("look",)), LlavaToolSpec(model)
    arguments = {"image": toolkit.add(folder / "red.png"), "question": "Which colour?"}
    (look,) = toolkit.get_tools()
    (tool,) = spec.to_tool_list(["look"])
    texts = [
        look.invoke(arguments),
        await look.ainvoke(arguments),
        tool.call(**arguments).content,
        (await tool.acall(**arguments)).content,
        spec.look(**arguments),
        await spec.alook(**arguments),
    ]
    assert [json.loads(text) for text in texts] == [{"text": "red"}] * 6


async def test_both_models_open_files_in_allowed_directories_only(
    folder: Path, tmp_path: Path
) -> None:
    backend = ScriptedBackend(["red"] * 8)
    path = folder / "red.png"
    question = {"role": "user", "content": [{"type": "image", "url": str(path)}]}
    block = ChatMessage(blocks=[ImageBlock(path=path)])
    chat = ChatLlava(backend=backend, allowed_directories=[folder])
    llm = LlamaIndexLlava(backend=backend, allowed_directories=[folder])
    assert chat.invoke([question]).text == (await chat.ainvoke([question])).text == "red"
    assert str(llm.chat([block]).message.content) == "red"
    assert str((await llm.achat([block])).message.content) == "red"
    assert {request.messages[0].images[0].size for request in backend.requests} == {(50, 30)}
    other: list[dict[str, Any]] = [{}, {"allowed_directories": [tmp_path]}]
    for options in other:
        with pytest.raises(ImageError, match="allowed_directories="):
            ChatLlava(backend=backend, **options).invoke([question])
        with pytest.raises(ImageError, match="allowed_directories="):
            LlamaIndexLlava(backend=backend, **options).chat([block])
