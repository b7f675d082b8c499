"""LangChain's standard suite for ChatOpenAI, connected to the server of the embedded model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import reduce
from operator import add
from typing import Any

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests

from llava_tools import Llava
from llava_tools.images.fetch import Fetcher
from tests.langchain.test_standard import Flags
from tests.server.live_server import LiveServer

openai = pytest.importorskip("langchain_openai")

#: Hosts of the suite's images.
_SUITE_HOST = re.compile(r"https://(raw\.githubusercontent\.com|upload\.wikimedia\.org)")


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    model = Llava("tiny")
    with LiveServer(model, allowed_hosts=("127.0.0.1",)) as running:
        yield running


class TestChatOpenAI(Flags, ChatModelIntegrationTests):
    chat_model_class: type[BaseChatModel] = openai.ChatOpenAI
    # ChatOpenAI sends no schema in this mode, and the embedded model reads no keys in a question.
    supports_json_mode = False
    enable_vcr_tests = False  # their requests would be recorded ones
    url: str

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "tiny", "base_url": self.url, "api_key": "-", "stream_usage": True}

    @pytest.fixture(autouse=True)
    def _connect(
        self, server: LiveServer, image_server: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Serve the images that the suite names from this machine."""
        monkeypatch.setattr(type(self), "url", f"{server.url}/v1", raising=False)
        get, fetch = httpx.get, Fetcher.get

        def get_local(url: str, **options: Any) -> httpx.Response:
            return get(_SUITE_HOST.sub(image_server, url), **options)

        def fetch_local(fetcher: Fetcher, url: str) -> bytes:
            return fetch(fetcher, _SUITE_HOST.sub(image_server, url))

        monkeypatch.setattr(httpx, "get", get_local)
        monkeypatch.setattr(Fetcher, "get", fetch_local)

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        model = openai.ChatOpenAI(**self.chat_model_params)
        question = "Tell me a long story about a cat. " * 10
        model.invoke(question, max_tokens=1)
        message: AIMessage = (
            reduce(add, model.stream(question)) if stream else model.invoke(question)
        )
        assert message.usage_metadata is not None
        assert message.usage_metadata["input_token_details"]["cache_read"] > 100
        return message


class TestFunctionCalling(TestChatOpenAI):
    """The suite once more, with structured output by tool calls."""

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": "function_calling"}


class TestResponses(TestChatOpenAI):
    """The suite once more, over the API of responses."""

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {**super().chat_model_params, "use_responses_api": True}
