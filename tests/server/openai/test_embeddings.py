from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from llava_tools.testing import ScriptedEmbedder
from tests.server.conftest import MakeClient
from tests.server.openai.requests import IMAGE, IMAGE_BLOCK, TEXT_BLOCK, URL

PATH = "/v1/embeddings"
RED = [1.0, 0.0]


def _embedder() -> ScriptedEmbedder:
    return ScriptedEmbedder(lambda text: (0, len(text)), lambda image: (1, 0))


@pytest.mark.parametrize(
    ("inputs", "vectors"),
    [
        ("red", [[0, 1]]),
        (["red", "blue"], [[0, 1]] * 2),
        ([{"text": "red"}, {"image": URL}], [[0, 1], RED]),
        ([{"image": base64.b64encode(IMAGE.data).decode()}], [RED]),
        ([IMAGE_BLOCK, TEXT_BLOCK, "red"], [RED, [0, 1], [0, 1]]),
    ],
)
def test_inputs_are_embedded_in_their_order(
    make_client: MakeClient, inputs: Any, vectors: list[list[float]]
) -> None:
    response = make_client(embedder=_embedder()).post(PATH, json={"input": inputs})
    answer = response.json()
    assert response.status_code == 200, answer
    assert answer["model"] == "scripted"
    assert [item["embedding"] for item in answer["data"]] == vectors
    assert [item["index"] for item in answer["data"]] == list(range(len(vectors)))
    assert {item["object"] for item in answer["data"]} == {"embedding"}


@pytest.mark.parametrize(("block", "vector"), [(IMAGE_BLOCK, RED), (TEXT_BLOCK, [0, 1])])
def test_a_message_is_one_input(make_client: MakeClient, block: Any, vector: list[float]) -> None:
    messages = [{"role": "user", "content": [block]}]
    response = make_client(embedder=_embedder()).post(PATH, json={"messages": messages})
    assert [item["embedding"] for item in response.json()["data"]] == [vector]


def test_vectors_as_base64_are_32_bit_floats(make_client: MakeClient) -> None:
    client = make_client(embedder=ScriptedEmbedder(lambda text: (3, 4)))
    fields = {"input": "red", "encoding_format": "base64"}
    (item,) = client.post(PATH, json=fields).json()["data"]
    assert struct.unpack("<2f", base64.b64decode(item["embedding"])) == pytest.approx((0.6, 0.8))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input": [1, 2]}, "token ids"),
        ({"input": [[1, 2]]}, "token ids"),
        ({"input": []}, "0 items"),
        ({}, "either input or messages"),
        ({"input": "a", "messages": [{"role": "user", "content": "a"}]}, "either input"),
        ({"messages": [{"role": "user", "content": [TEXT_BLOCK, IMAGE_BLOCK]}]}, "2 parts"),
        ({"input": "a", "dimensions": 3}, "have 2"),
        ({"input": [{"image": "/etc/passwd"}]}, "data URL"),
        ({"input": [{"image": "https://example.org/a.png"}]}, "fetches none"),
        ({"input": [{"image": URL}] * 3}, "has 3 images; the limit is 2"),
    ],
)
def test_impossible_inputs_are_refused(
    make_client: MakeClient, fields: dict[str, Any], message: str
) -> None:
    response = make_client(embedder=_embedder(), max_images=2).post(PATH, json=fields)
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]


@pytest.mark.parametrize(("model", "status"), [("scripted", 200), ("tiny", 200), ("clip", 404)])
def test_the_model_may_be_named(make_client: MakeClient, model: str, status: int) -> None:
    client = make_client(embedder=_embedder())
    fields = {"input": "a", "model": model, "dimensions": 2, "user": "ada"}
    assert client.post(PATH, json=fields).status_code == status
