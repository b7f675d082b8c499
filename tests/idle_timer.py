"""A clock and a schedule for tests: time passes only when a test says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class IdleTimer:
    """The `clock` and `schedule` of a `ModelCache`.

    Attributes:
        now: Clock time in seconds.
        actions: Scheduled actions by number, each with its time.
    """

    now: float = 1000.0
    actions: dict[int, tuple[float, Callable[[], None]]] = field(default_factory=dict)
    _number: int = 0

    def clock(self) -> float:
        return self.now

    def schedule(self, seconds: float, action: Callable[[], None]) -> Callable[[], None]:
        assert seconds > 0
        self._number += 1
        number = self._number
        self.actions[number] = (self.now + seconds, action)

        def cancel() -> None:
            self.actions.pop(number, None)

        return cancel

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and run what is due, in order."""
        end = self.now + seconds
        while self.actions:
            number, (due, action) = min(self.actions.items(), key=lambda item: item[1][0])
            if due > end:
                break
            del self.actions[number]
            self.now = max(self.now, due)
            action()
        self.now = end
