from __future__ import annotations

import math

import polars as pl
import pytest

from traces import REQUEST_SCHEMA, Trace, TraceError, validate_requests
from traces.schema import Origin

GOOD = {
    "request_id": [0, 1, 2],
    "arrival_s": [0.0, 0.5, 0.5],
    "model": ["m", "m", "m"],
    "prompt_tokens": [10, 20, 30],
    "output_tokens": [1, 2, 3],
    "slo_class": ["default", "default", "default"],
}


def table(**changes: object) -> pl.DataFrame:
    return pl.DataFrame(GOOD | changes, strict=False)


def problems(frame: pl.DataFrame) -> str:
    with pytest.raises(TraceError) as raised:
        validate_requests(frame, "f.csv")
    return str(raised.value)


def test_a_good_table_gets_the_types_of_the_schema() -> None:
    frame = validate_requests(table(session_id=[1, None, 2], prefix_hashes=[[1, 2], [], None]), "f.csv")
    assert dict(frame.schema) == {column.name: column.dtype for column in REQUEST_SCHEMA}


def test_text_becomes_numbers_without_losing_digits() -> None:
    big = 2**53 + 1
    frame = table(
        arrival_s=["0", " 1e0 ", "1.0000001"],
        prompt_tokens=["7", "8.0", " 9 "],
        session_id=[str(big), None, "3"],
    )
    checked = validate_requests(frame, "f.csv")
    assert checked["arrival_s"].to_list() == [0.0, 1.0, 1.0000001]
    assert checked["prompt_tokens"].to_list() == [7, 8, 9]
    assert checked["session_id"].to_list() == [big, None, 3]


def test_other_columns_are_dropped_and_ties_sorted_by_id() -> None:
    checked = validate_requests(table(request_id=[7, 9, 8], note=["a", "b", "c"]), "f.csv")
    assert checked["request_id"].to_list() == [7, 8, 9]
    assert "note" not in checked.columns


WHOLE = "is not a whole number from 1 to 2147483647"


@pytest.mark.parametrize(
    ("column", "cells", "said"),
    [
        ("prompt_tokens", [10, 0, 30], f"row 1: 0 {WHOLE}"),
        ("prompt_tokens", [10, -5, -6], f"row 1: -5 {WHOLE} (2 such rows)"),
        ("output_tokens", [1.0, 2.0, 2.5], f"row 2: 2.5 {WHOLE}"),
        ("output_tokens", [1.0, math.nan, 3.0], f"row 1: nan {WHOLE}"),
        ("output_tokens", [1, 2**31, 3], f"row 1: 2147483648 {WHOLE}"),
        ("output_tokens", ["1", "many", "3"], f"row 1: 'many' {WHOLE}"),
        ("output_tokens", [1, 2, None], f"row 2: an empty cell {WHOLE}"),
        ("output_tokens", [None, None, None], f"row 0: an empty cell {WHOLE} (3 such rows)"),
        ("output_tokens", [True, True, False], "has type Boolean, must hold a whole number from 1 to 2147483647"),
        ("arrival_s", [-0.5, 0.0, 1.0], "row 0: -0.5 is not a finite number >= 0"),
        ("arrival_s", [0.0, math.nan, 1.0], "row 1: nan is not a finite number >= 0"),
        ("arrival_s", [0.0, 1.0, math.inf], "row 2: inf is not a finite number >= 0"),
        ("arrival_s", ["0", "noon", "1"], "row 1: 'noon' is not a finite number >= 0"),
        ("arrival_s", [0.0, 2.0, 1.0], "row 2: 1.0 is earlier than the row before it"),
        ("request_id", [4, 5, 4], "row 2: 4 occurs in an earlier row, ids are unique"),
        ("request_id", [4, 5, 2**63], f"row 2: {2**63} is not a 64-bit whole number"),
        ("model", ["m", "", "m"], "row 1: '' is not a name"),
        ("slo_class", ["a", "b", None], "row 2: an empty cell is not a name"),
        ("slo_class", [1, 2, 3], "has type Int64, must hold a name"),
        ("session_id", [1.0, None, 2.5], "row 2: 2.5 is not a 64-bit whole number"),
        ("prefix_hashes", [[1], [None, 2], []], "row 1: [None, 2] is not a list of 64-bit whole numbers"),
        ("prefix_hashes", [[0.5], [1.0], []], "has type List(Float64), must hold a list of 64-bit whole numbers"),
        ("prefix_hashes", [1, 2, 3], "has type Int64, must hold a list of 64-bit whole numbers"),
    ],
)
def test_a_bad_column_is_described(column: str, cells: list[object], said: str) -> None:
    frame = table().with_columns(pl.Series(column, cells, dtype=pl.UInt64 if 2**63 in cells else None))
    head = "f.csv: not a valid request table (rows are counted from 0, after any header)"
    assert problems(frame) == f"{head}\n  {column}: {said}"


def test_all_problems_are_reported_together() -> None:
    message = problems(table(arrival_s=[0.0, -1.0, 2.0], output_tokens=[0, 1, 1]).drop("prompt_tokens"))
    assert [line.strip().split(":")[0] for line in message.splitlines()] == [
        "f.csv",
        "arrival_s",
        "prompt_tokens",
        "output_tokens",
    ]


def test_a_missing_column_suggests_a_column_that_is_there() -> None:
    message = problems(table().rename({"prompt_tokens": "prompt_token"}))
    assert "prompt_tokens: column is missing; did you mean 'prompt_token'? known: prompt_token" in message
    assert problems(table().drop("model")).endswith("model: column is missing")


def test_messages_name_the_column_of_the_file() -> None:
    with pytest.raises(TraceError, match=r"prompt_tokens \('Ctx' in the file\): row 0: 0 is not"):
        validate_requests(table(prompt_tokens=[0, 1, 1]), "f.csv", origin=Origin({"prompt_tokens": "Ctx"}))


def test_a_table_without_rows_is_an_error() -> None:
    assert problems(table().clear()) == "f.csv: has no requests"


def test_a_trace_refuses_an_unvalidated_frame() -> None:
    with pytest.raises(TraceError, match=r"build traces with Trace\.from_frame"):
        Trace(table(), "f.csv")
