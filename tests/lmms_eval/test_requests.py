"""lmms-eval's messages and generation arguments as requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from llava_tools.core.requests import SamplingParams
from llava_tools.errors import ImageError, RequestError

IMAGE = Image.new("RGB", (8, 8))


@pytest.fixture
def requests(plugin: Callable[[str], Any]) -> Any:
    return plugin("lmms_eval_llava.requests")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, SamplingParams()),
        ({"max_new_tokens": 16, "do_sample": False, "temperature": 0.2, "top_p": None},
         SamplingParams(max_tokens=16)),
        ({"temperature": 0.2}, SamplingParams(temperature=0.2)),
        ({"do_sample": True}, SamplingParams(temperature=1.0)),
        ({"do_sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": 5, "seed": 3},
         SamplingParams(temperature=0.7, top_p=0.9, top_k=5, seed=3)),
        ({"do_sample": True, "temperature": 0.7, "top_p": 0}, SamplingParams()),
        ({"until": ["ASSISTANT:", "\n\n"]}, SamplingParams(stop=("ASSISTANT:", "\n\n"))),
        ({"until": "END"}, SamplingParams(stop=("END",))),
        ({"until": None, "num_beams": 1, "image_aspect_ratio": "original"}, SamplingParams()),
        ({"repetition_penalty": 1.1}, SamplingParams(repetition_penalty=1.1)),
    ],
)  # fmt: skip
def test_arguments_are_honoured(
    requests: Any, arguments: dict[str, Any], expected: SamplingParams
) -> None:
    assert requests.sampling_params(arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_beams": 5}, "num_beams=5 is not possible: there is no beam search"),
        ({"max_gen_toks": 5}, "takes no option 'max_gen_toks'"),
        ({"visual_cot": True}, "takes no option 'visual_cot'"),
        ({"max_new_tokens": 0}, "max_tokens=0 is out of range"),
        ({"temperature": -1, "do_sample": True}, "temperature=-1 is out of range"),
        ({"until": [""]}, "stop"),
    ],
)
def test_other_arguments_are_refused_by_name(
    requests: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        requests.sampling_params(arguments)


def test_messages_keep_roles_and_order(requests: Any) -> None:
    messages = requests.conversation(
        [
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
            {
                "role": "user",
                "content": [
                    {"type": "image", "url": IMAGE},
                    {"type": "text", "text": "Which colour?"},
                ],
            },
        ]
    )
    assert [message.role for message in messages] == ["system", "user"]
    assert messages[1].content[1] == "Which colour?"
    assert len(messages[1].images) == 1


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_other_media_are_refused_by_name(requests: Any, kind: str) -> None:
    messages = [{"role": "user", "content": [{"type": kind, "url": "a.mp4"}]}]
    with pytest.raises(RequestError, match=f"content of the type '{kind}'"):
        requests.conversation(messages)


def test_messages_must_be_there(requests: Any) -> None:
    with pytest.raises(RequestError, match="no messages"):
        requests.conversation([])


def test_a_turn_has_its_images_first(requests: Any) -> None:
    (message,) = requests.user_turn("Which?", [IMAGE, IMAGE])
    assert message.content[2] == "Which?"
    assert len(message.images) == 2
    with pytest.raises(ImageError):
        requests.user_turn("Which?", ["video.mp4"])
