"""A slow twin of the prefix cache: vLLM V1's block pool, block by block, with an explicit list of free blocks.

As in vLLM a block keeps its hash while it is free, until it is taken again; the list is in the order in which blocks
will be taken. Unlike vLLM, a block whose hash is in the cache already gets none.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def block_keys(hashes: Sequence[int], prompt: int, block_tokens: int, segment_tokens: int) -> list[Hashable]:
    """What the whole blocks of a prompt are known by: the segments up to theirs, and their number."""
    per_segment = segment_tokens // block_tokens
    n_blocks = min(prompt // block_tokens, len(hashes) * per_segment)
    return [(tuple(hashes[: n // per_segment + 1]), n) for n in range(n_blocks)]


class NaivePool:
    def __init__(self, n_blocks: int) -> None:
        self.free = list(range(n_blocks))
        self.n_holders = dict.fromkeys(self.free, 0)
        self.block_of: dict[Hashable, int] = {}
        self.key_of: dict[int, Hashable] = {}

    def find(self, keys: Sequence[Hashable], target: int, block_tokens: int) -> list[int]:
        """The blocks that a prompt hits, not all of its tokens."""
        found = []
        for key in keys[: (target - 1) // block_tokens]:
            if key not in self.block_of:
                break
            found.append(self.block_of[key])
        return found

    def n_held(self, blocks: list[int]) -> int:
        return sum(self.n_holders[block] > 0 for block in blocks)

    def touch(self, blocks: list[int]) -> None:
        for block in blocks:
            if self.n_holders[block] == 0:
                self.free.remove(block)
            self.n_holders[block] += 1

    def take(self, n_blocks: int) -> list[int]:
        taken, self.free = self.free[:n_blocks], self.free[n_blocks:]
        assert len(taken) == n_blocks
        for block in taken:
            assert self.n_holders[block] == 0
            self.n_holders[block] = 1
            if block in self.key_of:
                del self.block_of[self.key_of.pop(block)]
        return taken

    def cache(self, blocks: list[int], keys: Sequence[Hashable]) -> None:
        """Make known the blocks that are full, those of the keys."""
        for block, key in zip(blocks, keys, strict=False):
            if block not in self.key_of and key not in self.block_of:
                self.key_of[block] = key
                self.block_of[key] = block

    def give_back(self, blocks: list[int]) -> None:
        for block in reversed(blocks):
            self.n_holders[block] -= 1
            if self.n_holders[block] == 0:
                self.free.append(block)
