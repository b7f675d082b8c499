"""Images that wait for the vision tower at the same time, looked at in one pass.

A GPU looks at several images in little more time than at one. Whoever finds the tower free looks
at what waits there, its own image first; nobody waits for images that may come.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

from llava_tools.engine.device import out_of_memory

#: Images of a pass on CUDA; a CPU gains nothing by more than one.
MOST = 8


class _Wait:
    """An image that waits.

    Attributes:
        pixels: [3, size, size].
        features: [tokens, hidden], once it was looked at.
        alone: Whether a pass of several that it was in has failed.
    """

    def __init__(self, pixels: torch.Tensor) -> None:
        self.pixels = pixels
        self.features: torch.Tensor | None = None
        self.alone = False


class ImageBatcher:
    """Looks at images for many callers.

    Args:
        look: [images, 3, size, size] to features [images, tokens, hidden]; called by one thread
            at a time.
        most: Images of a pass, at least 1.
    """

    def __init__(self, look: Callable[[torch.Tensor], torch.Tensor], most: int) -> None:
        self._look = look
        self._most = most
        self._waiting: list[_Wait] = []
        self._lock = threading.Lock()  # those that wait
        self._tower = threading.Lock()

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return features [tokens, hidden] of an image [3, size, size].

        What fails for several images is tried again for each, so that an error is of this one.
        """
        own = _Wait(pixels)
        with self._lock:
            self._waiting.append(own)
        with self._tower:
            while own.features is None:  # whoever had the tower before may have seen it, too
                self._pass(own)
        return own.features

    def _pass(self, own: _Wait) -> None:
        """Look at what waits, or fail and have each of it looked at by itself."""
        taken = self._take(own)
        seen = None
        try:
            seen = self._look(torch.stack([one.pixels for one in taken]))
        except (MemoryError, RuntimeError) as error:
            if len(taken) == 1 or not out_of_memory(error):
                raise
        finally:
            if seen is None:
                self._part(taken, own)
        for one, features in zip(taken, seen if seen is not None else (), strict=False):
            one.features = features.clone() if len(taken) > 1 else features

    def _take(self, own: _Wait) -> list[_Wait]:
        """Return the images of a pass, which wait no longer."""
        with self._lock:
            others = [one for one in self._waiting if one is not own and not one.alone]
            taken = [own, *([] if own.alone else others[: self._most - 1])]
            self._waiting = [one for one in self._waiting if one not in taken]
        return taken

    def _part(self, taken: list[_Wait], own: _Wait) -> None:
        """Let those of a pass that failed wait again, each for one of its own."""
        with self._lock:
            for one in taken:
                one.alone = True
            self._waiting += [one for one in taken if one is not own]
