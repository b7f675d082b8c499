"""Bodies of requests: read within a bound, and parsed by a pydantic model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import getitem
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, from_json
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest

from llava_tools.errors import unknown_option
from llava_tools.server.errors import InvalidFieldError

#: Most commas in a body: each wrong item of a list costs time and memory for its error.
MAX_COMMAS = 100_000
#: Errors of a body that are looked at for the one that is shown.
_MAX_DETAILS = 50


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
T = TypeVar("T")

#: The list of a body. The first wrong item ends it: tens of thousands of errors take a second.
Items = Annotated[list[T], Field(fail_fast=True)]
#: The messages of a conversation: more than these fit no context.
Messages = Annotated[Items[T], Field(max_length=8_192)]


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
    if data.count(b",") > MAX_COMMAS:
        raise InvalidFieldError(
            f"The body has more than {MAX_COMMAS:,} commas, as lists of so many items have.",
            "Send less in a request.",
        )
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise _body_error(error, data, model) from None


def _body_error(error: ValidationError, data: bytes, model: type[Body]) -> InvalidFieldError:
    """Return the error for what is wrong with a body."""
    details: list[Any] = error.errors(
        include_url=False, include_context=False, include_input=False
    )[:_MAX_DETAILS]
    if details[0]["type"] == "json_invalid":
        return InvalidFieldError(f"The body is no valid JSON: {details[0]['msg']}.", "Send JSON.")
    body = from_json(data)
    paths = [
        _path(body, detail["loc"], is_missing=detail["type"] == "missing") for detail in details
    ]
    # Of a union, pydantic reports an error for each member; the deepest is of the right one.
    best = max(range(len(details)), key=lambda i: (len(paths[i]), details[i]["type"] in _KINDS))
    return _field_error(details[best], paths[best], body, model)


#: Errors of fields that decide between the members of a union.
_KINDS = frozenset({"literal_error", "union_tag_invalid"})


def _path(body: Any, location: Sequence[str | int], *, is_missing: bool) -> list[str | int]:
    """Return pydantic's location of an error as the place in a body.

    The location also has names of a union's members, which may be those of fields as well: of all
    places the one that ends with the location's last part is right.
    """
    if not location:
        return []
    part, *rest = location
    is_item = isinstance(body, list) and isinstance(part, int) and part < len(body)
    paths = [_path(body, rest, is_missing=is_missing)]
    if is_item or (isinstance(body, dict) and part in body):
        paths.append([part, *_path(body[part], rest, is_missing=is_missing)])
    elif is_missing and not rest:
        return [part]
    return max(paths, key=lambda path: (path[-1:] == [location[-1]], len(path)))


def _field_error(
    detail: Any, path: list[str | int], body: Any, model: type[Body]
) -> InvalidFieldError:
    """Return an error of pydantic's."""
    place = ".".join(map(str, path))
    if detail["type"] == "extra_forbidden" and len(path) == 1:
        known = unknown_option(place, _known_fields(model), "This request")
        return InvalidFieldError(known.message, known.hint, place)
    if detail["type"] == "extra_forbidden":
        return InvalidFieldError(f"The field {place} is unknown.", "Leave it out.", place)
    if detail["type"] == "missing":
        return InvalidFieldError(f"The field {place} is missing.", "Add it.", place)
    shown = f"{reduce(getitem, path, body)!r:.80}"
    return InvalidFieldError(
        f"{place or 'The body'} = {shown}: {detail['msg']}.", "", place or None
    )


def _known_fields(model: type[Body]) -> set[str]:
    return {item.alias or name for name, item in model.model_fields.items()} | set(model.ignored)


def _too_large(limit: int) -> HTTPException:
    message = f"The body has more than {limit:,} bytes. Send smaller images, or fewer."
    return HTTPException(413, message)
