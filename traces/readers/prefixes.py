"""Prefix hashes: ids as whole numbers, and whether they fit the prompts."""

from __future__ import annotations

import polars as pl

from traces.errors import TraceError

LIKELY_SEGMENTS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)


def number_ids(ids: pl.Series) -> pl.Series:
    """Number distinct ids, or those in lists, from 0 in their order of size; equal stay equal, empty lists are null."""
    if not isinstance(ids.dtype, pl.List):
        return (ids.rank("dense") - 1).cast(pl.Int64).alias(ids.name)
    rows = pl.DataFrame({"row": range(len(ids)), "id": ids})
    each = rows.filter(pl.col("id").list.len() > 0).explode("id").with_columns(pl.col("id").rank("dense") - 1)
    numbered = each.group_by("row", maintain_order=True).agg(pl.col("id").cast(pl.Int64))
    return rows.select("row").join(numbered, on="row", how="left", maintain_order="left")["id"].alias(ids.name)


def check_segments(requests: pl.DataFrame, segment_tokens: int | None, where: str) -> None:
    """Compare the number of a prompt's hashes with its length.

    Each hash stands for `segment_tokens` tokens; the last one may be cut short by the end of the prompt, and may then
    be left out.

    Args:
        requests: The requests, with `prefix_hashes`.
        segment_tokens: Tokens of a hash; None: not known, nothing is compared.
        where: Name of the file, for messages.

    Raises:
        TraceError: A prompt has too many hashes, or too few.
    """
    if segment_tokens is None:
        return
    bad = requests.filter(~_fits(segment_tokens))
    if bad.is_empty():
        return
    first = bad.row(0, named=True)
    fitting = [size for size in LIKELY_SEGMENTS if requests.select(_fits(size).all()).item()]
    remedy = f"{fitting[0]} would fit: prefix_segment_tokens: {fitting[0]}" if fitting else "say prefix_segment_tokens"
    msg = (
        f"{where}: request {first['request_id']}: {len(first['prefix_hashes'])} prefix hashes do not fit a prompt of "
        f"{first['prompt_tokens']} tokens at {segment_tokens} tokens each ({len(bad)} such requests); {remedy}"
    )
    raise TraceError(msg)


def _fits(segment_tokens: int) -> pl.Expr:
    n_hashes = pl.col("prefix_hashes").list.len().cast(pl.Int64)
    n_whole = pl.col("prompt_tokens").cast(pl.Int64) // segment_tokens
    n_all = (pl.col("prompt_tokens").cast(pl.Int64) + segment_tokens - 1) // segment_tokens
    has_none = pl.col("prefix_hashes").is_null() | (n_hashes == 0)
    return has_none | n_hashes.is_between(n_whole, n_all)
