"""Stand-ins for CUDA graphs: what a captured function did is done again, without its Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map


class Tape(TorchDispatchMode):
    """Records operations, and does them again on the same inputs.

    As in a CUDA graph, tensors from outside are read where they lay, numbers are those of the
    recording, and no Python of the recorded function runs again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        self._operations.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        """Do all operations again."""
        current: dict[int, Tensor] = {}

        def now(item: object) -> object:
            return current.get(id(item), item) if isinstance(item, Tensor) else item

        for func, args, kwargs, recorded in self._operations:
            result = func(*tree_map(now, args), **tree_map(now, kwargs))
            before, after = tree_flatten(recorded)[0], tree_flatten(result)[0]
            for old, new in zip(before, after, strict=True):
                if isinstance(old, Tensor):
                    current[id(old)] = new


@dataclass
class RecordingCapture:
    """Stands for `CudaCapture`.

    Attributes:
        captures: Number of captures.
        replays: Number of replays.
    """

    captures: int = 0
    replays: int = 0
    _tapes: list[Tape] = field(default_factory=list)

    def __call__(self, compute: Callable[[], None]) -> Callable[[], None]:
        compute()  # before the capture, like there
        tape = Tape()
        with tape:
            compute()
        self.captures += 1

        def replay() -> None:
            self.replays += 1
            tape.replay()

        return replay
