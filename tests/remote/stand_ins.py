"""Stand-ins for llama.cpp's server and for Ollama, with what sets them apart from other servers.

llama.cpp's was compared with a real `llama-server` of August 2026 (build 10434); Ollama's follows
its documentation and the source of its OpenAI-compatible API.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.fake_server import FakeServer


class LlamaCppServer(FakeServer):
    """llama.cpp's server: enforces `response_format` and knows no grammar in Lark."""

    def __init__(self, *texts: str, context_length: int = 1024) -> None:
        super().__init__(texts, "schemas", models=("tiny.gguf",), context_length=context_length)

    async def _list_models(self, request: Request) -> Response:
        meta = {"n_ctx": self._context_length, "n_ctx_train": 2048, "n_vocab": 1536}
        entry = {"id": "tiny.gguf", "object": "model", "owned_by": "llamacpp", "meta": meta}
        return JSONResponse({"models": [{"name": "tiny.gguf"}], "object": "list", "data": [entry]})

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        if body.get("repeat_last_n", 0) < 0:
            message = "Field 'repeat_last_n': Value must be between 0 <= value <= 2147483647"
            error = {"code": 400, "message": message, "type": "invalid_request_error"}
            return JSONResponse({"error": error}, status_code=400)
        return await super()._chat(request)

    def _render(self, body: dict[str, Any]) -> tuple[str, int]:
        """Put markers of images into the texts, before the chat template can write anything."""
        flat = [{**m, "content": _flattened(m["content"])} for m in body["messages"]]
        return super()._render({**body, "messages": flat})

    async def _chunks(
        self, body: dict[str, Any], text: str, tokens: int, limit: int, fault: Any
    ) -> AsyncIterator[str]:
        if not body.get("top_logprobs"):  # none for none
            body = {**body, "logprobs": False}
        async for chunk in super()._chunks(body, text, tokens, limit, fault):
            yield chunk


def _flattened(content: str | list[dict[str, Any]]) -> str:
    """Return the text of a message: two texts are joined by a line feed, images by nothing."""
    if isinstance(content, str):
        return content
    text, after_text = "", False
    for part in content:
        is_text = part["type"] == "text"
        text += "\n" if is_text and after_text else ""
        text += part["text"] if is_text else "<image>"
        after_text = is_text
    return text


class OllamaServer(FakeServer):
    """Ollama: names with tags, no log-probabilities, a role in every delta, usage only if wanted.

    What its chat completions do not have, like `top_k` or a grammar, it passes over.
    """

    def __init__(self, *texts: str) -> None:
        super().__init__(texts, "schemas", models=("llava:latest", "bakllava:7b"))

    async def _list_models(self, request: Request) -> Response:
        self.headers.append(dict(request.headers))
        assert self._models is not None
        models = [
            {"id": name, "object": "model", "created": 1, "owned_by": "library"}
            for name in self._models
        ]
        return JSONResponse({"object": "list", "data": models})

    async def _chat(self, request: Request) -> Response:
        name = (await request.json())["model"]
        if name not in ("llava", "llava:latest", "bakllava:7b"):
            error = {"message": f"model '{name}' not found", "type": "not_found_error"}
            return JSONResponse({"error": {**error, "param": None, "code": None}}, status_code=404)
        return await super()._chat(request)

    def _completion(self, body: dict[str, Any], text: str, tokens: int) -> Response:
        return super()._completion({**body, "logprobs": False}, text, tokens)

    async def _chunks(
        self, body: dict[str, Any], text: str, tokens: int, limit: int, fault: Any
    ) -> AsyncIterator[str]:
        unknown = {"logprobs": False, "return_token_ids": False}
        async for line in super()._chunks({**body, **unknown}, text, tokens, limit, fault):
            if not line.startswith("data: {"):
                yield line
                continue
            chunk = json.loads(line.removeprefix("data: "))
            chunk |= {"object": "chat.completion.chunk", "system_fingerprint": "fp_ollama"}
            for choice in chunk["choices"]:
                choice.pop("logprobs")
                choice["delta"] = {"role": "assistant", "content": "", **choice["delta"]}
            yield f"data: {json.dumps(chunk)}\n\n"
