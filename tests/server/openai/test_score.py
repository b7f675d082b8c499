from __future__ import annotations

from typing import Any

import pytest

from llava_tools.testing import ScriptedBackend
from tests.server.conftest import MakeClient
from tests.server.openai.requests import IMAGE_BLOCK, conversation


def test_labels_are_scored(make_client: MakeClient) -> None:
    backend = ScriptedBackend(scores=lambda request, label: -float(len(label)))
    fields = conversation("Red?", labels=["Yes", "No"])
    response = make_client(backend).post("/llava/score", json=fields)
    assert response.json() == {"object": "llava.score", "scores": [-3.0, -2.0]}
    assert backend.requests[-1].messages[0].text == "Red?"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"labels": []}, 400),
        ({"labels": ["Yes", "Yes"]}, 400),
        ({"labels": [" Yes"]}, 400),
        ({"labels": ["Yes"], "model": "gpt-5"}, 404),
        ({"labels": ["Yes"], **conversation([IMAGE_BLOCK] * 2)}, 400),
    ],
)
def test_impossible_requests_are_refused(
    make_client: MakeClient, fields: dict[str, Any], status: int
) -> None:
    client = make_client(max_images=1)
    response = client.post("/llava/score", json=conversation() | fields)
    assert response.status_code == status
