"""Measured points that count, and the fifth of them that something may be fitted to.

Rows with equal TTFT and TPOT are one measurement, which counts once, as the one of its rows whose `id` comes first in
the order of code points. It is of the fifth that is fitted to if the SHA-256 of that `id`, of its text in UTF-8 without
anything before or after it, read as one big-endian integer (the number that the hexadecimal digest says), is a
multiple of 5. The rest is for scoring alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from scenarios.study.silicon.points import Case, SiliconRow

N_PARTS = 5
_LIMITED_CLIENTS = 512


def part_of(row_id: str) -> int:
    """Which fifth a row is of, from 0 to 4.

    >>> part_of("minimaxm2_5_b300_vllm_fp8_agg_8192x1024_c128_cfg733")
    4
    """
    return int(hashlib.sha256(row_id.encode()).hexdigest(), 16) % N_PARTS


def is_fitted_to(row: SiliconRow) -> bool:
    """Whether a measurement is of the fifth that is fitted to."""
    return part_of(row.id) == 0


def once_each(rows: Sequence[SiliconRow]) -> list[SiliconRow]:
    """Each measurement once, in the order of their ids."""
    first: dict[tuple[float, float], SiliconRow] = {}
    for row in sorted(rows, key=lambda row: row.id):
        first.setdefault((row.ttft_ms, row.tpot_ms), row)
    return list(first.values())


def suspicion(case: Case) -> str | None:
    """What speaks against a measurement; it is scored all the same, and the others beside it without it."""
    if case.checkpoint.name == "Llama-3.1-8B":
        return "Llama-3.1-8B: some rows need 98 % of the GPU's peak rate; several replicas, or prompts found in a cache"
    is_limited = case.checkpoint.name == "gpt-oss-120b" and case.gpu == "H100-SXM" and case.version == "0.11"
    if is_limited and case.concurrency == _LIMITED_CLIENTS:
        return "gpt-oss-120b: by TTFT and TPOT about 95 of 512 clients were served at once; memory holds them all"
    return None
