"""`Scene`: a scripted model and an image for the tests of visual tools."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from PIL import Image

from llava_tools import Llava, tools
from llava_tools.core.requests import Request
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore
from llava_tools.testing import ScriptedBackend

WIDE = Image.new("RGB", (400, 200), "navy")


class Scene:
    """A scripted model, an image resolver, and an image in it."""

    def __init__(
        self,
        *script: str,
        respond: Callable[[Request], str] | None = None,
        scores: dict[str, float] | None = None,
        **options: Any,
    ) -> None:
        chances = scores or {}
        self.backend = ScriptedBackend(
            respond or script or ("ok",),
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
    def questions(self) -> list[str]:
        return [request.messages[-1].text for request in self.backend.requests]
