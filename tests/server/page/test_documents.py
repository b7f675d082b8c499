"""`/llava/documents/...`: answers with cited pages, searches, images of pages."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from llava_tools.errors import EngineError
from llava_tools.retrieval import PageIndex
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from tests.retrieval.documents import write_pdf
from tests.server.conftest import MakeClient

pytest.importorskip("lancedb")

PAGES = ["Coffee is good", "Descale coffee machines every 90 days", "Drink coffee & <tea>"]
QUESTION = "How often are coffee machines descaled?"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PageIndex:
    folder = tmp_path_factory.mktemp("documents")
    write_pdf(folder / "in.pdf", PAGES)
    index = PageIndex(folder / "index", ScriptedEmbedder())
    index.update([folder / "in.pdf"])
    return index


def _client(make_client: MakeClient, index: PageIndex, backend: Any = None) -> TestClient:
    client = make_client(backend or ScriptedBackend(["90 days"]))
    client.app.state.service.index = index  # type: ignore[attr-defined]
    return client


def _events(response: Any) -> list[dict[str, Any]]:
    lines = [line for line in response.text.splitlines() if line.startswith("data:")]
    return [json.loads(line[5:]) for line in lines]


def test_info_has_the_size_of_the_index(make_client: MakeClient, index: PageIndex) -> None:
    info = _client(make_client, index).get("/llava/info").json()
    assert info["index"] == {"documents": 1, "pages": 3, "error": None}


def test_an_answer_cites_the_page_with_its_box(make_client: MakeClient, index: PageIndex) -> None:
    response = _client(make_client, index).post("/llava/documents/ask", json={"question": QUESTION})
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    *deltas, last = _events(response)
    assert "".join(event["text"] for event in deltas) == "90 days"
    assert last["type"] == "answer"
    answer = last["answer"]
    assert (answer["answer"], answer["found"]) == ("90 days", True)
    citation = next(item for item in answer["citations"] if item["page"] == 2)
    assert citation["name"] == "in.pdf"
    assert Path(citation["document"]).is_file()
    assert "90 days" in citation["snippet"]
    x1, y1, x2, y2 = citation["normalized_box"]
    assert 0.4 < x1 < x2 < 1
    assert 0.05 < y1 < y2 < 0.2
    assert citation["image_url"] == f"/llava/documents/pages/{citation['handle']}"


def test_an_answer_in_sentences_comes_in_parts(make_client: MakeClient, index: PageIndex) -> None:
    text = "They are descaled every 90 days."
    backend = ScriptedBackend(
        lambda request: text if request.sampling.max_tokens == 512 else "90 days"
    )
    response = _client(make_client, index, backend).post(
        "/llava/documents/ask", json={"question": QUESTION, "sentences": True}
    )
    *deltas, last = _events(response)
    assert len(deltas) == len(text.split())
    assert "".join(event["text"] for event in deltas) == text
    assert last["answer"]["answer"] == text


def test_an_error_before_the_answer_has_a_status(make_client: MakeClient, index: PageIndex) -> None:
    def fail(request: Any) -> str:
        if any("coffee" in str(message.content) for message in request.messages):
            raise EngineError("The engine failed.", "Restart it.")
        return "ok"

    client = _client(make_client, index, ScriptedBackend(fail))
    response = client.post("/llava/documents/ask", json={"question": QUESTION})
    assert response.status_code == 500
    assert response.json()["error"]["message"] == "The engine failed. Restart it."


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("ask", {"question": ""}),
        ("ask", {"question": QUESTION, "k": 0}),
        ("ask", {"question": QUESTION, "index": "/etc"}),
        ("search", {"query": "coffee", "k": 1000}),
        ("search", {"query": "coffee", "mode": "magic"}),
        ("search", {}),
    ],
)
def test_bad_bodies_are_refused(
    make_client: MakeClient, index: PageIndex, path: str, body: dict[str, Any]
) -> None:
    response = _client(make_client, index).post(f"/llava/documents/{path}", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_search_returns_pages_best_first(make_client: MakeClient, index: PageIndex) -> None:
    client = _client(make_client, index)
    body = {"query": "descale machines", "mode": "text"}
    pages = client.post("/llava/documents/search", json=body).json()["pages"]
    assert [page["page"] for page in pages] == [2]
    assert pages[0]["snippet"] == PAGES[1]
    thumbnail = client.get(pages[0]["thumbnail_url"])
    assert thumbnail.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(thumbnail.content)).format == "JPEG"


def test_a_pages_image_comes_plain_or_with_the_box(
    make_client: MakeClient, index: PageIndex
) -> None:
    client = _client(make_client, index)
    (hit,) = index.search("descale machines", 1, mode="text")
    path = f"/llava/documents/pages/{hit.handle}"
    plain, drawn = client.get(path), client.get(path, params={"box": "0.25,0.25,0.5,0.5"})
    images = [Image.open(io.BytesIO(r.content)).convert("RGB") for r in (plain, drawn)]
    assert images[0].size == images[1].size
    assert max(images[0].size) <= 1600
    width, height = images[0].size
    middle = round(0.25 * width) - 2, round(0.4 * height)
    assert images[0].getpixel(middle) == (255, 255, 255)
    assert images[1].getpixel(middle) == (255, 0, 0)


@pytest.mark.parametrize(
    "box", ["1,2", "0,0,0,0", "0.5,0,0.1,1", "a,b,c,d", "0,0,2,2", "nan,0,1,1"]
)
def test_an_impossible_box_is_refused(make_client: MakeClient, index: PageIndex, box: str) -> None:
    (hit,) = index.search("descale machines", 1, mode="text")
    path = f"/llava/documents/pages/{hit.handle}"
    response = _client(make_client, index).get(path, params={"box": box})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "box"


@pytest.mark.parametrize("handle", ["img_" + "0" * 24, "img_x", "' OR '1'='1", "%2e%2e"])
def test_only_pages_of_the_index_are_shown(
    make_client: MakeClient, index: PageIndex, handle: str
) -> None:
    response = _client(make_client, index).get(f"/llava/documents/pages/{handle}")
    assert response.status_code == 404


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "ask"), ("POST", "search"), ("GET", "pages/img_0")]
)
def test_without_an_index_there_are_no_documents(
    make_client: MakeClient, method: str, path: str
) -> None:
    response = make_client().request(method, f"/llava/documents/{path}", json={})
    assert response.status_code == 404
    assert "--index" in response.json()["error"]["message"]
