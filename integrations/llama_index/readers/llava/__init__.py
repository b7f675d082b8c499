"""Pages of PDFs and images for LlamaIndex.

from llama_index.readers.llava import LlavaPageReader
LlavaPageReader().load_data("manuals/")
"""

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    from llava_tools.errors import MissingExtraError

    raise MissingExtraError("llama-index-core", "llama-index") from error

from llama_index.readers.llava.base import LlavaPageReader

__all__ = ["LlavaPageReader"]
