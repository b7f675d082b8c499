"""Lets requests about the same image wait for the first of them, which computes the shared KV.

KV can be shared only after it was computed: eight questions about a new image that arrive together
would each compute it. With the coalescer the first request starts, and the others start when its
first token is there and find the image's KV computed. Pure bookkeeping; the caller holds a lock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

#: Prompt prefixes remembered as computed. If the KV of one of them was evicted since, its requests
#: compute it side by side, as they would without a coalescer.
_MAX_PREFILLED = 1024


@dataclass
class _Group(Generic[T]):
    leader: str
    waiting: OrderedDict[str, T] = field(default_factory=OrderedDict)


class PrefillCoalescer(Generic[T]):
    """Groups requests by the prefix of their prompts; `T` is what the caller starts."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, _Group[T]] = {}
        self._key_of: dict[str, Hashable] = {}
        self._prefilled: OrderedDict[Hashable, None] = OrderedDict()

    def admit(self, key: Hashable, request_id: str, item: T) -> bool:
        """Return whether the request starts now; if not, another method returns its item later."""
        if key in self._prefilled:
            self._prefilled.move_to_end(key)
            return True
        group = self._groups.get(key)
        self._key_of[request_id] = key
        if group is None:
            self._groups[key] = _Group(request_id)
            return True
        group.waiting[request_id] = item
        return False

    def prefilled(self, request_id: str) -> list[T]:
        """Note a request's first token; return the items that may start now."""
        key = self._key_of.get(request_id)
        if key is None:
            return []
        self._prefilled[key] = None
        if len(self._prefilled) > _MAX_PREFILLED:
            self._prefilled.popitem(last=False)
        return self._dissolve(key)

    def failed(self, request_id: str) -> list[T]:
        """Note that a request ended without a token; return the items that waited for it."""
        key = self._key_of.get(request_id)
        return [] if key is None else self._dissolve(key)

    def cancelled(self, request_id: str) -> tuple[bool, list[T]]:
        """Note that a request was cancelled.

        Returns:
            Whether it had been started, and the item that starts in its place, if any.
        """
        key = self._key_of.pop(request_id, None)
        group = self._groups.get(key) if key is not None else None
        if group is None:
            return True, []
        if group.leader != request_id:
            del group.waiting[request_id]
            return False, []
        if not group.waiting:
            del self._groups[key]
            return True, []
        group.leader, item = group.waiting.popitem(last=False)
        return True, [item]

    def __len__(self) -> int:
        return len(self._key_of)

    def _dissolve(self, key: Hashable) -> list[T]:
        group = self._groups.pop(key)
        for request_id in (group.leader, *group.waiting):
            del self._key_of[request_id]
        return list(group.waiting.values())
