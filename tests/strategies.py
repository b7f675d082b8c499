"""Hypothesis strategies that several test files share."""

from __future__ import annotations

import io

from hypothesis import strategies as st
from PIL import Image

from llava_tools.core.requests import Message
from llava_tools.images import ImageRef, open_image

STRUCTURE = ("<image>", "</s>", "<s>", "USER:", "ASSISTANT:", "<tool_call>", "\n", " ")

#: Text with many of the strings that structure prompts.
adversarial_text = st.lists(
    st.one_of(st.sampled_from(STRUCTURE), st.text(max_size=8)), max_size=8
).map("".join)


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    """Return the bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def make_image(shade: int) -> ImageRef:
    """Return a small grey image; each shade has its own handle."""
    return open_image(Image.new("RGB", (2, 2), (shade, shade, shade)))


images = st.integers(0, 255).map(make_image)


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """Draw a conversation of one to four turns, perhaps with images and a system message."""
    messages: list[Message] = []
    if draw(st.booleans()):
        messages.append(Message("system", (draw(adversarial_text),)))
    turns = draw(st.integers(1, 4))
    for turn in range(turns):
        turn_images: list[ImageRef] = draw(st.lists(images, max_size=2))
        content = (*turn_images, draw(adversarial_text) + "?")
        messages.append(Message(draw(st.sampled_from(("user", "tool"))), content))
        if turn < turns - 1:
            messages.append(Message("assistant", (draw(adversarial_text) + ".",)))
    return messages
