"""LangChain's own suites on the embedded model: what every chat model has to do.

Every flag that can hold for LLaVA is on; those that cannot are about audio, video and PDF.
"""

from __future__ import annotations

import importlib
from typing import Any

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_llava import ChatLlava
from llava_tools.images.fetch import Fetcher

# The package's `load` is a function that hides the module of that name.
lc_load = importlib.import_module("langchain_core.load.load")

#: Where the suite's images lie.
_AWAY = "https://raw.githubusercontent.com"


class Flags:
    """What the suites are told of the model."""

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
    model_override_value = "tiny"

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "tiny"}


class TestUnits(Flags, ChatModelUnitTests):
    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"LLAVA_API_KEY": "secret"}, {"model": "tiny"}, {"api_key": "secret"}

    @pytest.fixture(autouse=True)
    def _known_to_load(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Add the class to those that `load` calls "all".

        LangChain keeps that list for the partners in its own repository; everybody else's users
        pass `allowed_objects=[ChatLlava]`.
        """
        path = tuple(ChatLlava.lc_id())
        monkeypatch.setitem(lc_load.ALL_SERIALIZABLE_MAPPINGS, path, path)
        monkeypatch.setattr(lc_load, "_default_class_paths_cache", {})


class TestEmbeddedModel(Flags, ChatModelIntegrationTests):
    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "tiny", "allowed_hosts": ["127.0.0.1"]}

    @pytest.fixture(autouse=True)
    def _images_from_here(self, image_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Serve the images that the suite would download from this machine."""
        get, fetch = httpx.get, Fetcher.get

        def get_here(url: str, **options: Any) -> httpx.Response:
            assert url.startswith(_AWAY)
            return get(url.replace(_AWAY, image_server), **options)

        def fetch_here(fetcher: Fetcher, url: str) -> bytes:
            return fetch(fetcher, url.replace(_AWAY, image_server))

        monkeypatch.setattr(httpx, "get", get_here)
        monkeypatch.setattr(Fetcher, "get", fetch_here)
