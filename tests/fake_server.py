"""A fake chat completions server on loopback, with scripted answers and faults.

It renders the conversation with this project's chat template, counts 1 token a word and 576 an
image, and enforces grammars and schemas with llguidance if its kind does.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import uvicorn
from jinja2.sandbox import ImmutableSandboxedEnvironment
from llguidance import LLMatcher, LLTokenizer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from llava_tools.chat.formats import VICUNA_V1
from llava_tools.remote.chat_template import write_chat_template

TEMPLATE = write_chat_template(VICUNA_V1)
BYTES = LLTokenizer("byte")
VLLM_FIELDS = ("structured_outputs", "return_token_ids", "add_special_tokens", "top_k")

#: `vllm` supports everything. `xgrammar` is a vLLM whose grammars have no intersections, as with
#: xgrammar. `schemas` enforces `response_format` only. `minimal` ignores fields for constraints,
#: stop strings and log-probabilities. `strict` refuses fields that OpenAI's API does not have.
Kind = Literal["vllm", "xgrammar", "schemas", "minimal", "strict"]
Script = Callable[[dict[str, Any]], str] | Sequence[str]


class FakeServer:
    """A server on a free port, in a thread of its own.

    Args:
        script: As in `ScriptedBackend`, but called with the request's JSON.
        kind: See `Kind`.
        models: Names in its list of models; None for a server without a list.
        context_length: Tokens of prompt and answer.
        api_key: Required API key; None if it requires none.

    Attributes:
        requests: The JSON of each chat completion, except `RemoteBackend`'s probes.
        prompts: The rendered prompt of each of `requests`.
        faults: The next such request takes the first one: an HTTP status, "later" (429 with
            Retry-After), "html", "echo" (500 with some of the request's headers) or "silent"; or
            after two words "drop", "short", "noise", "error" or "hold".
        disconnected: Set when a client leaves a stream.
        waiting: Set when a stream waits forever ("silent", "hold").
        connections: Client ports of all chat completions.
        headers: The headers of every request, also for the list of models.
    """

    def __init__(
        self,
        script: Script = ("ok",),
        kind: Kind = "vllm",
        *,
        models: Sequence[str] | None = ("llava",),
        context_length: int = 4096,
        api_key: str | None = None,
    ) -> None:
        self.requests: list[dict[str, Any]] = []
        self.prompts: list[str] = []
        self.faults: list[int | str] = []
        self.disconnected = threading.Event()
        self.waiting = threading.Event()
        self.connections: set[int] = set()
        self.headers: list[dict[str, str]] = []
        self._script = script
        self._kind = kind
        self._vllm = kind in ("vllm", "xgrammar")
        self._models = models
        self._context_length = context_length
        self._api_key = api_key
        # As transformers renders chat templates, and with it vLLM.
        jinja = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        self._template = jinja.from_string(TEMPLATE)
        routes = [
            Route("/v1/models", self._list_models),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/tokenize", self._tokenize, methods=["POST"]),
        ]
        app = _as_proxy(Starlette(routes=routes))
        config = uvicorn.Config(app, log_level="critical", lifespan="off")
        self._server = uvicorn.Server(config)
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
        self._socket.close()

    async def _list_models(self, request: Request) -> Response:
        self.headers.append(dict(request.headers))
        if self._api_key and request.headers.get("authorization") != f"Bearer {self._api_key}":
            return _refusal(401, "Unauthorized")
        if self._models is None:
            return _refusal(404, "Not Found")
        details = {"owned_by": "vllm", "max_model_len": self._context_length} if self._vllm else {}
        models = [{"id": name, "object": "model", **details} for name in self._models]
        return JSONResponse({"object": "list", "data": models})

    async def _tokenize(self, request: Request) -> Response:
        if not self._vllm:
            return _refusal(404, "Not Found")
        words = (await request.json())["prompt"].split()
        return JSONResponse({"count": len(words), "tokens": list(range(len(words)))})

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        self.headers.append(dict(request.headers))
        assert request.client is not None
        self.connections.add(request.client.port)
        if self._kind == "strict" and any(name in body for name in VLLM_FIELDS):
            return _refusal(400, "Unknown parameter: structured_outputs")
        probing = body["messages"][0]["content"] == "Hello."
        fault = self.faults.pop(0) if self.faults and not probing else None
        if isinstance(fault, int):
            return _refusal(fault, "busy")
        if fault == "echo":
            names = ("x-trace", "authorization", "x-team")
            return _refusal(500, f"These failed: {[request.headers.get(name) for name in names]}")
        if fault == "later":
            return _refusal(429, "busy", {"retry-after": "7"})
        if fault == "html":
            return Response("<html>Welcome!</html>", media_type="text/html")
        prompt, tokens = self._render(body)
        limit = body.get("max_tokens") or self._context_length - tokens
        if tokens + limit > self._context_length or limit < 1:
            return _refusal(
                400,
                f"This model's maximum context length is {self._context_length} tokens. However, "
                f"you requested {tokens + limit} tokens. Please reduce the length of the messages.",
            )
        if not probing:
            self.requests.append(body)
            self.prompts.append(prompt)
        try:
            text = self._enforce(body, self._scripted_text(body, probing))
        except ValueError as error:
            return _refusal(400, f"Invalid grammar: {error}")
        for stop in body.get("stop", ()) if self._kind != "minimal" else ():
            text = text.split(stop)[0]
        if not body.get("stream"):
            return self._completion(body, text, tokens)
        return StreamingResponse(
            self._chunks(body, text, tokens, limit, fault), media_type="text/event-stream"
        )

    def _scripted_text(self, body: dict[str, Any], probing: bool) -> str:
        if probing:
            return "Hello to you"
        if callable(self._script):
            return self._script(body)
        return self._script[min(len(self.requests), len(self._script)) - 1]

    def _render(self, body: dict[str, Any]) -> tuple[str, int]:
        """Return the prompt and its number of tokens."""
        messages = body["messages"]
        begun = ""
        if body.get("continue_final_message"):
            messages, begun = messages[:-1], f" {messages[-1]['content']}"
        prompt = self._template.render(messages=messages, add_generation_prompt=True)
        words = re.sub("<image>|</s>", " ", prompt).split()
        images = sum(
            part["type"] == "image_url"
            for message in messages
            if isinstance(message["content"], list)
            for part in message["content"]
        )
        return prompt + begun, len(words) + 576 * images

    def _enforce(self, body: dict[str, Any], text: str) -> str:
        grammar = None
        options = body.get("structured_outputs", {}) if self._vllm else {}
        if "grammar" in options:
            if self._kind == "xgrammar" and " & " in options["grammar"]:
                raise ValueError("terminal intersection '&' is not supported")
            grammar = LLMatcher.grammar_from_lark(options["grammar"])
        elif "json" in options:
            grammar = LLMatcher.grammar_from_json_schema(json.dumps(options["json"]))
        elif "response_format" in body and self._kind != "minimal":
            schema = body["response_format"]["json_schema"]["schema"]
            grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema))
        return text if grammar is None else enforce(grammar, text)

    def _completion(self, body: dict[str, Any], text: str, tokens: int) -> Response:
        answer: dict[str, Any] = {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": text},
                }
            ],
            "usage": {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1},
        }
        if body.get("logprobs") and self._kind != "minimal":
            entry = {"token": text, "logprob": 0.0, "bytes": None, "top_logprobs": []}
            answer["choices"][0]["logprobs"] = {"content": [entry]}
        if self._vllm and body.get("return_token_ids"):
            answer["prompt_token_ids"] = list(range(tokens))
        if self._vllm and "prompt_logprobs" in body:
            label = body["messages"][-1]["content"].removesuffix("</s>").split()
            entries = [
                {"7": {"logprob": -len(word) / 4, "rank": 1, "decoded_token": word}}
                for word in [*label, "</s>"]
            ]
            answer["prompt_logprobs"] = [None, *[{"5": {}}] * (tokens - 1), *entries]
        return JSONResponse(answer)

    async def _chunks(
        self, body: dict[str, Any], text: str, tokens: int, limit: int, fault: Any
    ) -> AsyncIterator[str]:
        words = [word if i == 0 else f" {word}" for i, word in enumerate(text.split(" "))]
        finish = "length" if len(words) > limit else "stop"
        words = words[:limit]
        minimal = self._kind == "minimal"
        try:
            if fault == "silent":
                await self._wait_forever()
            yield _chunk({"role": "assistant", "content": ""})
            for number, word in enumerate(words):
                if number == 2 and fault == "hold":
                    await self._wait_forever()
                if number == 2 and fault == "drop":
                    raise ConnectionError
                if number == 2 and fault == "short":
                    return
                if number == 2 and fault == "noise":
                    yield "data: {garbage\n\n"
                if number == 2 and fault == "error":
                    yield 'data: {"error": {"message": "out of memory", "code": 500}}\n\n'
                extra: dict[str, Any] = {}
                if body.get("return_token_ids") and not minimal:
                    extra["token_ids"] = [number]
                if body.get("logprobs") and not minimal:
                    entry = {"token": word, "logprob": 0.0, "bytes": None, "top_logprobs": []}
                    extra["logprobs"] = {"content": [entry]}
                yield _chunk({"content": word}, **extra)
            yield _chunk({}, finish_reason=finish)
            usage = {"prompt_tokens": tokens, "completion_tokens": len(words)}
            usage["total_tokens"] = tokens + len(words)
            yield f"data: {json.dumps({'id': 'x', 'choices': [], 'usage': usage})}\n\n"
            yield "data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.disconnected.set()
            raise

    async def _wait_forever(self) -> None:
        self.waiting.set()
        await asyncio.Event().wait()


def enforce(grammar: str, text: str) -> str:
    """Return the text if the grammar accepts it, else a short text that it accepts.

    Raises:
        ValueError: llguidance refuses the grammar.
    """
    matcher = LLMatcher(BYTES, grammar, log_level=0)
    if matcher.is_error():
        raise ValueError(matcher.get_error())
    copy, ids = matcher.deep_copy(), list(text.encode())
    if copy.try_consume_tokens(ids) == len(ids) and copy.is_accepting():
        return text
    generated: list[int] = []
    while not matcher.is_accepting() and len(generated) < 1000:
        bits = matcher.compute_bitmask()
        generated.append(next(i for i in [*range(33, 256), 32] if bits[i // 8] >> i % 8 & 1))
        matcher.consume_token(generated[-1])
    return bytes(generated).decode(errors="replace")


def _chunk(delta: dict[str, Any], **extra: Any) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": None, "logprobs": None, **extra}
    return f"data: {json.dumps({'id': 'x', 'model': 'llava', 'choices': [choice]})}\n\n"


def _as_proxy(app: ASGIApp) -> ASGIApp:
    """Return an app that also answers what is sent to a proxy, whose paths are whole URLs."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "path": urlsplit(scope["path"]).path}, receive, send)

    return answer


def _refusal(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    error = {"error": {"message": message, "code": status}}
    return JSONResponse(error, status_code=status, headers=headers)
