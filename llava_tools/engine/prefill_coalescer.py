"""Lets requests about the same image wait for the first of them, which computes the shared KV.

KV can be shared only after it was computed: eight questions about a new image that arrive together
would each compute it. With the coalescer the first request starts; the others start after its first
token and reuse the image's KV. Pure bookkeeping; the caller holds a lock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

#: Prompt prefixes remembered as computed. If the KV of one of them was evicted since, its requests
#: compute it side by side, as they would without a coalescer.
_MAX_PREFILLED = 1024


class PrefillCoalescer(Generic[T]):
    """Groups requests, of any hashable type, by the prefix of their prompts."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, list[T]] = {}  # the first of each has started
        self._key_of: dict[T, Hashable] = {}
        self._prefilled: OrderedDict[Hashable, None] = OrderedDict()

    def admit(self, key: Hashable, request: T) -> bool:
        """Return whether a request starts now; if not, another method returns it later.

        `key` is the same for prompts with the same prefix.
        """
        if key in self._prefilled:
            self._prefilled.move_to_end(key)
            return True
        group = self._groups.setdefault(key, [])
        group.append(request)
        self._key_of[request] = key
        return len(group) == 1

    def prefilled(self, request: T) -> list[T]:
        """Note a request's first token; return the requests that may start now."""
        key = self._key_of.get(request)
        if key is None:
            return []
        self._prefilled[key] = None
        if len(self._prefilled) > _MAX_PREFILLED:
            self._prefilled.popitem(last=False)
        return self._dissolve(key)

    def failed(self, request: T) -> list[T]:
        """Note that a request ended without a token; return the requests that waited for it."""
        key = self._key_of.get(request)
        return [] if key is None else self._dissolve(key)

    def cancelled(self, request: T) -> tuple[bool, list[T]]:
        """Note that a request was cancelled.

        Return whether it had started, and the request that starts in its place, if any.
        """
        key = self._key_of.pop(request, None)
        if key is None:
            return True, []
        group = self._groups[key]
        started = group[0] == request
        group.remove(request)
        if not group:
            del self._groups[key]
        return started, group[:1] if started else []

    def __len__(self) -> int:
        return len(self._key_of)

    def _dissolve(self, key: Hashable) -> list[T]:
        group = self._groups.pop(key)
        for request in group:
            del self._key_of[request]
        return group[1:]
