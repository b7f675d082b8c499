"""A conversation of twenty turns: checkpoints hold no images, and turns compute what is new."""

from __future__ import annotations

from benchmarks.long_conversation import TURNS, converse, make_image
from langchain_llava import ChatLlava

#: Tokens of a block, the unit of what the prefix cache keeps.
BLOCK = 32
ANSWER = 8


def test_twenty_turns_about_three_images() -> None:
    model = ChatLlava(max_tokens=ANSWER, temperature=0)
    images = [make_image(number) for number in range(3)]
    handles = converse(model, images, handles=True)
    inline = converse(model, images, handles=False)
    assert len(handles.prompt) == len(inline.prompt) == TURNS
    assert handles.prompt == inline.prompt
    assert handles.state_bytes < 20_000 < sum(map(len, images)) < inline.state_bytes
    # Part of a block, and an answer whose text may be tokenized in another way.
    assert max(handles.recomputed) <= BLOCK + ANSWER
