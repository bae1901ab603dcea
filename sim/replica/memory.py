"""The KV blocks of a replica: which are free, which its requests hold, and which of those they share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.errors import DeploymentError
from sim.kv_cache import block_rule, kv_blocks, max_context_tokens
from sim.replica.batch import NEVER
from sim.replica.prefix_cache import PrefixCache

if TYPE_CHECKING:
    from sim.deployment import ReplicaSpec
    from sim.records import RequestLog
    from sim.replica.batch import Sequence
    from sim.replica.prefix_cache import Prefixes


class ReplicaMemory:
    """The memory of a replica, and what is known of its use.

    Args:
        spec: The replica.
        log: Where it writes how much of a prompt was cached.
        prefixes: What is known of the prompts' beginnings; None without prefix caching.

    Raises:
        DeploymentError: The weights leave no memory for the KV cache.
    """

    def __init__(self, spec: ReplicaSpec, log: RequestLog, prefixes: Prefixes | None) -> None:
        self.spec = spec
        self.kv_blocks = kv_blocks(spec)
        if self.kv_blocks < 1:
            msg = f"{spec.model.name} on {spec.name}: the weights leave no memory for the KV cache"
            raise DeploymentError(msg)
        self.max_context_tokens = max_context_tokens(spec)
        self.rule = block_rule(spec)
        if prefixes is not None and self.rule.has_window and not prefixes.has_ids:
            prefixes = None  # nothing to share, and what is preempted finds less of its prompt than windows free
        if prefixes is not None and self.rule.has_window:
            # Blocks behind a window are kept, for others to begin with: one of all groups together.
            self.kv_blocks //= self.rule.n_groups
            self.rule = self.rule._replace(full_groups=1, window_groups=0)
            self.max_context_tokens = min(self.max_context_tokens, self.kv_blocks * spec.limits.block_tokens)
        self.cached_tokens = 0

        self._log = log
        self._block_tokens = spec.limits.block_tokens
        self._has_window = self.rule.has_window
        self._reserves_whole_prompt = spec.limits.reserve_whole_prompt
        self._free_blocks = self.kv_blocks
        self._fewest_free_blocks = self.kv_blocks
        self._kv_token_s = 0.0  # beside what the batches log
        self._prefixes = prefixes
        self._prefix_cache = self._empty_prefix_cache()
        self._shared_tokens = 0  # counted once too often for each further request that holds them
        self._shared_since_s = 0.0

    def _empty_prefix_cache(self) -> PrefixCache | None:
        prefixes = self._prefixes
        return None if prefixes is None else PrefixCache(prefixes, self.kv_blocks, self._block_tokens)

    @property
    def used_kv_blocks(self) -> int:
        """KV blocks that running requests hold; those that several share count once."""
        return self.kv_blocks - self._free_blocks

    @property
    def peak_kv_blocks(self) -> int:
        """Most KV blocks that it used at once."""
        return self.kv_blocks - min(self._fewest_free_blocks, self._free_blocks)

    def _has_blocks_for(self, seq: Sequence, budget: int) -> bool:
        """Whether the blocks are free that a waiting request needs to be admitted.

        While nobody is admitted and nobody leaves, blocks only get fewer and what it needs does not change.
        """
        cache = self._prefix_cache
        is_whole = self._reserves_whole_prompt or (cache is not None and cache.may_hit(seq))
        tokens = seq.target_tokens if is_whole else min(budget, seq.target_tokens)
        n_blocks = self.rule.blocks(tokens) if self._has_window else -(-tokens // self._block_tokens)  # = blocks_for
        if n_blocks <= self._free_blocks:
            return True
        return cache is not None and n_blocks - cache.n_held_by_others(seq) <= self._free_blocks

    def _hit(self, cache: PrefixCache, seq: Sequence, now_s: float) -> None:
        """Give an admitted request the cached blocks of its prompt."""
        n_blocks, n_shared = cache.admit(seq, self._free_blocks)
        self._free_blocks -= n_blocks - n_shared
        self._share(n_shared, now_s)
        tokens = n_blocks * self._block_tokens
        seq.computed_tokens = tokens
        self.cached_tokens += tokens
        if seq.admission == NEVER:
            self._log.cached_prompt_tokens[seq.index] = tokens

    def _release(self, seq: Sequence, n_blocks: int, now_s: float, *, is_over: bool = False) -> None:
        """Take back the blocks of a request, as far as no others hold them."""
        if self._prefix_cache is not None:
            n_blocks, n_shared = self._prefix_cache.release(seq, n_blocks, is_over=is_over)
            self._share(-n_shared, now_s)
        self._free_blocks += n_blocks

    def _share(self, n_blocks: int, now_s: float) -> None:
        """Count the tokens of shared blocks once in the integral of tokens over time."""
        self._kv_token_s -= self._shared_tokens * (now_s - self._shared_since_s)
        self._shared_since_s = now_s
        self._shared_tokens += n_blocks * self._block_tokens
