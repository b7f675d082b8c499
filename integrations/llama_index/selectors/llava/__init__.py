"""Selectors that always return one of the options, or several.

from llama_index.selectors.llava import LlavaSingleSelector
RouterQueryEngine(selector=LlavaSingleSelector(), query_engine_tools=[...])
"""

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    from llava_tools.errors import MissingExtraError

    raise MissingExtraError("llama-index-core", "llama-index") from error

from llama_index.selectors.llava.base import (
    LlavaMultiSelector,
    LlavaSelection,
    LlavaSingleSelector,
)
from llama_index.selectors.llava.tool_retriever import LlavaToolRetriever

__all__ = ["LlavaMultiSelector", "LlavaSelection", "LlavaSingleSelector", "LlavaToolRetriever"]
