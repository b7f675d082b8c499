"""`POST /llava/evidence`: what an answer depends on, drawn; its limits, and who may not have it."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from llava_tools import Llava
from llava_tools.core.requests import Request
from llava_tools.server.app import create_app
from llava_tools.server.options import ServerOptions
from llava_tools.server.page.api import describe_service
from llava_tools.server.service import Service
from llava_tools.testing import ScriptedBackend
from tests.evidence.scripted import (
    DEPENDENT,
    SIDE,
    SQUARE,
    depends_on_square,
    grey_level,
    measure_square,
)
from tests.server.conftest import MakeClient

KEYS = ("first-long-key", "second-long-key")


def _url(image: Image.Image = SQUARE) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _body(*urls: str, **fields: Any) -> dict[str, Any]:
    blocks: list[Any] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content = [*blocks, {"type": "text", "text": "What colour?"}]
    return {"messages": [{"role": "user", "content": content}], "answer": "yellow", **fields}


def _backend(**options: Any) -> ScriptedBackend:
    return ScriptedBackend(scores_without=depends_on_square, **options)


def _post(client: TestClient, body: dict[str, Any], **options: Any) -> Any:
    return client.post("/llava/evidence", json=body, **options)


def test_the_part_that_an_answer_depends_on_is_returned_and_drawn(make_client: MakeClient) -> None:
    backend = _backend()
    result = _post(make_client(backend), _body(_url())).json()
    assert result["object"] == "llava.evidence"
    assert (result["answer"], result["logprob"]) == ("yellow", -0.1)
    assert (result["box"], result["size"]) == (list(DEPENDENT), [240, 240])
    assert [len(row) for row in result["values"]] == [SIDE] * SIDE
    assert result["values"] == [pytest.approx(row) for row in measure_square().values]
    head, data = result["drawing"].split(",")
    drawing = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (head, drawing.size) == ("data:image/png;base64", (480, 480))
    assert grey_level(drawing, (180, 180)) > 3 * grey_level(drawing, (470, 470))
    assert backend.requests[-1].messages[-1].text == "What colour?"


def test_the_conversation_may_have_earlier_turns_and_handles(make_client: MakeClient) -> None:
    client = make_client(_backend())
    content = base64.b64decode(_url().split(",")[1])
    handle = client.post("/llava/images", content=content).json()["handle"]
    body = _body(handle, answer=" yellow\n")
    later = [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "Which?"}]
    body["messages"] += later
    result = _post(client, body).json()
    assert (result["image"], result["answer"]) == (handle, "yellow")
    assert result["box"] == list(DEPENDENT)


def test_one_of_several_images_is_mapped(make_client: MakeClient) -> None:
    other = Image.new("RGB", (480, 240), "red")
    body = _body(_url(), _url(other), image_index=1)
    result = _post(make_client(_backend(), max_images=2), body).json()
    assert result["size"] == [480, 240]


def test_an_answer_that_depends_on_nothing_has_no_box(make_client: MakeClient) -> None:
    result = _post(make_client(ScriptedBackend()), _body(_url())).json()
    assert result["box"] is None


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (_body(), 400, "image_index=0 is not possible: the conversation has 0 images"),
        (_body(_url(), image_index=1), 400, "image_index=1"),
        (_body(_url(), image_index=-1), 400, "image_index=-1"),
        (_body(_url(), _url()), 400, "the limit is 1"),
        (_body(_url(), answer=""), 400, "answer"),
        (_body(_url(), answer=" \n"), 400, "The answer is blank."),
        (_body(_url(), answer="x" * 20_001), 400, "answer"),
        (_body(_url(), answr="x"), 400, "Did you mean 'answer'?"),
        (_body(_url(), model="gpt-5"), 404, "gpt-5"),
        (_body("img_" + "0" * 24), 400, "img_000"),
        (_body("/etc/passwd"), 400, "handle of an image"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_impossible_requests_are_refused_in_one_line(
    make_client: MakeClient, body: dict[str, Any], status: int, words: str
) -> None:
    backend = _backend()
    client = make_client(backend, max_images=1)
    backend.requests.clear()
    response = _post(client, body)
    message = response.json()["error"]["message"]
    assert response.status_code == status
    assert words in message
    assert "\n" not in message
    assert not backend.requests


def test_a_model_behind_base_url_is_refused(make_client: MakeClient) -> None:
    backend = _backend()
    backend.measures_evidence = False
    client = make_client(backend)
    response = _post(client, _body(_url()))
    assert response.status_code == 400
    assert "Leave out base_url." in response.json()["error"]["message"]
    assert client.get("/llava/info").json()["evidence"] is False


def test_info_says_whether_there_is_evidence(make_client: MakeClient) -> None:
    assert make_client(_backend()).get("/llava/info").json()["evidence"] is True
    for model, expected in ((Llava("7b"), True), (Llava(base_url="http://127.0.0.1:9/v1"), False)):
        assert describe_service(Service(ServerOptions(), model))["evidence"] is expected


def test_a_key_is_needed_and_images_are_the_users_own(make_client: MakeClient) -> None:
    client = make_client(_backend(), api_keys=KEYS)
    assert _post(client, _body(_url())).status_code == 401
    first, second = ({"Authorization": f"Bearer {key}"} for key in KEYS)
    handle = _post(client, _body(_url()), headers=first).json()["image"]
    assert _post(client, _body(handle), headers=first).status_code == 200
    response = _post(client, _body(handle), headers=second)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_image")


def test_it_counts_as_a_request(make_client: MakeClient) -> None:
    client = make_client(_backend(), max_pending=1)
    service = client.app.state.service  # type: ignore[attr-defined]
    with service.admission.admit(service.users.find("")):
        assert _post(client, _body(_url())).status_code == 429
    assert _post(client, _body(_url())).status_code == 200
    assert service.admission.pending == 0


class _Blocked(ScriptedBackend):
    """Measures nothing until it is cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.started = threading.Event()
        self.cancelled = threading.Event()

    def score_without(
        self,
        request: Request,
        label: str,
        left_out: Sequence[Sequence[int]],
        cancelled: threading.Event | None = None,
    ) -> list[float]:
        self.started.set()
        assert cancelled is not None
        cancelled.wait()
        self.cancelled.set()
        return [0.0] * len(left_out)


def test_a_map_that_takes_too_long_is_cancelled(make_client: MakeClient) -> None:
    backend = _Blocked()
    response = _post(make_client(backend, timeout=0.05), _body(_url()))
    assert response.status_code == 504
    assert "after 0.05 seconds" in response.json()["error"]["message"]
    backend.cancelled.wait()


async def test_a_client_that_leaves_cancels_its_map() -> None:
    backend = _Blocked()
    app = create_app(ServerOptions(), Llava(backend=backend))
    app.state.service.load()
    body = json.dumps(_body(_url())).encode()
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await asyncio.to_thread(backend.started.wait)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/llava/evidence",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    await app(scope, receive, send)
    await asyncio.to_thread(backend.cancelled.wait)
    assert app.state.service.admission.pending == 0
    assert sent[0]["status"] == 499
