"""A model: the sizes of its architecture, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from sim.catalog.precision import BF16, Precision


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A dense decoder-only transformer with a gated feed-forward layer and grouped-query attention.

    >>> from sim.catalog.read import model_spec
    >>> llama = model_spec("Llama-3-70B")
    >>> round(llama.n_params / 1e9, 1), llama.kv_bytes_per_token
    (70.6, 327680)
    """

    name: str
    n_layers: int
    hidden_size: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    ffn_size: int
    vocab_size: int
    max_context_tokens: int
    source: str = ""
    precision: Precision = BF16

    def allows_tp(self, tp: int) -> bool:
        """Whether tensor parallelism of so many GPUs divides the query heads, and divides the KV heads or copies them.

        Source: vLLM refuses other degrees to start ("Total number of attention heads must be divisible by tensor
        parallel size"), and its QKVParallelLinear divides KV heads or copies them.
        """
        return self.n_heads % tp == 0 and (self.n_kv_heads % tp == 0 or tp % self.n_kv_heads == 0)

    @property
    def layer_params(self) -> int:
        """Weights of the linear layers of one transformer layer."""
        attention = (2 * self.n_heads + 2 * self.n_kv_heads) * self.head_dim * self.hidden_size
        return attention + 3 * self.hidden_size * self.ffn_size

    @property
    def embedding_params(self) -> int:
        """Weights of the token embedding; the output head has as many."""
        return self.vocab_size * self.hidden_size

    @property
    def n_params(self) -> int:
        """All weights but the norms, which are less than one in 10,000."""
        return self.n_layers * self.layer_params + 2 * self.embedding_params

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights."""
        return self.weight_bytes_of(self.n_params)

    def weight_bytes_of(self, n_params: int) -> int:
        """Bytes of so many weights."""
        return ceil(self.precision.weight_bytes * n_params)

    @property
    def kv_bytes_per_token_per_layer(self) -> int:
        """Bytes of the keys and values of one token in one layer."""
        return ceil(2 * self.precision.kv_bytes * self.n_kv_heads * self.head_dim)

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of the keys and values of one token in all layers."""
        return self.n_layers * self.kv_bytes_per_token_per_layer
