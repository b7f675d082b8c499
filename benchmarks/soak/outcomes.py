"""`Outcomes`: what the work led to, and what it must not lead to."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Outcomes:
    """Counts of work and of expected errors, and findings. Safe to use from many threads.

    Args:
        report: Called with each finding, one line, as soon as it is found.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._known: dict[str, Any] = {}
        self._work: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._checked = 0
        self._findings = 0

    def done(self, work: str) -> None:
        """Count a piece of work."""
        with self._lock:
            self._work[work] += 1

    def same(self, name: str, value: Any) -> None:
        """Compare a value with the first one of that name; another one is a finding."""
        with self._lock:
            self._checked += 1
            known = self._known.setdefault(name, value)
        if known != value:
            self.finding(f"{name}: {value!r} instead of {known!r}")

    def equal(self, name: str, value: Any, expected: Any) -> None:
        """Compare a value with the right one; another one is a finding."""
        with self._lock:
            self._checked += 1
        if value != expected:
            self.finding(f"{name}: {value!r} instead of {expected!r}")

    @contextmanager
    def error(self, kind: type[BaseException], name: str) -> Iterator[None]:
        """Expect an error; none is a finding, another one is raised."""
        try:
            yield
        except kind:
            with self._lock:
                self._errors[name] += 1
        else:
            self.finding(f"{name}: no {kind.__name__}")

    def finding(self, line: str) -> None:
        """Record what must not be."""
        with self._lock:
            self._findings += 1
        self._report(line[:2000])

    def counts(self) -> dict[str, Any]:
        """Return the counts so far."""
        with self._lock:
            return {
                "work": dict(self._work),
                "expected_errors": dict(self._errors),
                "checked": self._checked,
                "known": len(self._known),
                "findings": self._findings,
            }
