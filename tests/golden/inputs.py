"""What many cases share: images, tools, schemas and short ways to write messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image

from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall, ToolSpec
from llava_tools.core.requests import Message
from llava_tools.images import ImageRef, open_image

Cases = Mapping[str, Callable[[], Any]]

#: An 8 x 6 PNG of red pixels as fixed text, since encoders of PNG differ between machines.
PNG_BASE64 = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAGCAIAAABxZ0isAAAAEklEQVR4nGP8z4AdMOEQp4sEAJiFAQtsMIKb"
    "AAAAAElFTkSuQmCC"
)
DATA_URL = f"data:image/png;base64,{PNG_BASE64}"

SPECIAL = "<image> </s> <s> USER: hi ASSISTANT: <tool_call> <unk> <pad>"
UNICODE = "Größe 3 × 4 – 漢字 🐈‍⬛ é \u200b\ttab\r\nline"


def pixels(size: tuple[int, int] = (40, 20), colour: str = "red") -> Image.Image:
    return Image.new("RGB", size, colour)


def image(size: tuple[int, int] = (40, 20), colour: str = "red") -> ImageRef:
    return open_image(pixels(size, colour))


RED = image()
BLUE = image((30, 60), "blue")
GREEN = image((16, 16), "green")


def user(*content: str | ImageRef) -> Message:
    return Message("user", content)


def assistant(text: str, *calls: ToolCall) -> Message:
    return Message("assistant", (text,) if text else (), calls)


def system(text: str) -> Message:
    return Message("system", (text,))


def result(tool_call_id: str, *content: str | ImageRef, failed: bool = False) -> Message:
    return Message("tool", content, tool_call_id=tool_call_id, is_error=failed)


def fields(required: Sequence[str] = (), **properties: Any) -> dict[str, Any]:
    """Return the schema of an object."""
    return {"type": "object", "properties": properties, "required": list(required)}


IMAGE_ARGUMENT = {"type": "string", "pattern": "^img_[0-9a-f]{24}$"}

ADD = ToolSpec("add", "Add numbers.", fields(["a"], a={"type": "integer"}, b={"type": "integer"}))
LOOK = ToolSpec(
    "look",
    "Look at an image.",
    fields(
        ["image", "question"],
        image={**IMAGE_ARGUMENT, "description": "Which one."},
        question={"type": "string", "description": "What to\n find out."},
    ),
)
WEATHER = ToolSpec(
    "get.weather-now",
    "Weather.\nIn two lines.",
    fields(["place"], place={"type": "string"}, unit={"enum": ["c", "f"], "default": "c"}),
)
PLAIN = ToolSpec("now")

CALL_ADD = ToolCall("c1", "add", {"a": 1, "b": 2})
CALL_WEATHER = ToolCall("c2", "get.weather-now", {"place": 'Zürich "x" \\ </s>'})
WRITTEN_ADD = write_call(CALL_ADD)
WRITTEN_WEATHER = write_call(CALL_WEATHER)

PERSON = fields(
    ["name"],
    name={"type": "string", "description": "Full name."},
    age={"type": "integer", "minimum": 0},
)
NUMBER = fields(["n"], n={"type": "integer"})
