"""`POST /api/generate`."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from llava_tools.core.constraints import Constraint
from llava_tools.core.requests import Message, Request
from llava_tools.errors import RequestError
from llava_tools.server.bodies import Items, read_body
from llava_tools.server.ollama.answer_writer import AnswerWriter, write_response
from llava_tools.server.ollama.generation_body import GenerationBody
from llava_tools.server.ollama.messages import open_images
from llava_tools.server.ollama.names import check_model
from llava_tools.server.ollama.responding import respond, respond_to_empty
from llava_tools.server.users import User

#: Fields that ask for what cannot be done here, and what to do instead.
_IMPOSSIBLE = {
    "suffix": "The model cannot insert text. Put what follows into the prompt.",
    "template": "Prompts are those that the model was trained on; set 'system' and 'prompt'.",
    "raw": "Prompts are those that the model was trained on; set 'system' and 'prompt'.",
    "context": "The server keeps no conversations. Send the earlier messages to /api/chat.",
}


class GenerateBody(GenerationBody):
    """The body of `POST /api/generate`."""

    prompt: str | None = None
    images: Items[str] | None = None
    system: str | None = None
    suffix: str | None = None
    template: str | None = None
    raw: bool | None = None
    context: Items[int] | None = None

    def check_possible(self) -> None:
        """Check that nothing is requested that cannot be done here.

        Raises:
            RequestError: Something is.
        """
        for name, hint in _IMPOSSIBLE.items():
            if getattr(self, name):
                raise RequestError(f"{name!r} is not supported.", hint)

    def to_request(self, user: User) -> Request:
        """Return the request, with its images opened.

        Raises:
            RequestError: An image that cannot be used.
        """
        images = open_images(self.images or (), user)
        system = (Message("system", (self.system,)),) if self.system else ()
        messages = (*system, Message("user", (*images, self.prompt or "")))
        return Request(messages, constraint=Constraint(schema=self.answer_schema))


async def generate(http: HttpRequest) -> Response:
    """Answer a prompt; without one, load or unload the model."""
    body = await read_body(http, GenerateBody)
    writer = AnswerWriter(body.model, write_response)
    check_model(http.app.state.service, body.model)
    body.check_thinking()
    body.check_possible()
    if not body.prompt:
        return await respond_to_empty(http, body, writer)
    request = await run_in_threadpool(body.to_request, http.state.user)
    return await respond(http, body, request, writer)


ROUTES = [Route("/api/generate", generate, methods=["POST"])]
