"""Images that wait for the vision tower at the same time are looked at in one pass."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain

import pytest
import torch
from PIL import Image

from llava_tools import Llava
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.image_batcher import ImageBatcher

NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory")


class Tower:
    """Doubles what it sees, and keeps the first pass until it is let go.

    Attributes:
        passes: Values of the images of each pass.
        fails: What it raises for a value, or for more images than `room`.
    """

    def __init__(self, room: int = 100) -> None:
        self.passes: list[list[float]] = []
        self.room = room
        self.fails: dict[float, Exception] = {}
        self.busy, self.go = threading.Event(), threading.Event()

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        values = pixels[:, 0, 0, 0].tolist()
        self.passes.append(values)
        self.busy.set()
        assert self.go.wait(30)
        if len(values) > self.room:
            raise NO_MEMORY
        for value in values:
            if value in self.fails:
                raise self.fails[value]
        return 2 * pixels[:, :, :, 0]


class Counted:
    """A lock that tells how often it was given back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given_back = threading.Semaphore(0)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        self._given_back.release()

    def wait_until_all_came(self, callers: int) -> None:
        """Wait until the first one took its image, and the others put theirs where they wait."""
        for _ in range(callers + 1):
            assert self._given_back.acquire(timeout=30)


def counted(together: ImageBatcher) -> Counted:
    lock = Counted()
    together._lock = lock  # type: ignore[assignment]
    return lock


def ask(tower: Tower, most: int, values: list[float]) -> list[Future[torch.Tensor]]:
    """Bring the first image, and the others while it is looked at."""
    together = ImageBatcher(tower, most)
    lock = counted(together)
    with ThreadPoolExecutor(len(values)) as pool:
        asked = [pool.submit(together, torch.full((3, 2, 2), values[0]))]
        assert tower.busy.wait(30)
        asked += [pool.submit(together, torch.full((3, 2, 2), value)) for value in values[1:]]
        lock.wait_until_all_came(len(values))
        tower.go.set()
    return asked


def test_those_that_wait_are_looked_at_together() -> None:
    tower = Tower()
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    for value, told in zip(values, ask(tower, 4, values), strict=True):
        assert torch.equal(told.result(), torch.full((3, 2), 2 * value))
    assert [len(one) for one in tower.passes] == [1, 4, 1]
    assert sorted(chain(*tower.passes)) == values


def test_one_at_a_time_where_more_gain_nothing() -> None:
    tower = Tower()
    ask(tower, 1, [1.0, 2.0, 3.0])
    assert [len(one) for one in tower.passes] == [1, 1, 1]


def test_too_many_for_the_memory_are_looked_at_one_by_one() -> None:
    tower = Tower(room=1)
    values = [1.0, 2.0, 3.0, 4.0]
    for value, told in zip(values, ask(tower, 8, values), strict=True):
        assert torch.equal(told.result(), torch.full((3, 2), 2 * value))
    assert [len(one) for one in tower.passes] == [1, 3, 1, 1, 1]


@pytest.mark.parametrize("error", [NO_MEMORY, RuntimeError("a fuse blew")])
def test_an_error_is_of_the_image_that_caused_it(error: Exception) -> None:
    tower = Tower()
    tower.fails[3.0] = error
    asked = ask(tower, 8, [1.0, 2.0, 3.0, 4.0])
    for place, value in ((0, 1.0), (3, 4.0)):
        assert float(asked[place].result()[0, 0]) == 2 * value
    with pytest.raises(type(error)):
        asked[2].result()
    assert tower.passes[-1] != []


def test_answers_are_the_same(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = fresh()
    expected = [alone.ask("What is it?", image, max_tokens=8).text for image in images]
    model = fresh()
    engine = model.backend
    assert isinstance(engine, LlavaEngine)
    sizes: list[int] = []

    def seen(pixels: torch.Tensor) -> torch.Tensor:
        if not sizes:
            lock.wait_until_all_came(len(images))
        sizes.append(len(pixels))
        return engine._seen(pixels)

    together = ImageBatcher(seen, 8)
    lock = counted(together)
    monkeypatch.setattr(engine, "_together", together)
    with ThreadPoolExecutor(len(images)) as pool:
        told = list(pool.map(lambda one: model.ask("What is it?", one, max_tokens=8).text, images))
    assert told == expected
    assert sizes == [1, len(images) - 1]
