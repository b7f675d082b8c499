"""Bodies of requests: read within a bound, and parsed by a pydantic model."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest

from llava_tools.errors import unknown_option
from llava_tools.server.errors import InvalidFieldError, field_path


class Body(BaseModel):
    """Base of all bodies: a field that is neither known nor harmless is an error.

    Attributes:
        ignored: Fields that clients send and that change nothing here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ignored: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the schema of the body, with its ignored fields."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        ignored = {name: {"description": "Ignored."} for name in sorted(cls.ignored)}
        schema["properties"] = {**ignored, **schema.get("properties", {})}
        return schema

    @model_validator(mode="before")
    @classmethod
    def _without_ignored(cls, value: Any) -> Any:
        if isinstance(value, dict) and not cls.ignored.isdisjoint(value):
            return {name: item for name, item in value.items() if name not in cls.ignored}
        return value


B = TypeVar("B", bound=Body)


async def read_body(http: HttpRequest, model: type[B]) -> B:
    """Read and parse the body of a request.

    Raises:
        HTTPException: 413, the body is larger than allowed.
        InvalidFieldError: It is no JSON, or not what the model describes.
    """
    data = await read_bytes(http, http.app.state.service.options.max_body_bytes)
    return await run_in_threadpool(parse_body, data, model)


async def read_bytes(http: HttpRequest, limit: int) -> bytes:
    """Read the bytes of a request's body.

    Raises:
        HTTPException: 413, there are more than `limit`.
    """
    announced = http.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limit:
        raise _too_large(limit)
    data = bytearray()
    async for part in http.stream():
        data += part
        if len(data) > limit:
            raise _too_large(limit)
    return bytes(data)


def parse_body(data: bytes, model: type[B]) -> B:
    """Parse the JSON of a body; see `read_body` for its errors."""
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise _field_error(error, model) from None


def _field_error(error: ValidationError, model: type[Body]) -> InvalidFieldError:
    """Return the error for the first thing that is wrong with a body."""
    first: Any = error.errors(include_url=False, include_context=False)[0]
    path = field_path(first["loc"])
    if first["type"] == "json_invalid":
        return InvalidFieldError(f"The body is no valid JSON: {first['msg']}.", "Send JSON.")
    if first["type"] == "extra_forbidden":
        name = path.rpartition(".")[2]
        known = unknown_option(name, _known_fields(model), "This request")
        return InvalidFieldError(known.message, known.hint, path)
    if first["type"] == "missing":
        return InvalidFieldError(f"The field {path} is missing.", "Add it.", path)
    shown = f"{first['input']!r:.80}"
    return InvalidFieldError(f"{path or 'The body'} = {shown}: {first['msg']}.", "", path or None)


def _known_fields(model: type[Body]) -> set[str]:
    return {item.alias or name for name, item in model.model_fields.items()} | set(model.ignored)


def _too_large(limit: int) -> HTTPException:
    message = f"The body has more than {limit:,} bytes. Send smaller images, or fewer."
    return HTTPException(413, message)
