"""Requests about one image wait for the first of them, which computes what all of them share.

KV can be shared once it was computed. Eight questions about a new image that come together would
each compute it. In a prefill coalescer the first one goes ahead, and the others follow when its first token is
there and find the image's KV done. Pure bookkeeping, guarded by the caller's lock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

#: Prompt beginnings that are remembered as computed. Where one of them was evicted since, its
#: requests compute it side by side, as they would without a prefill coalescer.
_KNOWN = 1024


@dataclass
class _Group(Generic[T]):
    leader: str
    waiting: OrderedDict[str, T] = field(default_factory=OrderedDict)


class PrefillCoalescer(Generic[T]):
    """Groups of requests by what their prompts share; `T` is whatever starting one takes."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, _Group[T]] = {}
        self._key_of: dict[str, Hashable] = {}
        self._known: OrderedDict[Hashable, None] = OrderedDict()

    def join(self, key: Hashable, request_id: str, item: T) -> bool:
        """Return whether the request starts now; if not, `begun` or `left` gives it back later."""
        if key in self._known:
            self._known.move_to_end(key)
            return True
        group = self._groups.get(key)
        self._key_of[request_id] = key
        if group is None:
            self._groups[key] = _Group(request_id)
            return True
        group.waiting[request_id] = item
        return False

    def begun(self, request_id: str) -> list[T]:
        """Note a request's first token; return those that may start now."""
        key = self._key_of.get(request_id)
        if key is None:
            return []
        self._known[key] = None
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        return self._dissolve(key)

    def failed(self, request_id: str) -> list[T]:
        """Note that a request ended without a token; return those that waited for it."""
        key = self._key_of.get(request_id)
        return [] if key is None else self._dissolve(key)

    def left(self, request_id: str) -> tuple[bool, list[T]]:
        """Note that nobody wants a request any more.

        Returns:
            Whether it had been started, and who goes ahead in its place.
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
        del self._key_of[group.leader]
        for request_id in group.waiting:
            del self._key_of[request_id]
        return list(group.waiting.values())
