"""The embedded model behind Ollama's API answers as in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ollama
import pytest

from llava_tools import Llava
from tests.server.live_server import LiveServer

pytestmark = pytest.mark.slow

NIGHT = Path(__file__).parents[3] / "examples" / "images" / "night.png"
QUESTION = "What colour is the star?"


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with LiveServer(Llava()) as running:
        yield running


def test_answers_are_equal(server: LiveServer) -> None:
    expected = Llava().ask(QUESTION, NIGHT, logprobs=True)
    client = ollama.Client(server.url)
    response = client.generate("llava:tiny", QUESTION, images=[NIGHT.read_bytes()], logprobs=True)
    assert response.response == expected.text == "yellow"
    assert response.prompt_eval_count == expected.usage.prompt_tokens
    assert response.eval_count == expected.usage.completion_tokens
    found = [item.logprob for item in response.logprobs or ()]
    assert found == pytest.approx([item.logprob for item in expected.logprobs], abs=1e-4)


def test_formats_are_enforced(server: LiveServer) -> None:
    properties = {"colour": {"enum": ["red", "yellow"]}}
    schema = {"type": "object", "properties": properties, "required": ["colour"]}
    message = {"role": "user", "content": QUESTION, "images": [NIGHT]}
    response = ollama.Client(server.url).chat("llava", [message], format=schema)
    assert response.message.content == '{"colour": "yellow"}'
