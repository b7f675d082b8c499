"""Images that wait for the vision tower at the same time are encoded in one batch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain

import pytest
import torch
from PIL import Image

from llava_tools import Llava
from llava_tools.engine import vision_tower
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.image_batcher import ImageBatcher

NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory")


class Tower:
    """Doubles its input; every batch waits for `resume`.

    Attributes:
        batches: Values of the images of each batch.
        errors: What it raises for a value.
        batch_errors: What it raises for a batch, by the number of batches before it.
        max_images: More images are an out-of-memory error.
    """

    def __init__(self, max_images: int = 100) -> None:
        self.batches: list[list[float]] = []
        self.max_images = max_images
        self.errors: dict[float, Exception] = {}
        self.batch_errors: dict[int, BaseException] = {}
        self.busy, self.resume = threading.Event(), threading.Event()

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        values = pixels[:, 0, 0, 0].tolist()
        self.batches.append(values)
        self.busy.set()
        assert self.resume.wait(30)
        if (error := self.batch_errors.get(len(self.batches) - 1)) is not None:
            raise error
        if len(values) > self.max_images:
            raise NO_MEMORY
        for value in values:
            if value in self.errors:
                raise self.errors[value]
        return 2 * pixels[:, :, :, 0]


class CountingLock:
    """A lock that counts its releases."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._releases = threading.Semaphore(0)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        self._releases.release()

    def wait_for_callers(self, callers: int) -> None:
        """Wait until the first caller has taken its image, and the others' images wait."""
        for _ in range(callers + 1):
            assert self._releases.acquire(timeout=30)


def count_callers(batcher: ImageBatcher) -> CountingLock:
    lock = CountingLock()
    batcher._waiting_lock = lock  # type: ignore[assignment]
    return lock


def encode_at_once(
    tower: Tower, max_images: int, values: list[float]
) -> list[Future[torch.Tensor]]:
    """Encode the first image; the others arrive meanwhile."""
    batcher = ImageBatcher(tower, max_images)
    lock = count_callers(batcher)
    with ThreadPoolExecutor(len(values)) as pool:
        futures = [pool.submit(batcher, torch.full((3, 2, 2), values[0]))]
        assert tower.busy.wait(30)
        futures += [pool.submit(batcher, torch.full((3, 2, 2), value)) for value in values[1:]]
        lock.wait_for_callers(len(values))
        tower.resume.set()
    return futures


def test_waiting_images_are_encoded_in_one_batch() -> None:
    tower = Tower()
    values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    for value, future in zip(values, encode_at_once(tower, 4, values), strict=True):
        assert torch.equal(future.result(), torch.full((3, 2), 2 * value))
    assert [len(batch) for batch in tower.batches] == [1, 4, 1]
    assert sorted(chain(*tower.batches)) == values


def test_a_limit_of_one_encodes_one_by_one() -> None:
    tower = Tower()
    encode_at_once(tower, 1, [1.0, 2.0, 3.0])
    assert [len(batch) for batch in tower.batches] == [1, 1, 1]


def test_a_batch_that_lacks_memory_is_encoded_one_by_one() -> None:
    tower = Tower(max_images=1)
    values = [1.0, 2.0, 3.0, 4.0]
    for value, future in zip(values, encode_at_once(tower, 8, values), strict=True):
        assert torch.equal(future.result(), torch.full((3, 2), 2 * value))
    assert [len(batch) for batch in tower.batches] == [1, 3, 1, 1, 1]


@pytest.mark.parametrize("image", [2.0, 3.0, 4.0])
@pytest.mark.parametrize("error", [NO_MEMORY, MemoryError(), RuntimeError("broken")])
def test_an_error_reaches_only_the_caller_of_its_image(error: Exception, image: float) -> None:
    tower = Tower()
    tower.errors[image] = error
    values = [1.0, 2.0, 3.0, 4.0]
    for value, future in zip(values, encode_at_once(tower, 8, values), strict=True):
        if value == image:
            with pytest.raises(type(error)):
                future.result()
        else:
            assert torch.equal(future.result(), torch.full((3, 2), 2 * value))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()])
def test_an_interrupt_reaches_only_the_caller_that_encodes(error: BaseException) -> None:
    tower = Tower()
    tower.batch_errors[1] = error
    values = [1.0, 2.0, 3.0, 4.0]
    futures = encode_at_once(tower, 8, values)
    interrupted = [index for index, future in enumerate(futures) if future.exception()]
    assert [type(futures[index].exception()) for index in interrupted] == [type(error)]
    assert interrupted != [0]
    for index in {0, 1, 2, 3}.difference(interrupted):
        assert torch.equal(futures[index].result(), torch.full((3, 2), 2 * values[index]))


def test_answers_do_not_depend_on_batching(
    fresh: Callable[..., Llava], images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = fresh()
    expected = [alone.ask("What is it?", image, max_tokens=8).text for image in images]
    model = fresh()
    engine = model.backend
    assert isinstance(engine, LlavaEngine)
    sizes: list[int] = []

    @torch.inference_mode()
    def encode(pixels: torch.Tensor) -> torch.Tensor:
        if not sizes:
            lock.wait_for_callers(len(images))
        sizes.append(len(pixels))
        return vision_tower.features(engine.loaded.model, pixels)

    batcher = ImageBatcher(encode, 8)
    lock = count_callers(batcher)
    monkeypatch.setattr(engine, "image_batcher", batcher)
    with ThreadPoolExecutor(len(images)) as pool:
        answers = pool.map(lambda image: model.ask("What is it?", image, max_tokens=8), images)
        assert [answer.text for answer in answers] == expected
    assert sizes == [1, len(images) - 1]
