"""Hypothesis strategies that several test files share."""

from __future__ import annotations

import io

from hypothesis import strategies as st
from PIL import Image

from llava_tools.core.requests import Message
from llava_tools.images import ImageRef, open_image

MARKS = ("<image>", "</s>", "<s>", "USER:", "ASSISTANT:", "<tool_call>", "\n", " ")

#: Text that likes to spell what structures a prompt.
adversarial_text = st.lists(st.one_of(st.sampled_from(MARKS), st.text(max_size=8)), max_size=8).map(
    "".join
)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return an image's file in a format of Pillow."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def make_image(shade: int) -> ImageRef:
    """Return a small image, another one for every shade."""
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
        shown: list[ImageRef] = draw(st.lists(images, max_size=2))
        content = (*shown, draw(adversarial_text) + "?")
        messages.append(Message(draw(st.sampled_from(("user", "tool"))), content))
        if turn < turns - 1:
            messages.append(Message("assistant", (draw(adversarial_text) + ".",)))
    return messages
