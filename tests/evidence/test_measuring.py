from __future__ import annotations

from collections.abc import Sequence

import pytest
from PIL import Image

from llava_tools import Llava, Message, open_image
from llava_tools.core.image_grid import ImageGrid
from llava_tools.core.requests import Request
from llava_tools.errors import RequestError
from llava_tools.evidence import EvidenceMap, measure
from llava_tools.testing import ScriptedBackend

WIDE = Image.new("RGB", (480, 240))  # cells of 20 pixels; 6 rows of padding above and below
#: The token of row 8, column 20: x from 400 and y from 40 in `WIDE`.
TOKEN = 8 * 24 + 20


def _needs(token: int) -> ScriptedBackend:
    def score(request: Request, label: str, left_out: Sequence[int]) -> float:
        return -0.5 - 2.0 * (token in left_out)

    return ScriptedBackend(["red."], scores_without=score)


def test_the_peak_lies_in_the_cell_that_the_answer_depends_on() -> None:
    backend = _needs(TOKEN)
    evidence = Llava(backend=backend).evidence("What colour?", WIDE)
    assert evidence.answer == "red."
    assert evidence.logprob == -0.5
    assert evidence.values[8][20] == pytest.approx(2.0)
    x, y = evidence.peak
    assert x == pytest.approx(410, abs=30)  # windows are three cells apart
    assert y == pytest.approx(50, abs=30)
    assert len(backend.requests) == 2  # the answer, and all its scores at once


def test_an_answer_can_be_chosen() -> None:
    backend = _needs(TOKEN)
    evidence = Llava(backend=backend).evidence("What colour?", WIDE, "blue")
    assert evidence.answer == "blue"
    assert len(backend.requests) == 1


async def test_the_async_twin_measures_the_same() -> None:
    backend = _needs(TOKEN)
    model = Llava(backend=backend)
    assert await model.aevidence("What?", WIDE) == model.evidence("What?", WIDE)


def test_only_the_chosen_image_is_left_out() -> None:
    positions: set[int] = set()

    def score(request: Request, label: str, left_out: Sequence[int]) -> float:
        positions.update(left_out)
        return -1.0

    request = Request((Message("user", (open_image(WIDE), open_image(WIDE), "What?")),))
    measure(ScriptedBackend(scores_without=score), request, "red", image_index=1)
    # Rows 6 to 17 of the second image; the others are padding.
    assert positions == set(range(576 + 6 * 24, 576 + 18 * 24))


@pytest.mark.parametrize("index", [1, -1, True, 0.0])
def test_an_image_that_is_not_there_is_refused(index: int) -> None:
    with pytest.raises(RequestError, match="image_index"):
        Llava(backend=_needs(0)).evidence("What?", WIDE, image_index=index)


def test_a_question_without_images_is_refused() -> None:
    with pytest.raises(RequestError, match="0 images"):
        Llava(backend=_needs(0)).evidence("What?", [])


def test_an_empty_answer_is_refused() -> None:
    with pytest.raises(RequestError, match="cannot be a label"):
        Llava(backend=_needs(0)).evidence("What?", WIDE, "")


@pytest.mark.parametrize("size", [(1, 1), (3000, 1), (1, 3000), (240, 240)])
@pytest.mark.parametrize("padded", [True, False])
def test_a_flat_map_has_a_peak_in_the_image(size: tuple[int, int], padded: bool) -> None:
    grid = ImageGrid(8, padded)
    for value in (0.0, -1.0, 0.25):
        values = ((value,) * 8,) * 8
        image = open_image(Image.new("RGB", size))
        x, y = EvidenceMap("red", -1.0, values, image, grid).peak
        assert 0 <= x <= size[0]
        assert 0 <= y <= size[1]


def test_the_peak_is_more_exact_than_the_cells() -> None:
    values = [[0.0] * 8 for _ in range(8)]
    values[3][3], values[3][4] = 1.0, 0.5
    image = open_image(Image.new("RGB", (80, 80)))
    evidence = EvidenceMap("red", -1.0, tuple(map(tuple, values)), image, ImageGrid(8, True))
    assert evidence.peak_cell == (3, 3)
    assert evidence.peak_box == (30, 30, 40, 40)
    assert evidence.peak == pytest.approx((35 + 10 / 3, 35))
