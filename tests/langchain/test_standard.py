"""LangChain's standard suites for chat models, on the embedded model.

All flags are on except those for audio, video and PDF. Those for embeddings, retrievers and tools
are in test_embeddings.py, test_pages.py and test_toolkit.py; there is no vector store here.
"""

from __future__ import annotations

import importlib
import re
from functools import reduce
from operator import add
from typing import Any, ClassVar

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_llava import ChatLlava
from llava_tools.images.fetch import Fetcher

# In the package, the function `load` hides the module of the same name.
lc_load = importlib.import_module("langchain_core.load.load")

#: Hosts of the suite's images.
_SUITE_HOST = re.compile(r"https://(raw\.githubusercontent\.com|upload\.wikimedia\.org)")


class Flags:
    """Abilities of the model that the suites test."""

    chat_model_class: type[BaseChatModel] = ChatLlava
    has_tool_calling = True
    has_tool_choice = True
    has_structured_output = True
    supports_json_mode = True
    supports_image_inputs = True
    supports_image_urls = True
    supports_image_tool_message = True
    supports_anthropic_inputs = True
    supports_model_override = True
    returns_usage_metadata = True
    supported_usage_metadata_details: ClassVar[dict[str, list[str]]] = {
        "invoke": ["cache_read_input"],
        "stream": ["cache_read_input"],
    }
    model_override_value = "tiny"
    # No cassette is there, so that a request over HTTP would fail.
    enable_vcr_tests = True

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "tiny"}


class TestUnits(Flags, ChatModelUnitTests):
    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"LLAVA_API_KEY": "secret"}, {"model": "tiny"}, {"api_key": "secret"}

    @pytest.fixture(autouse=True)
    def _allow_to_load(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Add the class to LangChain's list of loadable classes.

        The list holds partners in LangChain's repository; users of other packages pass
        `allowed_objects=[ChatLlava]`.
        """
        path = tuple(ChatLlava.lc_id())
        monkeypatch.setitem(lc_load.ALL_SERIALIZABLE_MAPPINGS, path, path)
        monkeypatch.setattr(lc_load, "_default_class_paths_cache", {}, raising=False)


class TestEmbeddedModel(Flags, ChatModelIntegrationTests):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "tiny", "allowed_hosts": ["127.0.0.1"]}

    @pytest.fixture(autouse=True)
    def _serve_images(self, image_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Serve the images that the suite downloads from this machine."""
        get, fetch = httpx.get, Fetcher.get

        def get_local(url: str, **options: Any) -> httpx.Response:
            assert _SUITE_HOST.match(url)
            return get(_SUITE_HOST.sub(image_server, url), **options)

        def fetch_local(fetcher: Fetcher, url: str) -> bytes:
            return fetch(fetcher, _SUITE_HOST.sub(image_server, url))

        monkeypatch.setattr(httpx, "get", get_local)
        monkeypatch.setattr(Fetcher, "get", fetch_local)

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        model = ChatLlava(**self.chat_model_params)
        question = "Tell me a long story about a cat. " * 10
        model.invoke(question, max_tokens=1)
        message = reduce(add, model.stream(question)) if stream else model.invoke(question)
        assert message.usage_metadata is not None
        assert message.usage_metadata["input_token_details"]["cache_read"] > 100
        return message


class TestFunctionCalling(TestEmbeddedModel):
    """The suite once more, with structured output by tool calls."""

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": "function_calling"}
