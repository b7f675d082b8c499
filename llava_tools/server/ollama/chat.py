"""`POST /api/chat`."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from llava_tools.chat.openai_schema import tool_spec
from llava_tools.core.constraints import Constraint
from llava_tools.core.requests import Request
from llava_tools.server.bodies import Items, Messages, read_body
from llava_tools.server.ollama.answer_writer import AnswerWriter, write_message
from llava_tools.server.ollama.generation_body import GenerationBody
from llava_tools.server.ollama.messages import ChatMessage, to_messages
from llava_tools.server.ollama.names import check_model
from llava_tools.server.ollama.responding import respond, respond_to_empty
from llava_tools.server.users import User


class ChatBody(GenerationBody):
    """The body of `POST /api/chat`."""

    messages: Messages[ChatMessage] | None = None
    tools: Items[dict[str, Any]] | None = None

    def to_request(self, user: User) -> Request:
        """Return the request, with its images opened.

        Raises:
            RequestError: A message, tool or image that is not possible.
        """
        tools = tuple(map(tool_spec, self.tools or ()))
        constraint = Constraint(tools, schema=self.answer_schema)
        return Request(to_messages(self.messages or (), user), constraint=constraint)


async def chat(http: HttpRequest) -> Response:
    """Answer a conversation; without messages, load or unload the model."""
    body = await read_body(http, ChatBody)
    writer = AnswerWriter(body.model, write_message)
    check_model(http.app.state.service, body.model)
    body.check_thinking()
    if not body.messages:
        return await respond_to_empty(http, body, writer)
    request = await run_in_threadpool(body.to_request, http.state.user)
    return await respond(http, body, request, writer)


ROUTES = [Route("/api/chat", chat, methods=["POST"])]
