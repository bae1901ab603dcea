"""Whether a request was served, from a column such as `status` or `error`: which words are known, and who is asked."""

from __future__ import annotations

import json
from collections.abc import Collection

import polars as pl

from traces.errors import Remedy, TraceError
from traces.readers.files import Table

NO_ERROR = ("", "null", "none", "false", "0", "{}")

SUCCESS = (
    "ok", "success", "successful", "succeeded", "complete", "completed", "finished", "done",
    # finish_reason of chat completions: github.com/openai/openai-python, src/openai/types/chat/chat_completion.py
    "stop", "length", "tool_calls", "content_filter", "function_call",
)  # fmt: skip

FAILURE = (
    "true", "1", "error", "errored", "exception", "fail", "failed", "failure", "timeout", "timed out", "timed_out",
    "cancelled", "canceled", "aborted", "rejected", "incomplete", "unsuccessful",
)  # fmt: skip

HTTP_SUCCESS, HTTP_FAILURE = r"^2\d\d$", r"^[345]\d\d$"

_OF_MESSAGES = ("err", "fail", "exception")
_OF_OUTCOMES = ("status", "state", "outcome", "finish_reason", "result", *_OF_MESSAGES)
_MOST_SHOWN = 10


def holds_messages(name: str) -> bool:
    """Whether a column is one of errors, by its name: what stands there is one, whatever it says."""
    return any(part in name.lower() for part in _OF_MESSAGES)


def find_outcomes(names: Collection[str]) -> str | None:
    """The first column that may say whether a request failed, by its name."""
    return next((name for name in names if any(part in name.lower() for part in _OF_OUTCOMES)), None)


def is_failure(words: pl.Expr, ok_values: Collection[object] | None) -> pl.Expr:
    """Whether a cell says that its request failed: all do that are neither empty nor say success."""
    word = _word(words)
    extra = [str(value).strip().lower() for value in ok_values or ()]
    return ~(word.is_in([*NO_ERROR, *SUCCESS, *extra]) | word.str.contains(HTTP_SUCCESS))


def check_words(table: Table, rows: pl.LazyFrame, column: str, name: str) -> None:
    """Make sure that all words of a column are known.

    Args:
        table: The file.
        rows: Its rows.
        column: The column of these rows.
        name: What the file calls it.

    Raises:
        TraceError: Some are not; with these, and how to say which of them mean success.
    """
    word = _word(pl.col(column))
    is_known = word.is_in([*NO_ERROR, *SUCCESS, *FAILURE]) | word.str.contains(f"{HTTP_SUCCESS}|{HTTP_FAILURE}")
    said = pl.col(column).cast(pl.String).str.strip_chars().alias("said")
    unknown = rows.filter(~is_known).group_by(said).agg(n=pl.len())
    found = table.collect(unknown.sort("n", "said", descending=[True, False]).head(_MOST_SHOWN + 1))
    if found.is_empty():
        return
    shown = [f"{word!r} ({n:,} row{'' if n == 1 else 's'})" for word, n in found.head(_MOST_SHOWN).iter_rows()]
    more = ", ..." if found.height > _MOST_SHOWN else ""
    remedy = Remedy("ok_values", json.dumps([found["said"][0]], ensure_ascii=False))
    msg = (
        f"{table.path}: {name!r} says {', '.join(shown)}{more}: whether such a request was served is not known; name "
        f"the words that mean success, as in {remedy} (none: []), all others then mean failure"
    )
    raise TraceError(msg, [remedy])


def _word(cells: pl.Expr) -> pl.Expr:
    text = cells.cast(pl.String).str.strip_chars().str.to_lowercase().fill_null("")
    return text.str.replace(r"^(\d+)\.0$", "$1")
