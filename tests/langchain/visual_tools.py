"""Arguments and scripts for each visual tool, two images, an index."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from PIL import Image

from llava_tools import open_image
from llava_tools.images import ImageRef
from llava_tools.retrieval import Hit

WIDE = Image.new("RGB", (400, 200), "navy")
TALL = Image.new("RGB", (20, 40), "navy")

#: Arguments of each tool, without images.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "look": {"question": "What is it?"},
    "describe": {"detail": "brief"},
    "read_text": {},
    "locate": {"thing": "the red car"},
    "count": {"things": "dogs"},
    "compare": {"question": "What colour?"},
    "choose": {"question": "Which?", "labels": ["cat", "dog"], "abstain": 0.5},
    "zoom": {"box": [0, 0, 50, 50], "question": "What is it?"},
}
#: Answers of the model, where "ok" is none.
SCRIPTS = {"locate": "[0.25, 0.5, 0.5, 0.75]", "count": "3"}


class TwoPages:
    """Index of two pages that ranks the second one first."""

    def search(self, query: str, k: int) -> list[Hit]:
        hit = Hit("a.pdf", 2, 1.0, "", "about " + query, "", TALL.size, "")
        return [hit, replace(hit, page=1, snippet="")][:k]

    def open(self, hit: Hit) -> ImageRef:
        return open_image(TALL if hit.page == 2 else WIDE)
