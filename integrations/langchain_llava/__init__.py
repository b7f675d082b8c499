"""LLaVA 1.5 for LangChain, on your own machine: a chat model, embeddings, pages and visual tools.

    from langchain_llava import ChatLlava, LlavaEmbeddings, LlavaPageRetriever
    ChatLlava().invoke("Hello")
    LlavaEmbeddings().embed_images(["a.png"])
    LlavaPageRetriever(index="my-index").invoke("how to descale the machine")

Importing this package and making its objects loads neither torch nor a model; the first request
does.
"""

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    from llava_tools.errors import MissingExtraError

    raise MissingExtraError("langchain-core", "langchain") from error

from langchain_llava.chat_models import ChatLlava
from langchain_llava.embeddings import LlavaEmbeddings
from langchain_llava.image_blocks import image_block, with_handles, with_inline_images
from langchain_llava.pages import LlavaPageLoader, LlavaPageRetriever
from langchain_llava.selector import LlavaSelector
from langchain_llava.toolkit import LlavaToolkit
from llava_tools import __version__

__all__ = [
    "ChatLlava",
    "LlavaEmbeddings",
    "LlavaPageLoader",
    "LlavaPageRetriever",
    "LlavaSelector",
    "LlavaToolkit",
    "__version__",
    "image_block",
    "with_handles",
    "with_inline_images",
]
