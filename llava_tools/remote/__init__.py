"""The same seam over HTTP: vLLM, and other servers that speak OpenAI's chat completions.

A `Request` becomes messages of the very conversation that the engine would be given (wire.py), its
images small data URLs (images.py), its constraint a grammar or a schema where the server was
seen to obey one (enforcement.py). What comes back is read and checked like any other answer by
`llava_tools.structured.parser`. The server's own chat template renders the messages: vicuna_v1.jinja in this
folder makes it the conversation that LLaVA was trained on. Nothing here is imported before a
`base_url` is asked for.
"""

from __future__ import annotations

import os

from llava_tools.errors import MissingExtraError
from llava_tools.options import EngineOptions

try:
    from llava_tools.remote.backend import RemoteBackend
except ModuleNotFoundError as error:
    if error.name != "openai":
        raise
    raise MissingExtraError("openai", "remote") from error

__all__ = ["RemoteBackend", "connect"]


def connect(options: EngineOptions) -> RemoteBackend:
    """Return the engine behind `options.base_url`, once its server has answered.

    Raises:
        ModelNotFoundError: The server has no such model.
        ModelError: It wants another `api_key`.
        ServerError: It cannot be reached, or answers what no such server would.
    """
    assert options.base_url is not None
    return RemoteBackend(
        options.base_url,
        model=None if options.model == "tiny" else options.source,
        api_key=options.api_key or os.environ.get("LLAVA_API_KEY"),
        context_length=options.context_length,
        max_concurrent_requests=options.max_concurrent_requests,
    )
