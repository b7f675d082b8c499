"""Tools and images that tests of the conversation share."""

from __future__ import annotations

from PIL import Image

from llava_tools.chat import image_handles
from llava_tools.core.constraints import ToolSpec
from llava_tools.images import open_image

WEATHER = ToolSpec(
    "get_weather",
    "Get the weather\n at a location.",
    {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "City and state"},
            "days": {"type": "integer", "minimum": 1, "maximum": 7, "default": 3},
            "unit": {"enum": ["c", "f"]},
        },
        "required": ["location"],
    },
)
CAT, DOG = (open_image(Image.new("RGB", (8, 8), colour)) for colour in ("red", "blue"))
ZOOM = ToolSpec(
    "zoom",
    "",
    {"type": "object", "properties": {"image": image_handles.ARGUMENT}, "required": ["image"]},
)
