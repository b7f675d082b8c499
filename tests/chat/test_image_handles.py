"""Image handles as arguments of tools."""

from __future__ import annotations

from llava_tools.chat import image_handles
from llava_tools.chat.prompt import build, render
from llava_tools.core.constraints import Constraint
from llava_tools.core.requests import Message
from tests.chat.tools import CAT, DOG, WEATHER, ZOOM


def test_image_arguments_accept_only_handles_of_the_conversation() -> None:
    handle = "img_" + "0" * 24
    messages = [Message("user", (CAT, DOG, "x")), Message("tool", (f"zoomed: {handle}",))]
    narrowed = image_handles.narrow(Constraint((WEATHER, ZOOM)), messages)
    image = narrowed.tools[1].parameters["properties"]["image"]
    assert image == {"type": "string", "enum": [CAT.handle, DOG.handle, handle]}
    assert narrowed.tools[0] == WEATHER
    for constraint, conversation in ((Constraint((WEATHER,)), messages), (Constraint((ZOOM,)), [])):
        assert image_handles.narrow(constraint, conversation) is constraint


def test_handles_are_listed_if_a_tool_takes_images() -> None:
    messages = [Message("user", (CAT, DOG, "Which?"))]
    text = render(build(messages, Constraint((ZOOM,))))
    assert f"\nPictures: {CAT.handle}, {DOG.handle}\nWhich?" in text
    assert "zoom(image: picture)" in text
    assert "Pictures:" not in render(build(messages, Constraint((WEATHER,))))
