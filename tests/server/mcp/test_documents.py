"""find and ask_documents over an index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from mcp import Client

from llava_tools import Llava
from llava_tools.core.requests import Request
from llava_tools.retrieval import PageIndex
from llava_tools.server.mcp import ContentOptions, McpServer
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from tests.retrieval.documents import write_pdf
from tests.server.mcp.scene import (
    data_of,
    error_of,
    images_of,
    links_of,
    make_backend,
    read,
    tools_of,
)

QUESTION = "How often to descale coffee machines?"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PageIndex:
    folder = tmp_path_factory.mktemp("documents")
    pages = ["Coffee is good", "Descale coffee machines every 90 days", "Drink coffee & <tea>"]
    # With few pages, it is not known which words are common.
    write_pdf(folder / "coffee.pdf", [*pages, *(f"Tea number {n} is green" for n in range(20))])
    index = PageIndex(folder / "index", ScriptedEmbedder())
    index.update([folder / "coffee.pdf"])
    return index


def _server(index: PageIndex) -> McpServer:
    """Return a server whose model finds the answer on page 2."""
    pages = {hit.handle: hit.page for hit in index.search("coffee", 9)}

    def script(request: Request) -> str:
        (image,) = request.messages[-1].images
        return "90 days" if pages.get(image.handle) == 2 else "nothing"

    return McpServer(
        Llava(backend=make_backend(script)), index=index, content=ContentOptions(links=True)
    )


async def test_the_tools_of_an_index_are_listed(index: PageIndex, mode: Any) -> None:
    async with Client(_server(index), mode=mode) as client:
        listed = await tools_of(client)
    assert {"find", "ask_documents"} <= set(listed)
    for name in ("find", "ask_documents"):
        Draft202012Validator.check_schema(listed[name].output_schema)


async def test_an_answer_has_citations_with_document_page_snippet_box_and_image(
    index: PageIndex, mode: Any
) -> None:
    async with Client(_server(index), mode=mode) as client:
        arguments = {"question": QUESTION, "k": 1}
        result = await client.call_tool("ask_documents", arguments)
        tool = (await tools_of(client))["ask_documents"]
        data = data_of(result)
        (cited,) = data["citations"]
        looked = await client.call_tool("look", {"image": cited["image"], "question": "What?"})
    Draft202012Validator(tool.output_schema).validate(data)
    assert data["answer"] == cited["text"] == "90 days"
    assert (cited["document"], cited["page"]) == ("coffee.pdf", 2)
    assert "every 90 days" in cited["snippet"]
    width, height = cited["width"], cited["height"]
    x1, y1, x2, y2 = cited["box"]
    assert 0 <= x1 < x2 <= width
    assert 0 <= y1 < y2 <= height
    normalized = [x1 / width, y1 / height, x2 / width, y2 / height]
    assert cited["normalized_box"] == pytest.approx(normalized)
    (shown,) = images_of(result)
    assert shown.width / shown.height == pytest.approx(width / height, abs=0.01)
    assert links_of(result) == [f"image://{cited['image']}"]
    assert data_of(looked)["text"] == "90 days"


async def test_an_answer_in_sentences_has_a_source_for_each(index: PageIndex) -> None:
    async with Client(_server(index)) as client:
        arguments = {"question": QUESTION, "k": 1, "sentences": True}
        data = data_of(await client.call_tool("ask_documents", arguments))
    assert [claim["page"] for claim in data["claims"]] == [2]


async def test_a_question_that_the_documents_do_not_answer_has_no_citation(
    index: PageIndex,
) -> None:
    async with Client(_server(index)) as client:
        arguments = {"question": "Who won the football championship in Brazil?"}
        result = await client.call_tool("ask_documents", arguments)
    assert data_of(result)["citations"] == []
    assert data_of(result)["answer"] == "Not in these documents."
    assert images_of(result) == links_of(result) == []


async def test_found_pages_can_be_looked_at_and_show_no_path(
    index: PageIndex, tmp_path: Path
) -> None:
    async with Client(_server(index)) as client:
        result = await client.call_tool("find", {"query": "descale", "k": 1})
        (page,) = data_of(result)["pages"]
        contents = await read(client, page["image"])
    assert (page["document"], page["page"]) == ("coffee.pdf", 2)
    assert "path" not in page
    assert str(tmp_path.parent) not in result.model_dump_json()
    assert len(images_of(result)) == 1
    assert contents.mime_type.startswith("image/")
    assert links_of(result) == [f"image://{page['image']}"]


async def test_a_file_that_is_gone_is_named_without_its_path(tmp_path: Path) -> None:
    for name in ("gone", "coffee"):
        write_pdf(tmp_path / f"{name}.pdf", [f"Descale coffee machines every 90 days, {name}"])
    index = PageIndex(tmp_path / "index", ScriptedEmbedder())
    index.update([tmp_path / "gone.pdf", tmp_path / "coffee.pdf"])
    (tmp_path / "gone.pdf").unlink()
    server = McpServer(Llava(backend=make_backend(lambda _: "90 days")), index=index)
    async with Client(server) as client:
        result = await client.call_tool("ask_documents", {"question": QUESTION})
    assert data_of(result)["skipped"] == ["gone.pdf"]
    assert [cited["document"] for cited in data_of(result)["citations"]] == ["coffee.pdf"]
    assert str(tmp_path) not in result.model_dump_json()


async def test_an_index_that_cannot_be_read_is_an_error_with_a_hint(tmp_path: Path) -> None:
    server = McpServer(Llava(backend=ScriptedBackend()), index=PageIndex(tmp_path / "none"))
    async with Client(server) as client:
        result = await client.call_tool("ask_documents", {"question": QUESTION})
    assert "There is no index" in error_of(result)
    assert "llava-tools index" in error_of(result)
