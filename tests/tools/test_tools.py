"""Each tool with a scripted model: its requests, and its result from the answers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from llava_tools.chat import prompt
from llava_tools.core.requests import Request
from llava_tools.errors import OutputError, RequestError
from llava_tools.tools.compare import agree
from tests.strategies import make_image
from tests.tools.scene import Scene


def test_look() -> None:
    scene = Scene("A blue field.")
    result = scene.call("look", question="What is it?")
    assert json.loads(str(result)) == {"text": "A blue field."}
    assert scene.questions == ["What is it?"]
    assert [image.handle for image in scene.backend.requests[0].messages[0].images] == [scene.wide]


def test_describe_returns_the_size() -> None:
    scene = Scene("A blue field.")
    full, brief = scene.call("describe"), scene.call("describe", detail="brief")
    assert (full.text, full.width, full.height) == ("A blue field.", 400, 200)
    assert str(full) == str(brief) == '{"text":"A blue field.","width":400,"height":200}'
    assert "in detail" in scene.questions[0]
    assert "one-sentence" in scene.questions[1]


def test_read_text_marks_a_text_that_is_cut_off() -> None:
    scene = Scene("word " * 600)
    result = scene.call("read_text")
    assert result.cut_off
    assert json.loads(str(result))["cut_off"] is True


@pytest.mark.parametrize(
    ("size", "answer", "box"),
    [
        ((400, 200), "[0.25, 0.5, 0.5, 0.75]", (100, 100, 200, 200)),
        ((200, 400), "[0.25, 0.5, 0.5, 0.75]", (0, 200, 100, 300)),
        ((300, 300), "[0.1, 0.2, 0.3, 0.4]", (30, 60, 90, 120)),
        ((400, 200), "[0.1, 0.05, 0.3, 0.2]", None),
    ],
)
def test_locate(size: tuple[int, int], answer: str, box: tuple[int, ...] | None) -> None:
    scene = Scene(answer, scores={"Yes": 0.5, "yes": 0.4, "No": 0.05, "no": 0.05})
    handle = scene.resolver.add(Image.new("RGB", size))
    result = scene.call("locate", image=handle, thing="the red car")
    assert result.box == box
    assert json.loads(str(result)) == {
        "box": None if box is None else list(box),
        "certainty": 0.9,
        "width": size[0],
        "height": size[1],
    }
    assert scene.questions == [
        "Please provide the bounding box coordinate of the region this sentence describes: "
        "the red car",
        'Does this figure show "the red car"? Please answer yes or no.',
    ]


corner = st.integers(0, 100).map(lambda hundredth: hundredth / 100)


@given(st.lists(corner, min_size=4, max_size=4))
def test_locate_reads_every_box_of_two_decimals(corners: list[float]) -> None:
    scene = Scene(json.dumps(corners))
    box = scene.call("locate", thing="x").box
    assert box is None or (0 <= box.x1 < box.x2 <= 400 and 0 <= box.y1 < box.y2 <= 200)


@pytest.mark.parametrize(
    "answer", ["the left one", "[0.1, 0.2, 0.3]", "[0.1, 0.2, 0.3, 4]", "[1e999, 0, 0, 0]", "{}"]
)
def test_answer_that_is_no_box_raises(answer: str) -> None:
    with pytest.raises(OutputError):
        Scene(answer).call("locate", thing="the red car")


def test_constraints_do_not_change_the_prompt_of_locate() -> None:
    scene = Scene("[0.0, 0.5, 0.5, 0.75]", "7")
    scene.call("locate", thing="x")
    locate, _ = scene.backend.requests
    constrained = prompt.build(locate.messages, constraint=locate.constraint)
    assert not locate.constraint.unconstrained
    assert constrained == prompt.build(locate.messages)


def test_count() -> None:
    scene = Scene("7")
    assert scene.call("count", things="red cars").count == 7
    assert scene.questions == [
        "How many red cars are there in the image?\n"
        "Answer the question using a single word or phrase."
    ]
    for answer in ("seven", "-1", "1000", "1.5"):
        with pytest.raises(OutputError):
            Scene(answer).call("count", things="red cars")


def test_choose() -> None:
    scene = Scene(scores={"red": 0.06, "blue": 0.03, "dark green": 0.01})
    labels = ["red", "blue", "dark green"]
    result = scene.call("choose", question="What colour?", labels=labels)
    assert json.loads(str(result)) == {
        "label": "red",
        "probabilities": {"red": 0.6, "blue": 0.3, "dark green": 0.1},
    }
    assert scene.call("choose", question="?", labels=labels, abstain=0.7).label is None
    with pytest.raises(RequestError, match="twice"):
        scene.call("choose", question="?", labels=["red", "red "])


def test_compare_sends_one_request_for_each_image() -> None:
    def respond(request: Request) -> str:
        return "Red." if request.messages[0].images[0].size == (400, 200) else "a red"

    scene = Scene(respond=respond)
    other = scene.resolver.add(Image.new("RGB", (5, 5)))
    result = scene.call("compare", images=[scene.wide, other], question="What colour?")
    assert json.loads(str(result)) == {"same": True, "answers": ["Red.", "a red"]}
    assert [len(request.messages[0].images) for request in scene.backend.requests] == [1, 1]


@pytest.mark.parametrize(("yes", "same"), [(0.7, True), (0.01, False)])
def test_compare_with_all_images_in_one_prompt(yes: float, same: bool) -> None:
    scene = Scene(scores={"Yes": yes, "No": 0.2})
    other = scene.resolver.add(Image.new("RGB", (5, 5)))
    result = scene.call(
        "compare", images=[scene.wide, other], question="What colour?", together=True
    )
    assert result.same is same
    assert result.answers == ()
    (request,) = scene.backend.requests
    assert len(request.messages[0].images) == 2


def test_agree_ignores_case_articles_and_full_stops() -> None:
    assert agree(["Red", "red.", " a  red", '"The red"'])
    assert not agree(["red", "green"])
    assert not agree(["there is a red car", "red"])


def test_zoom_returns_a_new_image_at_full_resolution() -> None:
    scene = Scene("42")
    grey = Image.effect_noise((300, 200), 90).convert("RGB")
    handle = scene.resolver.add(grey)
    result = scene.call("zoom", image=handle, box=[10, 20, 110, 60])
    assert (result.width, result.height, result.answer) == (100, 40, None)
    assert json.loads(str(result)) == {"image": result.image, "width": 100, "height": 40}
    assert scene.resolver.open(result.image).rgb() == grey.crop((10, 20, 110, 60))
    answered = scene.call("zoom", image=handle, box=[10, 20, 110, 60], question="What number?")
    assert (answered.answer, answered.image) == ("42", result.image)
    assert scene.backend.requests[0].messages[0].images[0].handle == result.image
    clipped = scene.call("zoom", image=handle, box=[-50, -50, 9999, 50])
    assert (clipped.width, clipped.height) == (300, 50)


@pytest.mark.parametrize("box", [[400, 0, 500, 100], [5, 5, 5, 9], [9, 0, 5, 9], [-9, -9, 0, 0]])
def test_zoom_outside_the_image_raises_with_its_size(box: list[int]) -> None:
    with pytest.raises(RequestError, match="400 x 200 pixels"):
        Scene().call("zoom", box=box)


def test_compare_sends_all_requests_in_one_batch() -> None:
    """All requests are sent before the first answer is read."""
    counts: list[int] = []
    scene: Scene = Scene("ok", pause=lambda: counts.append(len(scene.backend.requests)))
    images = [scene.resolver.add(make_image(shade)) for shade in range(3)]
    scene.call("compare", images=images, question="?")
    assert set(counts) == {3}
