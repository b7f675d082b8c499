"""Every tool over a scripted model: what it asks, what it makes of the answer."""

from __future__ import annotations

import asyncio
import io
import json
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from llava_tools import Llava, tools
from llava_tools.chat import image_handles, prompt
from llava_tools.core.constraints import Constraint, ToolSpec
from llava_tools.core.requests import Request
from llava_tools.engine.grammar_masks import Grammars
from llava_tools.engine.tokenizer import Tokenizer
from llava_tools.errors import ImageError, OutputError, RequestError
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore
from llava_tools.testing import ScriptedBackend
from llava_tools.tools import TOOLS, Box
from llava_tools.tools.compare import agree
from llava_tools.tools.display import LARGEST
from llava_tools.tools.locate import Located
from tests.checkpoints import llama_like_tokenizer
from tests.strategies import make_image

WIDE = Image.new("RGB", (400, 200), "navy")


class Scene:
    """A scripted model, an image resolver, and an image in it."""

    def __init__(
        self,
        *script: str,
        say: Callable[[Request], str] | None = None,
        scores: dict[str, float] | None = None,
        **options: Any,
    ) -> None:
        chances = scores or {}
        self.backend = ScriptedBackend(
            say or script or ("ok",),
            scores=lambda request, label: math.log(chances.get(label, 0.1)),
            **options,
        )
        self.model = Llava(backend=self.backend)
        self.resolver = ImageResolver(ImageStore())
        self.wide = self.resolver.add(WIDE)

    def call(self, name: str, **arguments: Any) -> Any:
        arguments = {"image": self.wide} | arguments
        if name == "compare":
            del arguments["image"]
        return tools.call(self.model, name, arguments, self.resolver)

    @property
    def asked(self) -> list[str]:
        return [request.messages[-1].text for request in self.backend.requests]


def test_look() -> None:
    scene = Scene("A blue field.")
    result = scene.call("look", question="What is it?")
    assert json.loads(str(result)) == {"text": "A blue field."}
    assert scene.asked == ["What is it?"]
    assert [image.handle for image in scene.backend.requests[0].messages[0].images] == [scene.wide]


def test_describe_tells_the_size() -> None:
    scene = Scene("A blue field.")
    full, brief = scene.call("describe"), scene.call("describe", detail="brief")
    assert (full.text, full.width, full.height) == ("A blue field.", 400, 200)
    assert str(full) == str(brief) == '{"text":"A blue field.","width":400,"height":200}'
    assert "in detail" in scene.asked[0]
    assert "one-sentence" in scene.asked[1]


def test_reading_that_does_not_fit_says_so() -> None:
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
    assert scene.asked == [
        "Please provide the bounding box coordinate of the region this sentence describes: "
        "the red car",
        'Does this figure show "the red car"? Please answer yes or no.',
    ]


corner = st.integers(0, 100).map(lambda hundredth: hundredth / 100)


@given(st.lists(corner, min_size=4, max_size=4))
def test_every_box_that_llava_can_write_is_read(corners: list[float]) -> None:
    scene = Scene(json.dumps(corners))
    box = scene.call("locate", thing="x").box
    assert box is None or (0 <= box.x1 < box.x2 <= 400 and 0 <= box.y1 < box.y2 <= 200)


@pytest.mark.parametrize(
    "answer", ["the left one", "[0.1, 0.2, 0.3]", "[0.1, 0.2, 0.3, 4]", "[1e999, 0, 0, 0]", "{}"]
)
def test_an_answer_that_is_no_box_is_an_error(answer: str) -> None:
    with pytest.raises(OutputError):
        Scene(answer).call("locate", thing="the red car")


def test_constraints_do_not_change_the_words_that_llava_was_trained_on() -> None:
    scene = Scene("[0.0, 0.5, 0.5, 0.75]", "7")
    scene.call("locate", thing="x")
    locate, _ = scene.backend.requests
    told = prompt.build(locate.messages, constraint=locate.constraint)
    assert not locate.constraint.free
    assert told == prompt.build(locate.messages)


