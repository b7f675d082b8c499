"""LLaVA 1.5 on your own machine as a LangChain chat model.

    from langchain_llava import ChatLlava
    ChatLlava().invoke("Hello")

Importing this package and making a `ChatLlava` load neither torch nor a model; the first request
does.
"""

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    from llava_tools.errors import MissingExtraError

    raise MissingExtraError("langchain-core", "langchain") from error

from langchain_llava.chat_models import ChatLlava
from langchain_llava.pictures import image_block, with_handles

__all__ = ["ChatLlava", "image_block", "with_handles"]
