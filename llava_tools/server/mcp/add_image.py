"""add_image: keeps an image of the client's, and gives the handle that the other tools take."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from llava_tools.images import ImageRef
from llava_tools.images.access import ImageResolver
from llava_tools.tools.display import ImageResult
from llava_tools.tools.geometry import Box
from llava_tools.tools.requests import RequestGenerator
from llava_tools.tools.spec import ToolArguments, VisualTool

_DATA = "The image file as base64, or as a data: URL."


class AddImageArguments(ToolArguments):
    """The bytes of an image."""

    data: str = Field(min_length=1, description=_DATA)

    @property
    def name(self) -> str | None:
        """A path or URL instead of the bytes."""
        return None


class AddImageOrNameArguments(ToolArguments):
    """The bytes of an image, or its name where the server may open it."""

    data: str | None = Field(None, min_length=1, description=_DATA)
    name: str | None = Field(
        None,
        min_length=1,
        description="Instead of data: a path in an allowed folder, or a URL on an allowed host.",
    )

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.data is None) == (self.name is None):
            raise ValueError("either data or name is needed, not both")
        return self


class AddImageResult(ImageResult):
    """The handle of an image, and its size in pixels."""

    image: str
    width: int
    height: int

    @property
    def shown(self) -> tuple[str | None, Box | None]:
        """See `ImageResult.shown`. The client has the image."""
        return None, None


def make_add_image(*, handles_only: bool) -> VisualTool[Any, AddImageResult]:
    """Return the tool.

    Args:
        handles_only: Whether the server opens no path and no URL; see `ImageResolver`.
    """
    return VisualTool(
        "add_image",
        "Send an image to the server; gives its handle (img_...), which names it in the other "
        "tools, and its width and height in pixels.",
        AddImageArguments if handles_only else AddImageOrNameArguments,
        _add_image,
    )


def _add_image(arguments: Any, resolver: ImageResolver) -> RequestGenerator[AddImageResult]:
    image = (
        _open_data(arguments.data, resolver)
        if arguments.name is None
        else resolver.open(arguments.name)
    )
    width, height = image.size
    return AddImageResult(image=image.handle, width=width, height=height)
    yield ()  # never reached: makes this a generator


def _open_data(data: str, resolver: ImageResolver) -> ImageRef:
    is_url = data[:5].lower() == "data:"
    return resolver.open_block(data if is_url else f"data:;base64,{data}")
