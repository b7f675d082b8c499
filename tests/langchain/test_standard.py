"""LangChain's own suites: what every chat model has to do.

`supports_image_tool_message` and `supports_anthropic_inputs` stay off until tools can be bound: the
suite binds some in those tests. What they say about messages is tested in test_messages.py.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_llava import ChatLlava
from llava_tools.fetch import Fetcher

# The package's `load` is a function that hides the module of that name.
lc_load = importlib.import_module("langchain_core.load.load")

#: Where the suite's pictures lie.
_AWAY = "https://raw.githubusercontent.com"


class TestUnits(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatLlava

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "tiny"}

    @property
    def has_tool_calling(self) -> bool:
        return False

    @property
    def has_structured_output(self) -> bool:
        return False

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_urls(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return True

    @pytest.fixture(autouse=True)
    def _known_to_load(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Add the class to those that `load` calls "all".

        LangChain keeps that list for the partners in its own repository; everybody else's users
        pass `allowed_objects=[ChatLlava]`.
        """
        path = tuple(ChatLlava.lc_id())
        monkeypatch.setitem(lc_load.ALL_SERIALIZABLE_MAPPINGS, path, path)
        monkeypatch.setattr(lc_load, "_default_class_paths_cache", {})


class IntegrationTests(ChatModelIntegrationTests):
    """The flags; where the model comes from is the subclasses' matter."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatLlava

    @property
    def has_tool_calling(self) -> bool:
        return False

    @property
    def has_structured_output(self) -> bool:
        return False

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_urls(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return True

    @pytest.fixture(autouse=True)
    def _pictures_from_here(self, picture_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Serve the pictures that the suite would download from this machine."""
        get, fetch = httpx.get, Fetcher.get

        def get_here(url: str, **options: Any) -> httpx.Response:
            assert url.startswith(_AWAY)
            return get(url.replace(_AWAY, picture_server), **options)

        def fetch_here(fetcher: Fetcher, url: str) -> bytes:
            return fetch(fetcher, url.replace(_AWAY, picture_server))

        monkeypatch.setattr(httpx, "get", get_here)
        monkeypatch.setattr(Fetcher, "get", fetch_here)


class TestRandomWeights(IntegrationTests):
    """A real engine on a checkpoint that has learned nothing."""

    @pytest.fixture(autouse=True)
    def _checkpoint(self, checkpoint: Path) -> None:
        self.folder = str(checkpoint)

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": self.folder, "allowed_hosts": ["127.0.0.1"], "max_tokens": 8}

    @property
    def model_override_value(self) -> str:
        return self.folder
