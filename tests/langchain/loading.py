"""The arguments with which LangChain loads a serialized `ChatLlava`."""

from __future__ import annotations

import inspect
from typing import Any

from langchain_core.load import loads

from langchain_llava import ChatLlava

LOADING: dict[str, Any] = {"valid_namespaces": ["langchain_llava"]}
if "allowed_objects" in inspect.signature(loads).parameters:  # langchain-core from 1.2.5 on
    LOADING["allowed_objects"] = [ChatLlava]
