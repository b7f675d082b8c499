"""`/llava/info`, `/llava/images` and `/llava/tools/...`."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from llava_tools import Llava
from llava_tools.info import LLAVA_NOTICE
from llava_tools.options import TINY_NOTICE
from llava_tools.server.app import create_app
from llava_tools.server.options import ServerOptions
from llava_tools.server.page.api import describe_service
from llava_tools.server.service import Service
from llava_tools.testing import ScriptedBackend
from llava_tools.tools import TOOLS
from tests.server.conftest import MakeClient

KEYS = ("first-long-key", "second-long-key")


def _png(colour: str = "red", size: tuple[int, int] = (40, 20), **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, options.pop("format", "PNG"), **options)
    return buffer.getvalue()


def _data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _call(client: TestClient, name: str, **arguments: Any) -> Any:
    return client.post(f"/llava/tools/{name}", json={"arguments": arguments})


def test_info_names_model_limits_and_tools(make_client: MakeClient) -> None:
    info = make_client(max_images=3, max_body_bytes=1000).get("/llava/info").json()
    assert info["model"] == "scripted"
    assert info["loaded"] is True
    assert info["requires_key"] is False
    assert info["limits"] == {"body_bytes": 1000, "image_bytes": 1000, "images": 3}
    assert info["tools"] == sorted(TOOLS)
    assert info["index"] is None


def test_info_needs_the_key_and_says_so(make_client: MakeClient) -> None:
    client = make_client(api_keys=KEYS)
    assert client.get("/llava/info").status_code == 401
    info = client.get("/llava/info", headers={"Authorization": f"Bearer {KEYS[0]}"}).json()
    assert info["requires_key"] is True


@pytest.mark.parametrize(
    ("model", "notice", "passes_on"),
    [
        (Llava(), TINY_NOTICE, False),
        (Llava("7b"), LLAVA_NOTICE, False),
        (Llava("llava-hf/llava-1.5-7b-hf"), LLAVA_NOTICE, False),
        (Llava("someone/else"), "", False),
        (Llava(base_url="http://127.0.0.1:9/v1"), "", True),
    ],
    ids=["tiny", "7b", "hub id", "unknown", "server"],
)
def test_the_notice_is_that_of_the_model(model: Llava, notice: str, passes_on: bool) -> None:
    info = describe_service(Service(ServerOptions(), model))
    assert (info["notice"], info["passes_on"]) == (notice, passes_on)


def test_an_index_that_cannot_be_used_is_named(make_client: MakeClient, tmp_path: Any) -> None:
    index = make_client(index=tmp_path / "nowhere").get("/llava/info").json()["index"]
    assert index["pages"] == 0
    assert "There is no index in" in index["error"]


def test_an_image_is_kept_under_its_handle(make_client: MakeClient) -> None:
    client = make_client()
    sent = client.post("/llava/images", content=_png())
    assert sent.status_code == 200
    image = sent.json()
    assert (image["width"], image["height"]) == (40, 20)
    kept = client.get(f"/llava/images/{image['handle']}")
    assert kept.content == _png()
    assert kept.headers["content-type"] == "image/png"
    assert kept.headers["x-content-type-options"] == "nosniff"


def test_an_image_that_browsers_do_not_show_comes_back_as_png(make_client: MakeClient) -> None:
    client = make_client()
    handle = client.post("/llava/images", content=_png(format="TIFF")).json()["handle"]
    kept = client.get(f"/llava/images/{handle}")
    assert kept.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(kept.content)).size == (40, 20)


def test_a_photograph_that_lies_on_its_side_is_measured_upright(make_client: MakeClient) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = _png(format="JPEG", exif=exif)
    image = make_client().post("/llava/images", content=data).json()
    assert (image["width"], image["height"]) == (20, 40)


@pytest.mark.parametrize(
    ("content", "options", "status"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", {}, 400),
        (b"", {}, 400),
        (_png()[:50], {}, 400),
        (_png(size=(400, 400)), {"max_body_bytes": 100}, 413),
    ],
    ids=["svg", "empty", "cut off", "too large"],
)
def test_what_is_no_usable_image_is_refused(
    make_client: MakeClient, content: bytes, options: dict[str, int], status: int
) -> None:
    response = make_client(**options).post("/llava/images", content=content)
    assert response.status_code == status
    assert response.json()["error"]["message"]


def test_users_do_not_see_each_others_images(make_client: MakeClient) -> None:
    client = make_client(api_keys=KEYS)
    first, second = ({"Authorization": f"Bearer {key}"} for key in KEYS)
    handle = client.post("/llava/images", content=_png(), headers=first).json()["handle"]
    assert client.get(f"/llava/images/{handle}", headers=first).status_code == 200
    response = client.get(f"/llava/images/{handle}", headers=second)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_image")


@pytest.mark.parametrize("by_handle", [True, False], ids=["handle", "data URL"])
def test_locate_returns_box_certainty_and_size(make_client: MakeClient, by_handle: bool) -> None:
    client = make_client(ScriptedBackend(["[0.1, 0.3, 0.5, 0.6]"]))
    handle = client.post("/llava/images", content=_png()).json()["handle"]
    source = handle if by_handle else _data_url(_png())
    result = _call(client, "locate", image=source, thing="the car").json()
    assert result["box"] == [4, 2, 20, 14]
    assert (result["width"], result["height"], result["image"]) == (40, 20, handle)
    assert result["certainty"] == 0.5


def test_compare_asks_about_each_image(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(lambda request: request.messages[0].images[0].source))
    backend = client.app.state.service.model.backend  # type: ignore[attr-defined]
    backend.requests.clear()
    images = [_data_url(_png("red")), _data_url(_png("blue"))]
    result = _call(client, "compare", images=images, question="What colour is it?").json()
    assert result == {"same": True, "answers": ["data URL", "data URL"]}
    assert [len(request.messages[0].images) for request in backend.requests] == [1, 1]


@pytest.mark.parametrize(
    ("name", "script", "arguments", "result"),
    [
        ("count", "3", {"things": "cars"}, {"count": 3}),
        ("read_text", "STOP", {}, {"text": "STOP", "cut_off": False}),
        (
            "describe",
            "a car",
            {"detail": "brief"},
            {"text": "a car", "cut_off": False, "width": 40, "height": 20},
        ),
    ],
)
def test_other_tools_return_their_results(
    make_client: MakeClient,
    name: str,
    script: str,
    arguments: dict[str, str],
    result: dict[str, Any],
) -> None:
    client = make_client(ScriptedBackend([script]))
    assert _call(client, name, image=_data_url(_png()), **arguments).json() == result


@pytest.mark.parametrize(
    ("name", "body", "status", "words"),
    [
        ("locat", {"arguments": {}}, 404, "Did you mean 'locate'"),
        ("locate", {"arguments": {"image": "img_0"}}, 400, "thing: Field required"),
        (
            "locate",
            {"arguments": {"image": "/etc/passwd", "thing": "x"}},
            400,
            "handle of an image",
        ),
        ("locate", {"arguments": {"image": "img_" + "0" * 24, "thing": "x"}}, 400, "img_000"),
        ("locate", {"arguments": {"image": "data:,x", "thing": "x"}}, 400, "image"),
        ("count", {"arguments": {"image": "data:,x", "things": ""}}, 400, "things"),
        ("count", {"image": "data:,x"}, 400, "arguments"),
        ("compare", {"arguments": {"images": ["a"], "question": "x"}}, 400, "images"),
    ],
)
def test_bad_calls_are_errors_of_one_line(
    make_client: MakeClient, name: str, body: dict[str, Any], status: int, words: str
) -> None:
    response = make_client().post(f"/llava/tools/{name}", json=body)
    message = response.json()["error"]["message"]
    assert response.status_code == status
    assert words in message
    assert "\n" not in message


def test_tools_count_as_requests(make_client: MakeClient) -> None:
    client = make_client(max_pending=1)
    with client.app.state.service.admission.admit(client.app.state.service.users.find("")):  # type: ignore[attr-defined]
        response = _call(client, "read_text", image=_data_url(_png()))
    assert response.status_code == 429
    assert response.headers["retry-after"] == "1"
    assert _call(client, "read_text", image=_data_url(_png())).status_code == 200


def test_a_tool_that_takes_too_long_is_an_error(make_client: MakeClient) -> None:
    hold = threading.Event()
    backend = ScriptedBackend(["one two"])
    client = make_client(backend, timeout=0.05)
    backend._pause = hold.wait  # type: ignore[assignment]
    response = _call(client, "read_text", image=_data_url(_png()))
    hold.set()
    assert response.status_code == 504
    assert "after 0.05 seconds" in response.json()["error"]["message"]


async def test_a_client_that_leaves_stops_its_tool() -> None:
    backend = ScriptedBackend(["one two three"])
    app = create_app(ServerOptions(), Llava(backend=backend))
    app.state.service.load()
    backend.requests.clear()
    started, hold = threading.Event(), threading.Event()

    def pause() -> None:
        started.set()
        hold.wait()

    backend._pause = pause
    body = json.dumps({"arguments": {"image": _data_url(_png())}}).encode()
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await asyncio.to_thread(started.wait)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/llava/tools/read_text",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    await app(scope, receive, send)
    hold.set()
    while not backend.closed_early:
        await asyncio.sleep(0)
    assert app.state.service.admission.pending == 0
    assert sent[0]["status"] == 499
