"""Visual tools for LlamaIndex agents, from `llava_tools.tools`.

from llama_index.tools.llava import LlavaToolSpec
LlavaToolSpec().to_tool_list()
"""

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    from llava_tools.errors import MissingExtraError

    raise MissingExtraError("llama-index-core", "llama-index") from error

from llama_index.tools.llava.base import LlavaToolSpec

__all__ = ["LlavaToolSpec"]
