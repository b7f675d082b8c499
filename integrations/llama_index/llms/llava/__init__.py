"""LLaVA 1.5 on your own machine as a LlamaIndex LLM that sees images and calls tools.

    from llama_index.llms.llava import Llava
    Llava().complete("Hello")

Importing this package or constructing a `Llava` loads neither torch nor a model; the first request
does.
"""

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    from llava_tools.errors import MissingExtraError

    raise MissingExtraError("llama-index-core", "llama-index") from error

from llama_index.llms.llava.base import Llava
from llama_index.llms.llava.image_handles import image_block, with_handles, with_inline_images
from llama_index.llms.llava.memory import LlavaMemory

__all__ = ["Llava", "LlavaMemory", "image_block", "with_handles", "with_inline_images"]
