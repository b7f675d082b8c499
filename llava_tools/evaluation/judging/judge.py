"""`ServerJudge`: a judge behind any OpenAI-compatible server."""

from __future__ import annotations

import os
from collections.abc import Coroutine
from contextlib import closing
from typing import Any, Self, TypeVar

from llava_tools.core.unicode import well_formed
from llava_tools.errors import ModelError
from llava_tools.options import EngineOptions
from llava_tools.remote.client import READ_TIMEOUT, Client
from llava_tools.remote.credentials import Connection
from llava_tools.remote.model_selection import select_model
from llava_tools.remote.protocol import answer_text

_T = TypeVar("_T")

#: The environment variable with the key of the judge's server. The model's server has its own,
#: so that neither gets the other's.
KEY_VARIABLE = "LLAVA_JUDGE_API_KEY"
#: Seconds between attempts. Longer than for answers, since limits are often counted by the minute.
_RETRY_DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
#: How often the models are looked up again at the start.
_LOOKUP_RETRIES = 3
_MAX_CONCURRENT_REQUESTS = 8


class ServerJudge:
    """A judge behind an OpenAI-compatible server. Construction looks the model up on the server.

    Implements `llava_tools.evaluation.task.Judge`. Requests that meet a busy or failing server are
    sent again, redirects are not followed, and the length of what is read is bounded.

    Args:
        url: Base URL of the API; usually ends in `/v1`.
        model: The server's name for the model; None if it serves only one.
        api_key: For servers that require one; None takes that of `KEY_VARIABLE`.
        max_concurrent_requests: How many prompts are sent at once; >= 1.
        retry_delays: Seconds before each further attempt.

    Attributes:
        model: The server's name for the model.
        max_concurrent_requests: See above.

    Raises:
        RequestError: The URL is not possible.
        ModelNotFoundError: The server has no such model, or several and none is chosen.
        ModelError: The server rejects the API key.
        ServerError: The server cannot be reached, or does not speak this API.
        MissingExtraError: httpx is not installed.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        api_key: str | None = None,
        max_concurrent_requests: int = _MAX_CONCURRENT_REQUESTS,
        retry_delays: tuple[float, ...] = _RETRY_DELAYS,
    ) -> None:
        options = EngineOptions(base_url=url, max_concurrent_requests=max_concurrent_requests)
        assert options.base_url is not None
        base_url = options.base_url
        key = api_key or os.environ.get(KEY_VARIABLE)
        self.max_concurrent_requests = max_concurrent_requests

        def connect(delays: tuple[float, ...]) -> Client:
            return Client(
                base_url,
                key,
                delays,
                Connection(options.default_headers or {}),
                read_timeout=READ_TIMEOUT,
                answer_timeout=READ_TIMEOUT,
            )

        # A server that is not there at the start is an error soon: nothing waits for it yet.
        with closing(connect(retry_delays[:_LOOKUP_RETRIES])) as client:
            models = _run(client, client.list_models())
            self.model, _ = select_model(models, model, client.url)
        self._client = connect(retry_delays)

    def reply(
        self, prompt: str, *, system: str = "", max_tokens: int = 1024, temperature: float = 0.0
    ) -> str:
        """See `llava_tools.evaluation.task.Judge.reply`.

        Raises:
            EngineError: The server failed after all retries, or this judge is closed.
            RequestError: It refuses the prompt.
        """
        messages: list[dict[str, Any]] = [{"role": "user", "content": prompt}]
        if system:
            messages.insert(0, {"role": "system", "content": system})
        completion = self._client.complete(
            self.model, messages, max_tokens=max_tokens, temperature=temperature
        )
        text = well_formed(answer_text(_run(self._client, completion)))
        # A server may repeat what it was sent, and replies are kept in files.
        return self._client.without_secrets(text)

    def close(self) -> None:
        """Fail the requests in flight and close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _run(client: Client, task: Coroutine[Any, Any, _T]) -> _T:
    try:
        return client.run(task)
    except ModelError as error:
        if "LLAVA_API_KEY" not in error.hint:  # the variable of the model's server
            raise
        raise ModelError(error.message, f"Set another {KEY_VARIABLE}.") from error
