"""`POST /tokenize`, as in vLLM: token ids of a text, or the number of tokens of a conversation."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llava_tools.server.bodies import Messages, read_body
from llava_tools.server.generation import count_tokens, run, token_ids
from llava_tools.server.openai.chat_body import HARMLESS, ConversationBody
from llava_tools.server.openai.messages import ChatMessage
from llava_tools.server.service import Service


class TokenizeBody(ConversationBody):
    """The body of `POST /tokenize`: a text (`prompt`), or a conversation."""

    ignored: ClassVar[frozenset[str]] = HARMLESS | {"content"}

    prompt: str | None = None
    messages: Messages[ChatMessage] = Field(default_factory=list)
    add_special_tokens: Literal[False, None] = None
    add_generation_prompt: Literal[True, None] = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.prompt is None) == (not self.messages):
            raise ValueError("either prompt or messages must be set")
        return self


async def tokenize(http: HttpRequest) -> Response:
    """Return the ids of a text; of a conversation, whose images have no ids, only the count."""
    service: Service = http.app.state.service
    user = http.state.user
    body = await read_body(http, TokenizeBody)
    if body.model is not None:
        service.check_model(body.model)
    tokens: list[int] | None = None
    if (prompt := body.prompt) is not None:
        tokens = await run(service, user, lambda: token_ids(service, prompt))
        count = len(tokens)
    else:
        request = await run_in_threadpool(body.to_request, user)
        count = await run(service, user, lambda: count_tokens(service, request))
    return JSONResponse({"count": count, "max_model_len": service.context_length, "tokens": tokens})


ROUTES = [Route("/tokenize", tokenize, methods=["POST"])]
