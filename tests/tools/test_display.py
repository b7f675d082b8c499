"""Results display themselves in a notebook."""

from __future__ import annotations

import io

from PIL import Image

from llava_tools import open_image
from llava_tools.images.store import shared_store
from llava_tools.tools import Box
from llava_tools.tools.display import MAX_SIDE
from llava_tools.tools.locate import LocateResult
from tests.tools.scene import WIDE, Scene


def test_notebook_displays_results_with_their_image() -> None:
    scene = Scene("[0.25, 0.5, 0.5, 0.75]")
    big = scene.resolver.add(Image.new("RGB", (2000, 1000), "navy"))
    located = scene.call("locate", image=big, thing="<b>")
    png = located._repr_png_()
    shown = Image.open(io.BytesIO(png)).convert("RGB")
    assert shown.size == (MAX_SIDE, MAX_SIDE // 2)
    frame, inside = shown.getpixel((199, 300)), shown.getpixel((200, 300))
    assert (frame, inside) == ((255, 0, 0), shown.getpixel((100, 100)))
    assert shown.getpixel((100, 100)) == Image.new("RGB", (1, 1), "navy").getpixel((0, 0))
    page = located._repr_html_()
    assert page.count("<img") == 1
    assert "&quot;box&quot;" in page
    zoomed = scene.call("zoom", box=[0, 0, 10, 10])
    assert Image.open(io.BytesIO(zoomed._repr_png_())).size == (10, 10)


def test_restored_result_shows_its_image_from_the_store_of_the_process() -> None:
    scene = Scene("[0.25, 0.5, 0.5, 0.75]")
    shared_store().remove(scene.wide)  # other tests add it
    located = scene.call("locate", thing="x")
    again = LocateResult.model_validate_json(located.model_dump_json())
    assert again == LocateResult(
        box=Box(100, 100, 200, 200), certainty=0.5, width=400, height=200, image=scene.wide
    )
    assert again == located
    assert again._repr_png_() is None
    assert again._repr_html_() is None
    assert shared_store().add(open_image(WIDE)) == scene.wide
    assert again._repr_png_() == located._repr_png_() is not None
    shared_store().remove(scene.wide)
