"""`POST /v1/embeddings`: texts and images as vectors of one space.

OpenAI's form has texts as `input`. Images come as Jina's objects (`{"image": …}`), as content parts
in `input` (`{"type": "image_url", …}`), or as vLLM's `messages`, which are one input.
"""

from __future__ import annotations

import array
import base64
import sys
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from llava_tools.images import ImageRef
from llava_tools.images.ref import is_handle
from llava_tools.server.bodies import Body, Items, read_body
from llava_tools.server.errors import InvalidFieldError
from llava_tools.server.generation import check_image_count, run
from llava_tools.server.openai.messages import ImageBlock, TextBlock, UserMessage, to_content
from llava_tools.server.service import Service
from llava_tools.server.users import User

#: Most inputs of a request, as in OpenAI's API.
MAX_INPUTS = 2048


class TextInput(Body):
    """A text in Jina's form."""

    text: str


class ImageInput(Body):
    """An image in Jina's form: a data URL, a handle, base64, or where allowed a link."""

    image: str


Input = str | TextInput | ImageInput | TextBlock | ImageBlock


class EmbeddingsBody(Body):
    """The body of `POST /v1/embeddings`."""

    ignored: ClassVar[frozenset[str]] = frozenset({"user"})

    model: str | None = None
    input: str | Items[Input] | Items[int] | Items[Items[int]] | None = None
    messages: Items[UserMessage] | None = Field(None, min_length=1, max_length=1)
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.input is None) == (self.messages is None):
            raise ValueError("either input or messages must be set")
        return self

    def to_items(self, user: User) -> list[str | ImageRef]:
        """Return the texts and images to embed.

        Raises:
            ImageError: An image is not allowed or not usable.
            RequestError: There is nothing that can be embedded.
        """
        if self.messages is not None:
            parts = to_content(self.messages[0].content, user)
            if len(parts) != 1:
                raise InvalidFieldError(
                    f"The message has {len(parts)} parts; a vector is of one text or one image.",
                    "Send one part, or several inputs.",
                    "messages",
                )
            return list(parts)
        inputs = [self.input] if isinstance(self.input, str) else self.input or []
        if not 1 <= len(inputs) <= MAX_INPUTS:
            raise InvalidFieldError(
                f"input has {len(inputs)} items.", f"Send 1 to {MAX_INPUTS}.", "input"
            )
        return [_item(item, user) for item in inputs]


def _item(item: Input | int | list[int], user: User) -> str | ImageRef:
    match item:
        case str():
            return item
        case TextInput() | TextBlock():
            return item.text
        case ImageInput(image=source):
            named = ":" in source[:10] or is_handle(source)
            return user.open_image(source if named else f"data:image/*;base64,{source}")
        case ImageBlock():
            return item.open(user)
        case _:
            raise InvalidFieldError("input holds token ids.", "Send texts, not tokens.", "input")


async def create_embeddings(http: HttpRequest) -> Response:
    """Embed texts and images."""
    service: Service = http.app.state.service
    user = http.state.user
    body = await read_body(http, EmbeddingsBody)
    items = await run_in_threadpool(body.to_items, user)
    images = sum(isinstance(item, ImageRef) for item in items)
    check_image_count(images, service.options.max_images)
    vectors = await run(service, user, lambda: _embed(service, body, items))
    write = _write_base64 if body.encoding_format == "base64" else list
    data = [
        {"object": "embedding", "index": index, "embedding": write(vector)}
        for index, vector in enumerate(vectors)
    ]
    return JSONResponse(
        {
            "object": "list",
            "model": service.embedder.model_name,
            "data": data,
            "usage": {"prompt_tokens": 0, "total_tokens": 0},
        }
    )


def _embed(
    service: Service, body: EmbeddingsBody, items: Sequence[str | ImageRef]
) -> list[list[float]]:
    """Return a vector for each text and image, after checks that need the model."""
    embedder = service.embedder
    if body.model not in (None, embedder.model_name):
        service.check_model(body.model)
    if body.dimensions not in (None, embedder.dimensions):
        raise InvalidFieldError(
            f"dimensions={body.dimensions} is not possible.",
            f"Vectors of {embedder.model_name} have {embedder.dimensions}.",
            "dimensions",
        )
    texts = [item for item in items if isinstance(item, str)]
    images = [item for item in items if isinstance(item, ImageRef)]
    of_texts = iter(embedder.embed_texts(texts) if texts else ())
    of_images = iter(embedder.embed_images(images) if images else ())
    return [next(of_texts if isinstance(item, str) else of_images) for item in items]


def _write_base64(vector: Sequence[float]) -> str:
    """Return a vector as OpenAI does: base64 of 32-bit floats, little-endian."""
    floats = array.array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode()


ROUTES: list[Any] = [Route("/v1/embeddings", create_embeddings, methods=["POST"])]
