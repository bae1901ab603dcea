from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from traces import READERS, TraceError, read, read_csv, read_jsonl, read_mooncake

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951691,396,109
"""
MOONCAKE = """timestamp_ms,input_length,output_length,seen_prefix_tokens
0,6758,500,0
0,7322,490,512
3000,10,20,0
"""
PLAIN = """arrival_s,prompt_tokens,output_tokens
0,10,5
1.5,20,6
"""


def write(folder: Path, text: str | bytes, name: str = "f.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def message(path: Path, reader: str, **options: object) -> str:
    with pytest.raises(TraceError) as raised:
        read(path, reader, **options)
    assert str(path) in str(raised.value)
    return str(raised.value).replace(str(path), "FILE")


def test_azure_times_keep_their_seventh_digit(tmp_path: Path) -> None:
    for text in (AZURE, AZURE.replace("\n", "\r\n")):
        trace = read(write(tmp_path, text), "azure_2023", model="llama")
        assert trace.requests["arrival_s"].to_list() == [0.0, 4.3145791]
        assert trace.models == ("llama",)
        assert trace.requests.select("prompt_tokens", "output_tokens").rows() == [(374, 44), (396, 109)]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "2023-11-16 18:15:50.9951691",
            "yesterday",
            "('TIMESTAMP' in the file): row 1: 'yesterday' is not a time like 2023-11-16",
        ),
        (
            "2023-11-16 18:15:50.9951691",
            "",
            "('TIMESTAMP' in the file): row 1: an empty cell is not a time like 2023-11-16",
        ),
        (
            "18:15:50.9951691",
            "18:15:50.9951691Z",
            "row 1: '2023-11-16 18:15:50.9951691Z' states a zone and other rows do",
        ),
        ("396", "-1", "prompt_tokens ('ContextTokens' in the file): row 1: '-1' is not a whole number from 1"),
        ("ContextTokens", "Context", "no column 'ContextTokens' for prompt_tokens: did you mean 'Context'?"),
    ],
)
def test_azure_mistakes_are_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert said in message(write(tmp_path, AZURE.replace(old, new)), "azure_2023")


def test_mooncake_table_is_in_milliseconds_and_keeps_ticks(tmp_path: Path) -> None:
    trace = read(write(tmp_path, MOONCAKE), "mooncake")
    assert trace.requests["arrival_s"].to_list() == [0.0, 0.0, 3.0]
    assert "prefix_hashes" not in trace.requests.columns


def test_mooncake_lines_carry_hashes(tmp_path: Path) -> None:
    line = '{"timestamp": 3000, "input_length": 600, "output_length": 5, "hash_ids": [0, 7]}\n'
    trace = read_mooncake(write(tmp_path, line * 2, "m.jsonl"), spread_ticks=True)
    assert trace.requests["prefix_hashes"].to_list() == [[0, 7], [0, 7]]
    assert trace.requests["arrival_s"].to_list() == [0.0, 1.5]
    assert trace.source.endswith("m.jsonl | spread_ticks")


def test_mooncake_mistakes_show_the_value_in_the_file(tmp_path: Path) -> None:
    said = message(write(tmp_path, MOONCAKE.replace("3000", "-3000")), "mooncake")
    assert "arrival_s ('timestamp_ms' in the file): row 2: '-3000' is not a finite number >= 0" in said


def test_columns_are_mapped_and_may_be_swapped(tmp_path: Path) -> None:
    swapped = {"prompt_tokens": "output_tokens", "output_tokens": "prompt_tokens"}
    trace = read_csv(write(tmp_path, PLAIN), columns=swapped)
    assert trace.requests.select("prompt_tokens", "output_tokens").rows() == [(5, 10), (6, 20)]


def test_defaults_of_a_plain_table(tmp_path: Path) -> None:
    path = write(tmp_path, PLAIN)
    trace = read_csv(path, slo_class="batch")
    assert trace.requests.row(1) == (1, 1.5, "default", 20, 6, "batch")
    assert trace.source == f"csv:{path}"


def test_rows_are_sorted_and_counted_from_the_first_arrival(tmp_path: Path) -> None:
    path = write(tmp_path, PLAIN.replace("0,10", "3.5,10"))
    trace = read_csv(path)
    assert trace.requests.select("request_id", "arrival_s").rows() == [(1, 0.0), (0, 2.0)]
    assert "1 row is earlier than one before it (row 1): sorted" in trace.notes
    assert "arrivals are counted from the first, at 1.5 s" in trace.notes
    assert read_csv(path, keep_origin=True).requests["arrival_s"].to_list() == [1.5, 3.5]


@pytest.mark.parametrize("name", ["trace[1].csv", "trace*.csv", "byte-order-mark.csv", "trace.csv.gz"])
def test_odd_files_are_read(tmp_path: Path, name: str) -> None:
    data = PLAIN.encode()
    data = b"\xef\xbb\xbf" + data if "mark" in name else gzip.compress(data) if name.endswith("gz") else data
    assert len(read_csv(write(tmp_path, data, name))) == 2


@pytest.mark.parametrize(
    ("reader", "text", "said"),
    [
        ("csv", "", "FILE: the file is empty"),
        ("csv", " \n", "FILE: the file is empty"),
        ("csv", PLAIN.splitlines()[0], "FILE: has only a header"),
        ("azure_2023", AZURE.splitlines()[0], "FILE: has only a header"),
        ("csv", PLAIN + "2,1,1,9\n", "FILE: row 2: 4 cells under 3 column names"),
        ("csv", PLAIN + "2,1\n", "output_tokens: row 2: an empty cell is not a whole number"),
        ("csv", PLAIN.encode() + b"2,\xff,1\n", "FILE: line 4 is not UTF-8 text"),
        ("csv", b"\x1f\x8bnot gzip", "FILE: cannot be read: "),
        ("csv", PLAIN.replace("prompt_tokens", "prompts"), "prompt_tokens: column is missing; did you mean 'prompts'?"),
        ("csv", "prefix_hashes," + PLAIN.replace("\n", "\n1,", 1), "prefix_hashes: has type String, must hold a list"),
        ("jsonl", '{"arrival_s": 0}\n{"arrival_s":\n', "FILE: row 1: '{\"arrival_s\":' is not a JSON object"),
        ("jsonl", '{"arrival_s": 0}\n\n[1]\n', "FILE: row 1: '[1]' is not a JSON object"),
        ("jsonl", '{"prefix_hashes": [1]}\n{"prefix_hashes": ["x"]}\n', "prefix_hashes"),
        ("jsonl", '{"arrival_s": 0}\n', "prompt_tokens: column is missing"),
        ("parquet", "no parquet at all", "FILE: cannot be read as Parquet: "),
    ],
)
def test_a_broken_file_is_described(tmp_path: Path, reader: str, text: str | bytes, said: str) -> None:
    assert said in message(write(tmp_path, text), reader)


def test_values_of_mixed_json_types_are_named(tmp_path: Path) -> None:
    lines = [f'{{"arrival_s": 0, "prompt_tokens": {cell}, "output_tokens": 1}}' for cell in ("3", '"x"', "4")]
    assert "prompt_tokens: row 1: 'x' is not a whole number" in message(write(tmp_path, "\n".join(lines)), "jsonl")


def test_wrong_types_in_parquet_are_named(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    pl.DataFrame({"arrival_s": [[1.0]], "prompt_tokens": 1, "output_tokens": 1}).write_parquet(path)
    assert "arrival_s: has type List(Float64), must hold numbers or date-times" in message(path, "parquet")


@pytest.mark.parametrize("reader", sorted(READERS))
def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path, reader: str) -> None:
    assert message(tmp_path / "none.csv", reader) == "FILE: cannot be read: No such file or directory"
    assert message(tmp_path, reader) == "FILE: cannot be read: Is a directory"


def test_an_unknown_reader_is_suggested() -> None:
    with pytest.raises(TraceError, match="unknown reader 'azure2023': did you mean 'azure_2023'"):
        read("f.csv", "azure2023")


def test_an_unknown_option_is_suggested() -> None:
    with pytest.raises(TraceError, match="reader 'mooncake' has no option 'spread_tick': did you mean 'spread_ticks'"):
        read("f.csv", "mooncake", spread_tick=True)


def test_wrong_options_are_described(tmp_path: Path) -> None:
    path = write(tmp_path, PLAIN)
    assert "unknown time_unit 'min': known: iso, ms, ns, s, us" in message(path, "csv", time_unit="min")
    both = {"prompt_token": "prompt_tokens", "output_tokens": "output"}
    said = message(path, "csv", columns=both)
    assert "columns: there is no 'prompt_token': did you mean 'prompt_tokens'?" in said
    assert "no column 'output' for output_tokens: did you mean 'output_tokens'?" in said


def test_large_json_integers_survive(tmp_path: Path) -> None:
    line = '{"arrival_s": 0, "prompt_tokens": 1, "output_tokens": 1, "session_id": 9007199254740993}'
    assert read_jsonl(write(tmp_path, line)).requests["session_id"].to_list() == [2**53 + 1]
