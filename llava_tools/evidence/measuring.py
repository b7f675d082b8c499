"""Measures an evidence map with a backend that can leave out image tokens."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from llava_tools.core.backend import Backend, evidence_backend
from llava_tools.core.requests import Request
from llava_tools.errors import RequestError
from llava_tools.evidence.blocks import cell_values, windows
from llava_tools.evidence.evidence_map import EvidenceMap
from llava_tools.images import ImageRef


def measure(
    backend: Backend,
    request: Request,
    answer: str,
    image_index: int = 0,
    cancelled: threading.Event | None = None,
) -> EvidenceMap:
    """Measure how much an answer depends on each part of an image of its request.

    Args:
        backend: One that leaves out image tokens: see `evidence_backend`.
        request: The conversation up to the answer.
        answer: The whole answer.
        image_index: Which of the request's images, from 0.
        cancelled: Set it from another thread to stop.

    Raises:
        RequestError: The backend cannot do it, the answer is blank, or there is no such image.
        EngineError: The engine could not finish.
    """
    engine = evidence_backend(backend)
    image = check_image_index(request, image_index)
    grid = engine.image_grid
    side = range(grid.side)
    cells = [(row, column) for row in side for column in side if grid.box(row, column, image.size)]
    blocks = windows(grid.side, cells)
    first = image_index * grid.tokens
    left_out = [
        [first + token for cell in block if (token := grid.token(*cell)) is not None]
        for block in blocks
    ]
    whole, *without = engine.score_without(request, answer, [(), *left_out], cancelled)
    values = cell_values(grid.side, blocks, [whole - score for score in without])
    return EvidenceMap(answer, whole, values, image, grid)


async def ameasure(
    load: Callable[[], Backend], request: Request, answer: str, image_index: int = 0
) -> EvidenceMap:
    """`measure` without blocking the event loop; cancelling the task stops it.

    Args:
        load: Returns the backend. It runs in a thread, since it may load the model.
        request: See `measure`, as for the others.
        answer: The whole answer.
        image_index: Which of the request's images, from 0.
    """
    cancelled = threading.Event()
    try:
        return await asyncio.to_thread(
            lambda: measure(load(), request, answer, image_index, cancelled)
        )
    finally:
        cancelled.set()


def check_image_index(request: Request, index: int) -> ImageRef:
    """Return the image of a conversation that an index names.

    Raises:
        RequestError: There is none.
    """
    images = [image for message in request.messages for image in message.images]
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(images):
        raise RequestError(
            f"image_index={index!r} is not possible: the conversation has {len(images)} images.",
            "Pass an image; they are counted from 0.",
        )
    return images[index]
