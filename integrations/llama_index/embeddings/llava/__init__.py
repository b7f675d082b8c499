"""LLaVA's CLIP as a LlamaIndex embedding model of texts and images.

    from llama_index.embeddings.llava import LlavaEmbedding
    LlavaEmbedding().get_query_embedding("a red star")

Importing this package or constructing a `LlavaEmbedding` loads neither torch nor a model; the first
text or image does.
"""

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    from llava_tools.errors import MissingExtraError

    raise MissingExtraError("llama-index-core", "llama-index") from error

from llama_index.embeddings.llava.base import LlavaEmbedding

__all__ = ["LlavaEmbedding"]
