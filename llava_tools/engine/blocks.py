"""The blocks of the KV cache: which are free, in use, or kept for prompts with the same prefix.

A block that a sequence has filled is registered under its parent block and its token ids. A later
prompt that begins with the same ids finds it there and need not compute it. Ids of images are
unique to the image, so prefixes are equal exactly where their images are. Keys are compared as a
whole, not by a hash of them, so that two prompts can never share by accident.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

#: Tokens of a block. Prompts share whole blocks, so small ones share more: 32 shared 608 of 637
#: prompt tokens of a follow-up question where 256 shared 512.
BLOCK_SIZE = 32

#: Stands for the parent of a prompt's first block.
ROOT = 0

#: A registered block: the registration of its parent, and its token ids.
Key = tuple[int, tuple[int, ...]]


@dataclass
class _Block:
    users: int = 0
    key: Key | None = None  # if it is registered


class BlockManager:
    """Hands out blocks and finds those that hold a prompt's beginning.

    Args:
        count: Number of blocks.
        prefix_caching: Whether filled blocks are kept and shared.
    """

    def __init__(self, count: int, *, prefix_caching: bool) -> None:
        self._prefix_caching = prefix_caching
        self._blocks = [_Block() for _ in range(count)]
        self._free = list(range(count))  # a heap: low numbers first, so that runs are contiguous
        self._is_free = [True] * count
        self._free_count = count
        self._idle: OrderedDict[int, None] = OrderedDict()  # registered, unused; oldest first
        self._registered: dict[Key, tuple[int, int]] = {}  # to the block and its registration
        self._registrations = ROOT

    @property
    def available(self) -> int:
        """Number of blocks that can be allocated."""
        return self._free_count + len(self._idle)

    @property
    def count(self) -> int:
        """Number of blocks."""
        return len(self._blocks)

    def match(self, ids: Sequence[int]) -> tuple[list[int], int]:
        """Return the blocks that hold the beginning of `ids`, and the last one's registration.

        They do not hold the last id, whose row is computed for a next token.
        """
        blocks: list[int] = []
        registration = ROOT
        for begin in range(0, len(ids) - BLOCK_SIZE, BLOCK_SIZE):
            found = self._registered.get((registration, tuple(ids[begin : begin + BLOCK_SIZE])))
            if found is None:
                break
            block, registration = found
            blocks.append(block)
        return blocks, registration

    def acquire(self, block: int) -> None:
        """Add a user to a block that `match` returned."""
        self._blocks[block].users += 1
        self._idle.pop(block, None)

    def allocate(self, previous: int | None = None) -> int | None:
        """Return an unused block with one user, the one after `previous` if it is free.

        If none is free, the registered block that was used longest ago is given up. None if all
        blocks are in use.
        """
        block = None
        if (
            previous is not None
            and previous + 1 < len(self._blocks)
            and self._is_free[previous + 1]
        ):
            block = previous + 1
        while block is None and self._free:
            lowest = heapq.heappop(self._free)
            block = lowest if self._is_free[lowest] else None
        if block is None:
            if not self._idle:
                return None
            block, _ = self._idle.popitem(last=False)
            self._forget(block)
        if self._is_free[block]:
            self._is_free[block] = False
            self._free_count -= 1
        self._blocks[block].users = 1
        return block

    def register(self, block: int, parent: int, ids: Sequence[int]) -> int:
        """Make a filled block known to later prompts; return its registration.

        If another block holds the same already, that one stays known.
        """
        if not self._prefix_caching:
            return ROOT
        key = (parent, tuple(ids))
        known = self._registered.get(key)
        if known is not None:
            return known[1]
        self._registrations += 1
        self._registered[key] = (block, self._registrations)
        self._blocks[block].key = key
        return self._registrations

    def release(self, block: int) -> None:
        """Remove a user from a block; unused, it is kept if it is registered, else free."""
        item = self._blocks[block]
        item.users -= 1
        if item.users:
            return
        if item.key is not None:
            self._idle[block] = None
        else:
            self._set_free(block)

    def clear(self) -> None:
        """Forget what the unused blocks hold."""
        for block in self._idle:
            self._forget(block)
            self._set_free(block)
        self._idle.clear()

    def _forget(self, block: int) -> None:
        key = self._blocks[block].key
        assert key is not None
        del self._registered[key]
        self._blocks[block].key = None

    def _set_free(self, block: int) -> None:
        self._is_free[block] = True
        self._free_count += 1
        heapq.heappush(self._free, block)
