"""LLaVA 1.5 on your own machine as a LangChain chat model, and its eye as embeddings.

    from langchain_llava import ChatLlava, LlavaEmbeddings
    ChatLlava().invoke("Hello")
    LlavaEmbeddings().embed_images(["a.png"])

Importing this package and making either loads neither torch nor a model; the first request does.
"""

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    from llava_tools.errors import MissingExtraError

    raise MissingExtraError("langchain-core", "langchain") from error

from langchain_llava.chat_models import ChatLlava
from langchain_llava.embeddings import LlavaEmbeddings

__all__ = ["ChatLlava", "LlavaEmbeddings"]
