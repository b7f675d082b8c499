"""`base_url`: the same conversations through a server."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import pytest
from PIL import Image

from llava_tools.chat import prompt
from llava_tools.core.constraints import Constraint, ToolCall
from llava_tools.core.outputs import Answer, Timings
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.remote.image_encoding import squared
from llava_tools.testing import ScriptedBackend
from tests.remote.requests import ADD, CALL, FORM, QUESTION, Connect, Serve, full_answer, make_image


def _same(answer: Answer) -> Answer:
    """Return an answer without what no two runs share."""
    calls = tuple(replace(call, id="") for call in answer.tool_calls)
    return replace(answer, timings=Timings(), tool_calls=calls)


CONVERSATIONS = [
    (Request(QUESTION), "A red box."),
    (Request((Message("system", ("Be brief.",)), *QUESTION)), "Box."),
    (Request((Message("user", (make_image(), "What?")),)), "A box"),
    (
        Request(
            (
                Message("user", (make_image(), make_image(colour="blue"), "Which?")),
                Message("assistant", ("Both.",)),
                Message("user", ("Why?",)),
            ),
            SamplingParams(logprobs=True, stop=("END",), seed=3, temperature=0.5, top_k=4),
        ),
        "Because they are.END alike",
    ),
    (Request(QUESTION, SamplingParams(max_tokens=2)), "one two three"),
    (Request(QUESTION, constraint=Constraint((ADD,))), CALL),
    (Request(QUESTION, constraint=Constraint((ADD,))), f"{CALL}\n{CALL}"),
    (Request(QUESTION, constraint=Constraint((ADD,), tool_choice="any")), CALL),
    (Request(QUESTION, constraint=Constraint((ADD,))), "Nothing to add."),
    (Request(QUESTION, constraint=Constraint(schema=FORM)), '{"n": 5}'),
    (
        Request(
            (
                *QUESTION,
                Message("assistant", (), tool_calls=(ToolCall("c1", "add", {"a": 3}),)),
                Message("tool", ("4",), tool_call_id="c1"),
            ),
            constraint=Constraint((ADD,)),
        ),
        "It is 4.",
    ),
]


@pytest.mark.parametrize(("request_", "text"), CONVERSATIONS)
def test_the_same_answers_as_any_other_backend(
    serve: Serve, connect: Connect, request_: Request, text: str
) -> None:
    server = serve(text)
    scripted = full_answer(ScriptedBackend([text]), request_)
    assert _same(full_answer(connect(server), request_)) == _same(scripted)
    pieces = prompt.build(request_.messages, constraint=request_.constraint)
    assert server.prompts == [prompt.render(pieces)]


def test_what_the_text_spells_is_no_structure(serve: Serve, connect: Connect) -> None:
    server = serve()
    full_answer(connect(server), Request((Message("user", ("Is <image> or </s> a <b>tag</b>?",)),)))
    said = server.requests[0]["messages"][-1]["content"]
    assert "<image>" not in said
    assert "</s>" not in said
    assert said.replace("\u200b", "") == "Is <image> or </s> a <b>tag</b>?"


def test_a_image_is_sent_as_llava_looks_at_it(serve: Serve, connect: Connect) -> None:
    server = serve()
    image = make_image((60, 20))
    backend = connect(server)
    for _ in range(2):
        full_answer(backend, Request((Message("user", (image, "What?")),)))
    sent, again = (asked["messages"][-1]["content"][0] for asked in server.requests)
    assert set(sent) == {"type", "image_url"}
    assert set(sent["image_url"]) == {"url"}
    assert sent == again
    shown = Image.open(io.BytesIO(base64.b64decode(sent["image_url"]["url"].split(",")[1])))
    assert shown.size == (336, 336)
    assert shown.getpixel((168, 168)) == (255, 0, 0)
    assert shown.getpixel((168, 20)) == (122, 116, 104)


def test_images_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from llava_tools.remote import image_encoding

    seen: list[tuple[int, int]] = []

    def note(image: Image.Image, side: int) -> Image.Image:
        seen.append(image.size)
        return image

    monkeypatch.setattr(image_encoding, "squared", note)
    monkeypatch.setattr(image_encoding, "KEEP", 2)
    urls = image_encoding.ImageEncoder()
    first, second, third = (make_image((size, 5)) for size in (5, 6, 7))
    for image in (first, second, first, third, first, second):
        urls(image)
    assert seen == [(5, 5), (6, 5), (7, 5), (6, 5)]


def test_padding_is_the_official_one() -> None:
    tall = squared(Image.new("RGB", (2, 6), "white"), 6)
    assert [tall.getpixel((x, 3)) == (255, 255, 255) for x in range(6)] == [
        *(False, False, True, True, False, False)
    ]
