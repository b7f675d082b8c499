"""show_evidence: the part of an image that an answer depends on."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest
from PIL import Image

from llava_tools import tools
from llava_tools.core.label_backend import LabelBackend
from llava_tools.errors import OutputError, RequestError
from llava_tools.model import Llava
from llava_tools.tools import OPTIONAL_TOOLS, TOOLS, Box, select_tools
from llava_tools.tools.show_evidence import EvidenceResult
from tests.evidence.scripted import DEPENDENT, SQUARE, depends_on_square
from tests.tools.scene import Scene


def _scene(*script: str, depends: bool = True) -> Scene:
    scores = depends_on_square if depends else None
    return Scene(*(script or ("yellow",)), scores_without=scores)


def test_it_answers_and_shows_the_part_that_the_answer_depends_on() -> None:
    scene = _scene()
    handle = scene.resolver.add(SQUARE)
    result = scene.call("show_evidence", image=handle, question="What colour?")
    assert json.loads(str(result)) == {
        "answer": "yellow",
        "box": list(DEPENDENT),
        "image": result.image,
    }
    drawing = scene.resolver.get(result.image)
    left, top, right, bottom = DEPENDENT
    centre = drawing.rgb().getpixel((left + right, top + bottom))  # twice its size
    assert drawing.size == (480, 480)
    assert sum(centre) > 3 * sum(drawing.rgb().getpixel((470, 470)))


def test_an_answer_is_checked_instead_of_one_that_is_generated() -> None:
    scene = _scene()
    result = scene.call("show_evidence", question="What colour?", answer=" blue\n")
    assert result.answer == "blue"
    assert len(scene.backend.requests) == 1


def test_an_answer_that_depends_on_nothing_has_no_box() -> None:
    result = _scene(depends=False).call("show_evidence", question="What colour?")
    assert result.box is None
    assert json.loads(str(result))["box"] is None


def test_a_notebook_displays_the_drawing() -> None:
    result = _scene().call("show_evidence", question="What colour?")
    assert Image.open(io.BytesIO(result._repr_png_())).size == (400, 200)
    assert "yellow" in result._repr_html_()
    restored = EvidenceResult.model_validate(result.model_dump())
    assert restored == result


def test_an_empty_answer_is_an_error() -> None:
    with pytest.raises(OutputError, match=r"no answer\. Ask in other words"):
        _scene(" ").call("show_evidence", question="What colour?")


def test_agents_get_it_by_name_only() -> None:
    assert set(OPTIONAL_TOOLS) == {"show_evidence"}
    assert [tool.name for tool in select_tools()] == list(TOOLS)
    names = ["look", "show_evidence"]
    assert [tool.name for tool in select_tools(names)] == names
    assert {d["function"]["name"] for d in tools.openai_tools()} == set(TOOLS)


def test_async_and_sync_agree() -> None:
    scene = _scene()
    arguments: dict[str, Any] = {"image": scene.wide, "question": "What colour?"}
    (tool,) = select_tools(["show_evidence"])
    parsed = tool.parse(arguments)
    result = asyncio.run(tool.arun(scene.model, parsed, scene.resolver))
    assert result == tool.run(scene.model, parsed, scene.resolver)
    assert isinstance(result.box, Box)


class _Remote(LabelBackend):
    """A backend that cannot leave out parts of images."""

    measures_evidence = False


def test_a_backend_that_cannot_do_it_is_refused_with_the_way_out() -> None:
    scene = _scene()
    model = Llava(backend=_Remote(scene.backend, ["yellow"]))
    arguments = {"image": scene.wide, "question": "What colour?"}
    with pytest.raises(RequestError, match="Leave out base_url"):
        tools.call(model, "show_evidence", arguments, scene.resolver)
