"""JSON schemas of pydantic models in third-party packages."""

from __future__ import annotations

import importlib
import inspect
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticUserError

#: Modules with models of message formats, protocols and configurations.
MODULES = (
    "langchain_core.documents",
    "langchain_core.messages",
    "langchain_core.prompts",
    "langsmith.schemas",
    "mcp.types",
    "openai.types",
    "openai.types.beta",
    "openai.types.chat",
    "openai.types.evals",
    "openai.types.fine_tuning",
    "openai.types.graders",
    "openai.types.responses",
    "openai.types.vector_stores",
)


def foreign_schemas(count: int | None = None, seed: int = 7) -> list[tuple[str, dict[str, Any]]]:
    """Return (name, schema) of `count` models, or of all, in a random order."""
    models = dict(_models())
    names = sorted(models)
    random.Random(seed).shuffle(names)
    schemas: list[tuple[str, dict[str, Any]]] = []
    for name in names:
        if count is None or len(schemas) < count:
            with suppress(PydanticUserError):  # it has a field that JSON schema cannot express
                schemas.append((name, models[name].model_json_schema()))
    return schemas


def _models() -> Iterator[tuple[str, type[BaseModel]]]:
    for path in MODULES:
        for name, model in inspect.getmembers(importlib.import_module(path), inspect.isclass):
            if issubclass(model, BaseModel) and model is not BaseModel:
                yield f"{path}.{name}", model
