"""The backend interface over HTTP: vLLM and other servers of OpenAI's chat completions API.

A `Request` becomes chat messages (protocol.py) with images as small data URLs (image_encoding.py)
and its constraint as a grammar or JSON schema that this server enforces (constraint_encoding.py).
`llava_tools.structured` parses and validates the answer, as for every backend. The server
renders the messages with its own chat template; chat_template.py writes one that gives the
conversation format that a model was trained on. This package is imported only if `base_url` is set.
"""

from __future__ import annotations

import os
from pathlib import Path

from llava_tools.chat.formats import FORMATS
from llava_tools.errors import MissingExtraError
from llava_tools.options import EngineOptions

try:
    from llava_tools.remote.backend import RemoteBackend
    from llava_tools.remote.credentials import Connection
except ModuleNotFoundError as error:
    if error.name != "httpx":
        raise
    raise MissingExtraError("httpx", "remote") from error

__all__ = ["RemoteBackend", "connect"]


def connect(options: EngineOptions) -> RemoteBackend:
    """Return a backend for `options.base_url`; see `RemoteBackend` for its errors."""
    assert options.base_url is not None
    return RemoteBackend(
        options.base_url,
        model=None if options.model == "tiny" else options.source,
        api_key=options.api_key or os.environ.get("LLAVA_API_KEY"),
        context_length=options.context_length,
        max_concurrent_requests=options.max_concurrent_requests,
        conversation=FORMATS[options.conversation or "vicuna_v1"],
        calibration=None if options.calibration is None else Path(options.calibration),
        connection=Connection(
            options.default_headers or {},
            options.extra_body or {},
            options.proxy,
            options.http_async_client,
        ),
    )
