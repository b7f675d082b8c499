"""A stand-in for servers that speak chat completions: on loopback, scripted, and faulty on demand.

It renders the conversation with this project's chat template, counts a word as a token and a
image as 576, and truly enforces grammars and schemas with llguidance where its kind does.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import uvicorn
from jinja2.sandbox import ImmutableSandboxedEnvironment
from llguidance import LLMatcher, LLTokenizer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import llava_tools

TEMPLATE = Path(llava_tools.__file__).parent / "remote" / "vicuna_v1.jinja"
BYTES = LLTokenizer("byte")

#: `vllm` does everything; `xgrammar` is a vLLM whose grammars know no intersections, as xgrammar's
#: do not; `schemas` obeys `response_format` only, `deaf` ignores whatever is not plain text, as
#: some servers do; `strict` refuses fields that OpenAI's API does not have.
Kind = Literal["vllm", "xgrammar", "schemas", "deaf", "strict"]
Script = Callable[[dict[str, Any]], str] | Sequence[str]


class FakeServer:
    """One server on a port of its own, in a thread.

    Args:
        script: As in `ScriptedBackend`, but called with the request's JSON.
        kind: See `Kind`.
        models: Names that it lists; None for a server without a list.
        context: Tokens of prompt and answer.
        api_key: What it wants to be told, if anything.

    Attributes:
        requests: The JSON of every chat completion but the questions about the server itself.
        prompts: The same as rendered text.
        faults: Taken one for each such request: a status, or "later", "drop", "short", "html",
            "noise", "error", "silent", "hold" (after two words).
        gone: Set when a client left a stream.
        held: Set when a stream waits.
        connections: Ports that requests came from.
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
        self.gone = threading.Event()
        self.held = threading.Event()
        self.connections: set[int] = set()
        self._script = script
        self._kind = kind
        self._vllm = kind in ("vllm", "xgrammar")
        self._models = models
        self._context = context_length
        self._api_key = api_key
        # As transformers renders chat templates, and with it vLLM.
        jinja = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        self._template = jinja.from_string(TEMPLATE.read_text())
        routes = [
            Route("/v1/models", self._list),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/tokenize", self._tokenize, methods=["POST"]),
        ]
        config = uvicorn.Config(Starlette(routes=routes), log_level="critical", lifespan="off")
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

    # ---- what it answers ------------------------------------------------------------------------

    async def _list(self, request: Request) -> Response:
        if self._api_key and request.headers.get("authorization") != f"Bearer {self._api_key}":
            return _refusal(401, "Unauthorized")
        if self._models is None:
            return _refusal(404, "Not Found")
        own = {"owned_by": "vllm", "max_model_len": self._context} if self._vllm else {}
        return JSONResponse(
            {
                "object": "list",
                "data": [{"id": name, "object": "model", **own} for name in self._models],
            }
        )

    async def _tokenize(self, request: Request) -> Response:
        if not self._vllm:
            return _refusal(404, "Not Found")
        words = (await request.json())["prompt"].split()
        return JSONResponse({"count": len(words), "tokens": list(range(len(words)))})

    async def _chat(self, request: Request) -> Response:
        asked = await request.json()
        assert request.client is not None
        self.connections.add(request.client.port)
        own = ("structured_outputs", "return_token_ids", "add_special_tokens", "top_k")
        if self._kind == "strict" and any(name in asked for name in own):
            return _refusal(400, "Unknown parameter: structured_outputs")
        probing = asked["messages"][0]["content"] == "Hello."
        fault = self.faults.pop(0) if self.faults and not probing else None
        if isinstance(fault, int):
            return _refusal(fault, "busy")
        if fault == "later":
            return _refusal(429, "busy", {"retry-after": "7"})
        if fault == "html":
            return Response("<html>Welcome!</html>", media_type="text/html")
        prompt, tokens = self._rendered(asked)
        limit = asked.get("max_tokens") or self._context - tokens
        if tokens + limit > self._context or limit < 1:
            return _refusal(
                400,
                f"This model's maximum context length is {self._context} tokens. However, you "
                f"requested {tokens + limit} tokens. Please reduce the length of the messages.",
            )
        if not probing:
            self.requests.append(asked)
            self.prompts.append(prompt)
        try:
            text = self._enforced(asked, self._said(asked, probing))
        except ValueError as error:
            return _refusal(400, f"Invalid grammar: {error}")
        for stop in asked.get("stop", ()) if self._kind != "deaf" else ():
            text = text.split(stop)[0]
        if not asked.get("stream"):
            return self._whole(asked, text, tokens)
        return StreamingResponse(
            self._pieces(asked, text, tokens, limit, fault), media_type="text/event-stream"
        )

    def _said(self, asked: dict[str, Any], probing: bool) -> str:
        if probing:
            return "Hello to you"
        if callable(self._script):
            return self._script(asked)
        return self._script[min(len(self.requests), len(self._script)) - 1]

    def _rendered(self, asked: dict[str, Any]) -> tuple[str, int]:
        """Return the prompt and its tokens."""
        parts = asked["messages"]
        last = ""
        if asked.get("continue_final_message"):
            parts, last = parts[:-1], f" {parts[-1]['content']}"
        prompt = self._template.render(messages=parts, add_generation_prompt=True)
        words = re.sub("<image>|</s>", " ", prompt).split()
        images = sum(
            part["type"] == "image_url"
            for message in parts
            if isinstance(message["content"], list)
            for part in message["content"]
        )
        return prompt + last, len(words) + 576 * images

    def _enforced(self, asked: dict[str, Any], text: str) -> str:
        grammar = None
        wanted = asked.get("structured_outputs", {}) if self._vllm else {}
        if "grammar" in wanted:
            if self._kind == "xgrammar" and " & " in wanted["grammar"]:
                raise ValueError("terminal intersection '&' is not supported")
            grammar = LLMatcher.grammar_from_lark(wanted["grammar"])
        elif "json" in wanted:
            grammar = LLMatcher.grammar_from_json_schema(json.dumps(wanted["json"]))
        elif "response_format" in asked and self._kind != "deaf":
            schema = asked["response_format"]["json_schema"]["schema"]
            grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema))
        return text if grammar is None else enforced(grammar, text)

    def _whole(self, asked: dict[str, Any], text: str, tokens: int) -> Response:
        answer: dict[str, Any] = {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": asked["model"],
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": text},
                }
            ],
            "usage": {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1},
        }
        if self._vllm and asked.get("return_token_ids"):
            answer["prompt_token_ids"] = list(range(tokens))
        if self._vllm and "prompt_logprobs" in asked:
            label = asked["messages"][-1]["content"].removesuffix("</s>").split()
            entries = [
                {"7": {"logprob": -len(word) / 4, "rank": 1, "decoded_token": word}}
                for word in [*label, "</s>"]
            ]
            answer["prompt_logprobs"] = [None, *[{"5": {}}] * (tokens - 1), *entries]
        return JSONResponse(answer)

    async def _pieces(
        self, asked: dict[str, Any], text: str, tokens: int, limit: int, fault: Any
    ) -> AsyncIterator[str]:
        words = [word if i == 0 else f" {word}" for i, word in enumerate(text.split(" "))]
        finish = "length" if len(words) > limit else "stop"
        words = words[:limit]
        plain = self._kind == "deaf"
        try:
            if fault == "silent":
                await self._forever()
            yield _chunk({"role": "assistant", "content": ""})
            for number, word in enumerate(words):
                if number == 2 and fault == "hold":
                    await self._forever()
                if number == 2 and fault == "drop":
                    raise ConnectionError
                if number == 2 and fault == "short":
                    return
                if number == 2 and fault == "noise":
                    yield "data: {garbage\n\n"
                if number == 2 and fault == "error":
                    yield 'data: {"error": {"message": "out of memory", "code": 500}}\n\n'
                more: dict[str, Any] = {}
                if asked.get("return_token_ids") and not plain:
                    more["token_ids"] = [number]
                if asked.get("logprobs") and not plain:
                    entry = {"token": word, "logprob": 0.0, "bytes": None, "top_logprobs": []}
                    more["logprobs"] = {"content": [entry]}
                yield _chunk({"content": word}, **more)
            yield _chunk({}, finish_reason=finish)
            used = {"prompt_tokens": tokens, "completion_tokens": len(words)}
            told = {**used, "total_tokens": tokens + len(words)}
            yield f"data: {json.dumps({'id': 'x', 'choices': [], 'usage': told})}\n\n"
            yield "data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.gone.set()
            raise

    async def _forever(self) -> None:
        self.held.set()
        await asyncio.Event().wait()


def enforced(grammar: str, text: str) -> str:
    """Return the text if the grammar allows it, else the first that it does.

    Raises:
        ValueError: llguidance refuses the grammar.
    """
    matcher = LLMatcher(BYTES, grammar, log_level=0)
    if matcher.is_error():
        raise ValueError(matcher.get_error())
    own, ids = matcher.deep_copy(), list(text.encode())
    if own.try_consume_tokens(ids) == len(ids) and own.is_accepting():
        return text
    said: list[int] = []
    while not matcher.is_accepting() and len(said) < 1000:
        bits = matcher.compute_bitmask()
        said.append(next(i for i in [*range(33, 256), 32] if bits[i // 8] >> i % 8 & 1))
        matcher.consume_token(said[-1])
    return bytes(said).decode(errors="replace")


def _chunk(delta: dict[str, Any], **more: Any) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": None, "logprobs": None, **more}
    return f"data: {json.dumps({'id': 'x', 'model': 'llava', 'choices': [choice]})}\n\n"


def _refusal(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    told = {"error": {"message": message, "code": status}}
    return JSONResponse(told, status_code=status, headers=headers)
