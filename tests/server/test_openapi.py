from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Route

from llava_tools.server.openapi import BINARY_BODIES, BODIES, described_routes
from tests.server.conftest import MakeClient
from tests.server.openai.requests import IMAGE_BLOCK, LOOK, conversation


@pytest.fixture
def description(make_client: MakeClient) -> dict[str, Any]:
    response = make_client().get("/openapi.json")
    assert response.status_code == 200
    found: dict[str, Any] = response.json()
    return found


def test_every_route_of_the_api_is_described(make_client: MakeClient) -> None:
    client = make_client()
    described = client.get("/openapi.json").json()["paths"]
    routes = [route for route in client.app.routes if isinstance(route, Route)]  # type: ignore[attr-defined]
    assert len(described_routes(routes)) > 20
    for route in described_routes(routes):
        operations = described[route.path.replace(":path", "")]
        for method in (route.methods or set()) - {"HEAD"}:
            assert operations[method.lower()]["summary"].strip()
        reads_body = route.path in BODIES or route.path in BINARY_BODIES
        is_refused = "Refuse" in (route.endpoint.__doc__ or "")
        assert reads_body or is_refused or "POST" not in (route.methods or set()), route.path


def test_references_lead_to_schemas(description: dict[str, Any]) -> None:
    schemas = description["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    references = {part.split('"')[0] for part in json.dumps(description).split('"$ref": "')[1:]}
    assert references
    for reference in references:
        assert reference.removeprefix("#/components/schemas/") in schemas


@pytest.mark.parametrize(
    ("fields", "is_valid"),
    [
        (conversation([IMAGE_BLOCK], tools=[LOOK], stream=True, stop="x"), True),
        (conversation(user="ada", metadata={}), True),
        (conversation(unknown=1), False),
        ({}, False),
    ],
)
def test_the_schema_of_a_chat_completion(
    description: dict[str, Any], fields: dict[str, Any], is_valid: bool
) -> None:
    operation = description["paths"]["/v1/chat/completions"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    root = {"components": description["components"], **schema}
    assert Draft202012Validator(root).is_valid(fields) is is_valid
