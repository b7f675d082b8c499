"""`with_structured_output`: schemas, methods, parsing errors."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import BaseModel

from langchain_llava import ChatLlava
from llava_tools.testing import ScriptedBackend
from tests.langchain.tools import OPENAI, PLACE, Look, LookDict, LookV1, call

SCHEMAS: list[tuple[Any, Any]] = [
    (Look, Look(place="left")),
    (LookV1, LookV1(place="left")),
    (LookDict, {"place": "left"}),
    ({"title": "look", **PLACE}, {"place": "left"}),
    (OPENAI, {"place": "left"}),
]


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize(("schema", "expected"), SCHEMAS)
def test_every_schema_and_method(schema: Any, expected: Any, method: Any) -> None:
    name = getattr(schema, "__name__", "look")
    text = json.dumps({"place": "left"})
    if method == "function_calling":
        text = call(name, place="left")
    backend = ScriptedBackend([text])
    model = ChatLlava(backend=backend).with_structured_output(schema, method=method)
    assert model.invoke("x") == expected
    constraint = backend.requests[-1].constraint
    assert constraint.tool_choice == (name if method == "function_calling" else "auto")
    assert (constraint.schema is None) is (method == "function_calling")
    assert list(model.stream("x"))[-1] == expected
    assert asyncio.run(model.ainvoke("x")) == expected


def test_json_schema_without_a_title() -> None:
    model = ChatLlava(backend=ScriptedBackend(['{"place": "a"}']))
    assert model.with_structured_output(PLACE).invoke("x") == {"place": "a"}


def test_json_mode_without_a_schema() -> None:
    backend = ScriptedBackend(['{"b": [1]}'])
    model = ChatLlava(backend=backend).with_structured_output(method="json_mode")
    assert model.invoke("x") == {"b": [1]}
    assert backend.requests[-1].constraint.schema == {"type": "object"}


def test_include_raw_returns_the_error_of_a_pydantic_validator() -> None:
    class Even(BaseModel):
        n: int

        def model_post_init(self, context_length: object) -> None:
            if self.n % 2:
                raise ValueError("odd")

    model = ChatLlava(backend=ScriptedBackend(['{"n": 3}']))
    result: Any = model.with_structured_output(Even, include_raw=True).invoke("x")
    assert result["parsed"] is None
    assert "odd" in str(result["parsing_error"])
    assert result["raw"].content == '{"n": 3}'
