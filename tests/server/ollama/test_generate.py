from __future__ import annotations

from typing import Any

import pytest

from llava_tools.testing import ScriptedBackend
from tests.server.conftest import MakeClient
from tests.server.ollama.samples import IMAGE, base64_of, lines_of, prompt_body

PATH = "/api/generate"


def test_a_response_is_streamed_by_default(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(["a red ball"]))
    *chunks, last = lines_of(client.post(PATH, json=prompt_body()))
    assert [chunk["response"] for chunk in chunks] == ["a", " red", " ball"]
    assert (last["response"], last["done"], last["done_reason"]) == ("", True, "stop")
    assert (last["eval_count"], "context" in last) == (3, False)


def test_a_whole_response_is_one_object(make_client: MakeClient) -> None:
    backend = ScriptedBackend(["a red ball"])
    body = prompt_body(
        system="Be brief.",
        images=[base64_of(IMAGE)],
        stream=False,
        suffix="",
        template="",
        raw=False,
        context=[],
    )
    answer = make_client(backend).post(PATH, json=body).json()
    assert (answer["response"], answer["done"]) == ("a red ball", True)
    system, user = backend.requests[-1].messages
    assert (system.role, system.text) == ("system", "Be brief.")
    assert user.content == (IMAGE, "What?")


def test_format_is_the_schema_of_the_response(make_client: MakeClient) -> None:
    backend = ScriptedBackend(lambda request: '{"a":1}' if request.constraint.schema else "ok")
    answer = make_client(backend).post(PATH, json=prompt_body(format="json", stream=False)).json()
    assert answer["response"] == '{"a":1}'


@pytest.mark.parametrize(
    ("field", "value", "hint"),
    [
        ("suffix", "return", "cannot insert"),
        ("template", "{{ .Prompt }}", "trained on"),
        ("raw", True, "trained on"),
        ("context", [1, 2], "/api/chat"),
        ("think", True, "does not support thinking"),
        ("width", 512, "width"),
        ("tools", [], "tools"),
    ],
)
def test_what_cannot_be_done_is_refused(
    make_client: MakeClient, field: str, value: Any, hint: str
) -> None:
    response = make_client().post(PATH, json=prompt_body(**{field: value}))
    assert response.status_code == 400
    assert hint in response.json()["error"]


def test_too_many_images_are_refused(make_client: MakeClient) -> None:
    body = prompt_body(images=[base64_of(IMAGE)] * 2)
    response = make_client(max_images=1).post(PATH, json=body)
    assert response.status_code == 400
    assert "has 2 images; the limit is 1" in response.json()["error"]


def test_a_long_prompt_is_refused_with_its_figures(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(image_tokens=4, context_length=64))
    response = client.post(PATH, json=prompt_body("word " * 100, options={"num_ctx": 8192}))
    assert response.status_code == 400
    assert "the model's context holds 64" in response.json()["error"]


@pytest.mark.parametrize("num_predict", [-1, -2, 0])
def test_an_answer_may_fill_the_context(make_client: MakeClient, num_predict: int) -> None:
    backend = ScriptedBackend(image_tokens=4, context_length=200)
    client = make_client(backend)
    body = prompt_body(stream=False, options={"num_predict": num_predict})
    answer = client.post(PATH, json=body).json()
    left = 200 - answer["prompt_eval_count"]
    assert backend.requests[-1].sampling.max_tokens == left
    response = client.post(PATH, json=body | {"prompt": "word " * 300})
    assert response.status_code == 400
    assert "context holds 200" in response.json()["error"]