def test_count() -> None:
    scene = Scene("7")
    assert scene.call("count", things="red cars").count == 7
    assert scene.asked == [
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


def test_compare_asks_each_image_by_itself() -> None:
    def say(request: Request) -> str:
        return "Red." if request.messages[0].images[0].size == (400, 200) else "a red"

    scene = Scene(say=say)
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


def test_what_counts_as_the_same_answer() -> None:
    assert agree(["Red", "red.", " a  red", '"The red"'])
    assert not agree(["red", "green"])
    assert not agree(["there is a red one", "red"])


def test_zoom_gives_a_new_image_at_full_resolution() -> None:
    scene = Scene("42")
    grey = Image.effect_noise((300, 200), 90).convert("RGB")
    handle = scene.resolver.add(grey)
    result = scene.call("zoom", image=handle, box=[10, 20, 110, 60])
    assert (result.width, result.height, result.answer) == (100, 40, None)
    assert json.loads(str(result)) == {"image": result.image, "width": 100, "height": 40}
    assert scene.resolver.open(result.image).rgb() == grey.crop((10, 20, 110, 60))
    asked = scene.call("zoom", image=handle, box=[10, 20, 110, 60], question="What number?")
    assert (asked.answer, asked.image) == ("42", result.image)
    assert scene.backend.requests[0].messages[0].images[0].handle == result.image
    clipped = scene.call("zoom", image=handle, box=[-50, -50, 9999, 50])
    assert (clipped.width, clipped.height) == (300, 50)


@pytest.mark.parametrize("box", [[400, 0, 500, 100], [5, 5, 5, 9], [9, 0, 5, 9], [-9, -9, 0, 0]])
def test_zooming_outside_tells_the_size(box: list[int]) -> None:
    with pytest.raises(RequestError, match="400 x 200 pixels"):
        Scene().call("zoom", box=box)


def test_results_show_themselves() -> None:
    scene = Scene("[0.25, 0.5, 0.5, 0.75]")
    big = scene.resolver.add(Image.new("RGB", (2000, 1000), "navy"))
    located = scene.call("locate", image=big, thing="<b>")
    png = located._repr_png_()
    shown = Image.open(io.BytesIO(png)).convert("RGB")
    assert shown.size == (LARGEST, LARGEST // 2)
    frame, inside = shown.getpixel((199, 300)), shown.getpixel((200, 300))
    assert (frame, inside) == ((255, 0, 0), shown.getpixel((100, 100)))
    assert shown.getpixel((100, 100)) == Image.new("RGB", (1, 1), "navy").getpixel((0, 0))
    page = located._repr_html_()
    assert page.count("<img") == 1
    assert "&quot;box&quot;" in page
    zoomed = scene.call("zoom", box=[0, 0, 10, 10])
    assert Image.open(io.BytesIO(zoomed._repr_png_())).size == (10, 10)


def test_a_result_that_was_stored_shows_nothing() -> None:
    located = Scene("[0.25, 0.5, 0.5, 0.75]").call("locate", thing="x")
    again = Located.model_validate_json(located.model_dump_json())
    assert again == Located(box=Box(100, 100, 200, 200), certainty=0.5, width=400, height=200)
    assert again._repr_png_() is None
    assert again._repr_html_() is None


EXAMPLES: dict[str, dict[str, Any]] = {
    "look": {"question": "What is it?"},
    "describe": {},
    "read_text": {},
    "locate": {"thing": "x"},
    "count": {"things": "dogs"},
    "compare": {"question": "What colour?"},
    "choose": {"question": "?", "labels": ["a", "b"]},
    "zoom": {"box": [0, 0, 9, 9], "question": "?"},
}


@pytest.mark.parametrize("name", TOOLS)
async def test_the_async_twin_gives_the_same(name: str) -> None:
    scene = Scene("[0.25, 0.5, 0.5, 0.75]" if name == "locate" else "7")
    arguments: dict[str, Any] = {"image": scene.wide} | EXAMPLES[name]
    if name == "compare":
        arguments["images"] = [arguments.pop("image"), scene.resolver.add(Image.new("RGB", (1, 1)))]
    tool = TOOLS[name]
    given_arguments = tool.parse(json.dumps(arguments))
    result = await tool.arun(scene.model, given_arguments, scene.resolver)
    assert str(result) == str(tool.run(scene.model, given_arguments, scene.resolver))
    assert len(str(result)) < 200


async def test_cancelling_stops_the_generation() -> None:
    gate = threading.Semaphore(2)
    scene = Scene("one two three four five", pause=gate.acquire)
    tool = TOOLS["look"]
    arguments = tool.parse({"image": scene.wide, "question": "?"})
    task = asyncio.create_task(tool.arun(scene.model, arguments, scene.resolver))
    while not scene.backend.requests:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.release(9)
    assert scene.backend.closed_early == 1


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("look", {"question": "?"}, "image: Field required"),
        ("look", {"image": "img_1", "question": "?", "zoom": 2}, "zoom: Extra inputs"),
        ("look", {"image": "img_1", "question": ""}, "question: String should have at least 1"),
        ("choose", {"image": "img_1", "question": "?", "labels": ["a"]}, "labels: List should"),
        ("zoom", {"image": "img_1", "box": [1, 2, 3]}, "box: List should have at least 4"),
        ("zoom", '{"image": "img_1", "box": [1, 2', "Invalid JSON"),
        ("count", 7, "arguments: Input should be a valid dictionary"),
    ],
)
def test_bad_arguments_are_told_in_one_line(name: str, arguments: object, told: str) -> None:
    with pytest.raises(RequestError, match=told) as caught:
        tools.call(Scene().model, name, arguments)
    assert "\n" not in str(caught.value)
    assert "It takes: " in str(caught.value)


