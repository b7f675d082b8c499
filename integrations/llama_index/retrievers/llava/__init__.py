"""Pages of an index of documents, as a LlamaIndex retriever.

from llama_index.retrievers.llava import LlavaPageRetriever
LlavaPageRetriever("my-index").retrieve("how to descale the machine")
"""

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    from llava_tools.errors import MissingExtraError

    raise MissingExtraError("llama-index-core", "llama-index") from error

from llama_index.retrievers.llava.base import LlavaPageRetriever

__all__ = ["LlavaPageRetriever"]
