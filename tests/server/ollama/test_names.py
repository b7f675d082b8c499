from __future__ import annotations

from typing import Any

import pytest

from llava_tools import Llava
from llava_tools.errors import ModelNotFoundError
from llava_tools.server.ollama.names import check_model, listed_names
from llava_tools.server.options import ServerOptions
from llava_tools.server.service import Service


def _service(model: str, *names: str, **options: Any) -> Service:
    return Service(ServerOptions(model_names=names), Llava(model, **options))


@pytest.mark.parametrize(
    ("model", "names", "expected"),
    [
        ("tiny", (), ("llava:tiny",)),
        ("7b", (), ("llava:7b",)),
        ("llava-hf/llava-1.5-13b-hf", (), ("llava:13b",)),
        ("somebody/llava-phi", (), ("llava:latest",)),
        ("7b", ("gpt-4o", "house:v2"), ("llava:7b", "gpt-4o:latest", "house:v2")),
    ],
)
def test_the_model_is_listed_with_its_size(
    model: str, names: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert listed_names(_service(model, *names)) == expected


@pytest.mark.parametrize(
    "name",
    [
        "llava",
        "llava:latest",
        "LLaVA:7B",
        "llava:7b-v1.5-q4_0",
        "llava:7b-v1.5-fp16",
        "7b",
        "7b:latest",
        "llava-hf/llava-1.5-7b-hf",
        "llava-hf/llava-1.5-7b-hf:latest",
        "gpt-4o",
    ],
)
def test_names_of_the_model_are_taken(name: str) -> None:
    check_model(_service("7b", "gpt-4o"), name)


@pytest.mark.parametrize(
    "name",
    ["", "llama3", "llava:13b", "llava:7b-v1.6-mistral", "llava:13b-v1.5-q4_0", "13b", "gpt-4"],
)
def test_names_of_other_models_are_not_found(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="this server has llava:7b, gpt-4o:latest"):
        check_model(_service("7b", "gpt-4o"), name)


def test_a_remote_model_has_no_size() -> None:
    service = _service("tiny", base_url="http://127.0.0.1:9/v1")
    assert listed_names(service) == ("llava:latest",)
    with pytest.raises(ModelNotFoundError):
        check_model(service, "llava:tiny")