def test_an_unknown_image_and_an_unknown_tool() -> None:
    with pytest.raises(ImageError, match="no picture 'img_1'"):
        Scene().call("look", image="img_1", question="?")
    with pytest.raises(RequestError, match="Did you mean 'locate'"):
        tools.call(Scene().model, "located", {})


def test_openai_tools_are_short_and_can_be_enforced() -> None:
    described = tools.openai_tools()
    assert [tool["function"]["name"] for tool in described] == list(TOOLS)
    assert "title" not in json.dumps(described)
    codec = Tokenizer(llama_like_tokenizer())
    grammars = Grammars(codec.tokenizer, len(codec.tokenizer))
    specs = tuple(ToolSpec(**tool["function"]) for tool in described)
    _, best_effort = grammars.matcher(Constraint(tools=specs))
    assert not best_effort
    assert [tool["function"]["name"] for tool in tools.openai_tools(["zoom"])] == ["zoom"]


def test_image_arguments_take_handles_unless_more_is_allowed(tmp_path: Path) -> None:
    def schemas(resolver: ImageResolver | None) -> list[dict[str, Any]]:
        described = tools.openai_tools(resolver=resolver)
        return [tool["function"]["parameters"]["properties"] for tool in described]

    for properties in schemas(None) + schemas(ImageResolver(ImageStore())):
        image = properties["image"] if "image" in properties else properties["images"]["items"]
        assert image["pattern"] == image_handles.PATTERN
    wider = schemas(ImageResolver(ImageStore(), allowed_directories=[tmp_path]))
    assert image_handles.PATTERN not in json.dumps(wider)
    assert [list(properties) for properties in wider] == [list(old) for old in schemas(None)]


def test_all_images_of_a_call_share_a_batch() -> None:
    """Both requests are there before either is read."""
    counts: list[int] = []
    scene: Scene = Scene("ok", pause=lambda: counts.append(len(scene.backend.requests)))
    images = [scene.resolver.add(make_image(shade)) for shade in range(3)]
    scene.call("compare", images=images, question="?")
    assert set(counts) == {3}
