"""Blocks of the KV: shared by equal prefixes, given up in the right order, never lost."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llava_tools.engine.blocks import BLOCK_SIZE, ROOT, BlockManager


def ids(blocks: int, first: int = 0) -> list[int]:
    """Ids of whole blocks; those of different `first` share none."""
    return [1000 * first + i for i in range(blocks * BLOCK_SIZE)]


def fill(blocks: BlockManager, tokens: list[int]) -> list[int]:
    """Allocate and register the whole blocks of a prompt; return them."""
    taken: list[int] = []
    parent = ROOT
    for begin in range(0, len(tokens) // BLOCK_SIZE * BLOCK_SIZE, BLOCK_SIZE):
        block = blocks.allocate(taken[-1] if taken else None)
        assert block is not None
        parent = blocks.register(block, parent, tokens[begin : begin + BLOCK_SIZE])
        taken.append(block)
    return taken


def test_a_prompt_finds_the_blocks_of_its_prefix() -> None:
    blocks = BlockManager(8, prefix_caching=True)
    first = fill(blocks, ids(3))
    assert blocks.match([*ids(3), 7])[0] == first
    assert blocks.match([*ids(2), *ids(1, first=9), 7])[0] == first[:2]
    assert blocks.match(ids(1, first=9))[0] == []


def test_the_last_token_of_a_prompt_is_always_left_to_compute() -> None:
    blocks = BlockManager(8, prefix_caching=True)
    first = fill(blocks, ids(3))
    assert blocks.match(ids(3))[0] == first[:2]


def test_equal_blocks_after_different_prefixes_are_not_shared() -> None:
    blocks = BlockManager(8, prefix_caching=True)
    fill(blocks, [*ids(1, first=1), *ids(1, first=5)])
    assert blocks.match([*ids(1, first=2), *ids(1, first=5), 7])[0] == []


def test_nothing_is_shared_without_prefix_caching() -> None:
    blocks = BlockManager(8, prefix_caching=False)
    for block in fill(blocks, ids(3)):
        blocks.release(block)
    assert blocks.match([*ids(3), 7])[0] == []
    assert blocks.available == 8


def test_blocks_that_follow_each_other_are_preferred() -> None:
    blocks = BlockManager(8, prefix_caching=True)
    assert blocks.allocate() == 0
    assert blocks.allocate() == 1
    assert blocks.allocate(previous=4) == 5
    assert blocks.allocate(previous=4) == 2
    assert blocks.allocate(previous=7) == 3


def test_ends_of_prefixes_are_evicted_before_their_beginnings() -> None:
    blocks = BlockManager(3, prefix_caching=True)
    first = fill(blocks, ids(3))
    for block in reversed(first):
        blocks.release(block)
    assert blocks.available == 3
    blocks.allocate()
    assert blocks.match([*ids(3), 7])[0] == first[:2]


def test_blocks_in_use_are_never_evicted() -> None:
    blocks = BlockManager(2, prefix_caching=True)
    first = fill(blocks, ids(2))
    blocks.release(first[1])
    assert blocks.allocate() == first[1]
    assert blocks.allocate() is None
    assert blocks.match([*ids(2), 7])[0] == first[:1]


def test_clearing_forgets_what_is_unused() -> None:
    blocks = BlockManager(4, prefix_caching=True)
    first = fill(blocks, ids(2))
    blocks.release(first[1])
    blocks.clear()
    assert blocks.match([*ids(2), 7])[0] == first[:1]
    assert blocks.available == 3


class Machine(RuleBasedStateMachine):
    """Prompts over few ids come and go; the manager is compared with a plain model of itself."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = BlockManager(6, prefix_caching=True)
        self.held: list[tuple[list[int], list[int]]] = []  # blocks, and the ids that they hold

    @rule(prompt=st.lists(st.integers(0, 1), min_size=1, max_size=4))
    def start(self, prompt: list[int]) -> None:
        """Take what a prompt shares, and fill the rest as far as blocks go."""
        tokens = [value for value in prompt for _ in range(BLOCK_SIZE)]
        taken, parent = self.blocks.match([*tokens, 9])
        for block in taken:
            self.blocks.acquire(block)
        for number in range(len(taken), len(prompt)):
            new = self.blocks.allocate(taken[-1] if taken else None)
            if new is None:
                break
            assert all(new not in blocks for blocks, _ in self.held)
            begin = number * BLOCK_SIZE
            parent = self.blocks.register(new, parent, tokens[begin : begin + BLOCK_SIZE])
            taken.append(new)
        self.held.append((taken, prompt[: len(taken)]))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """Release a prompt's blocks."""
        taken, _ = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        for block in reversed(taken):
            self.blocks.release(block)

    @invariant()
    def no_block_is_lost(self) -> None:
        used = {block for taken, _ in self.held for block in taken}
        assert self.blocks.available == 6 - len(used)

    @invariant()
    def shared_blocks_hold_the_same(self) -> None:
        contents: dict[int, tuple[int, ...]] = {}
        for taken, prompt in self.held:
            for number, block in enumerate(taken):
                prefix = tuple(prompt[: number + 1])
                assert contents.setdefault(block, prefix) == prefix


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
