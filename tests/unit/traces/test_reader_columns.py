"""Plain tables: columns and paths, what is left out, names of models, odd files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from traces import Trace, TraceError, read_csv, read_jsonl
from traces.readers import read_json_document

HEADER = "arrival_s,prompt_tokens,output_tokens"


def write(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def lengths(trace: Trace) -> list[tuple[int, int]]:
    return trace.requests.select("prompt_tokens", "output_tokens").rows()


def test_paths_reach_into_objects_arrays_and_names_with_dots(tmp_path: Path) -> None:
    record = {"at": {"t.s": 1}, "usage": {"completion_tokens": 7}, "gen.in": 5, "choices": [{"n": 9}]}
    path = write(tmp_path, json.dumps(record), "t.jsonl")
    columns = {"arrival_s": "at.t.s", "prompt_tokens": "gen.in", "output_tokens": "usage.completion_tokens"}
    assert lengths(read_jsonl(path, columns=columns)) == [(5, 7)]
    assert lengths(read_jsonl(path, columns={**columns, "output_tokens": "choices.0.n"})) == [(5, 9)]
    with pytest.raises(
        TraceError, match=r"no column 'usage\.completions' for output_tokens: did you mean 'usage\.comp"
    ):
        read_jsonl(path, columns={**columns, "output_tokens": "usage.completions"})


def test_an_object_of_arrays_is_a_table(tmp_path: Path) -> None:
    document = {"name": "x", "arrival_s": [0, 1], "prompt_tokens": [3, 4], "output_tokens": [5, 6], "other": [1]}
    assert lengths(read_json_document(write(tmp_path, json.dumps(document)))) == [(3, 5), (4, 6)]


def test_a_column_may_be_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, f"request_id,{HEADER}\nseven,0,1,2\nseven,1,3,4\n")
    with pytest.raises(TraceError, match="request_id: row 1: 'seven' occurs in an earlier row, ids are unique"):
        read_csv(path)
    assert read_csv(path, columns={"request_id": None}).requests["request_id"].to_list() == [0, 1]


def test_failed_requests_are_left_out_and_counted_when_asked(tmp_path: Path) -> None:
    path = write(tmp_path, f"{HEADER},status\n0,1,2,200\n1,3,0,200\n2,5,,\n3,5,6,502\n4,7,8,200\n")
    trace = read_csv(path, columns={"error": "status"})
    assert lengths(trace) == [(1, 2), (7, 8)]
    assert trace.requests["request_id"].to_list() == [0, 4]
    assert trace.notes == ("left out: 3 failed requests (an error, or no answer)",)
    with pytest.raises(TraceError, match=r"row 1: '0' is not .* can be left out: columns: {error: status}"):
        read_csv(path)


def test_long_requests_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path, f"{HEADER}\n0,10,2\n1,3,20\n2,5,5\n3,9,9\n")
    trace = read_csv(path, max_prompt_tokens=9, max_output_tokens=9, max_total_tokens=17)
    assert lengths(trace) == [(5, 5)]
    assert "left out: 3 requests longer than asked for" in trace.notes


def test_head_counts_what_is_kept_and_reads_no_further(tmp_path: Path) -> None:
    path = write(tmp_path, f"{HEADER}\n0,1,0\n1,3,4\n2,5,6\n3,broken,6\n")
    trace = read_csv(path, drop_failed=True, head=2)
    assert lengths(trace) == [(3, 4), (5, 6)]
    assert trace.notes[0] == "left out: 1 failed requests (an error, or no answer)"


def test_models_are_mapped(tmp_path: Path) -> None:
    path = write(tmp_path, f"{HEADER},model\n0,1,1,meta/Llama\n1,1,1,gpt\n")
    trace = read_csv(path, models={"meta/Llama": "ours", "GPT": "other"})
    assert trace.models == ("gpt", "ours")
    assert trace.notes == ("models: no request asks for 'GPT': did you mean 'gpt'? known: gpt, meta/Llama",)


def test_text_ids_of_sessions_are_numbered(tmp_path: Path) -> None:
    path = write(tmp_path, f"{HEADER},session_id\n0,1,1,b\n1,1,1,a\n2,1,1,\n3,1,1,b\n")
    assert read_csv(path).requests["session_id"].to_list() == [1, 0, None, 1]


def test_a_column_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, f"{HEADER},prompt_tokens\n0,1,1,2\n")
    with pytest.raises(TraceError, match="the column 'prompt_tokens' stands there 2 times"):
        read_csv(path)


def test_hashes_that_do_not_fit_a_stated_segment_are_an_error(tmp_path: Path) -> None:
    record = {"arrival_s": 0, "prompt_tokens": 100, "output_tokens": 1, "prefix_hashes": [1, 2, 3, 4]}
    path = write(tmp_path, json.dumps(record), "t.jsonl")
    assert read_jsonl(path).prefix_segment_tokens is None
    assert read_jsonl(path, prefix_segment_tokens=32).prefix_segment_tokens == 32
    with pytest.raises(TraceError, match="4 prefix hashes do not fit a prompt of 100 tokens at 16 tokens each"):
        read_jsonl(path, prefix_segment_tokens=16)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{HEADER}\n".encode("utf-16"), "has only a header"),
        (f"{HEADER}\n0,1,1\n".encode("utf-16")[:-1], "is not UTF-16 text"),
        (b"\xff\xfe", "the file is empty"),
        (b"\n\n1,2\n", "line 1: is empty, must name the columns"),
        (b"a\xe9,b\n1,2\n", "line 1 is not UTF-8 text"),
        (f"{HEADER}\n0,1,1\n0,\xe9,1\n".encode("latin-1"), "line 3 is not UTF-8 text"),
    ],
)
def test_odd_bytes_are_located(tmp_path: Path, text: bytes, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(TraceError) as raised:
        read_csv(path)
    assert str(path) in str(raised.value)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"head": 0}, "options of the reader\n  head: Input should be greater than 0"),
        ({"models": ["a"]}, "models: Input should be a valid dictionary"),
        ({"max_rate": 3}, "there is no option 'max_rate': did you mean 'max_rate_rps'?"),
        ({"columns": ["a"]}, "columns: ['a'] is not a mapping of our names to the file's"),
        ({"columns": {"prompt_tokens": 3}}, "no column 3 for prompt_tokens"),
        ({"arrivals": "poisson"}, "arrivals: 'poisson' is no arrival process"),
    ],
)
def test_wrong_options_are_described(tmp_path: Path, options: dict[str, object], said: str) -> None:
    path = write(tmp_path, f"{HEADER}\n0,1,1\n")
    with pytest.raises(TraceError) as raised:
        read_csv(path, **options)
    assert said in str(raised.value)


@pytest.mark.parametrize("word", ["Completed", "complete", "succeeded", "FINISHED", "stop", "length", "done", "204"])
def test_words_of_success_are_known(tmp_path: Path, word: str) -> None:
    path = write(tmp_path, f"{HEADER},status\n0,1,2,{word}\n1,3,4,error\n2,5,6, {word} \n")
    trace = read_csv(path, columns={"error": "status"})
    assert lengths(trace) == [(1, 2), (5, 6)]
    assert trace.notes == ("left out: 1 failed requests (an error, or no answer)",)


def test_words_that_nobody_knows_are_asked_about(tmp_path: Path) -> None:
    path = write(tmp_path, f"{HEADER},status\n0,1,2,klaar\n1,3,4,weg\n2,5,6,Klaar\n3,5,6,klaar\n4,1,1,failed\n")
    with pytest.raises(TraceError, match=r"'klaar' \(2 rows\), 'Klaar' \(1 row\), 'weg' \(1 row\): ") as said:
        read_csv(path, columns={"error": "status"})
    assert 'name the words that mean success, as in ok_values: ["klaar"]' in str(said.value)
    assert lengths(read_csv(path, columns={"error": "status"}, ok_values=["klaar"])) == [(1, 2), (5, 6), (5, 6)]
    assert lengths(read_csv(path, columns={"error": "status"}, head=1, ok_values=["klaar"])) == [(1, 2)]
    assert len(read_csv(path, columns={"error": "status"}, drop_failed=False)) == 5
    with pytest.raises(TraceError, match=r"name it, columns: \{error: status\}"):
        read_csv(path, ok_values=["klaar"])


def test_what_stands_in_a_column_of_errors_is_one(tmp_path: Path) -> None:
    path = write(tmp_path, f"{HEADER},error_message\n0,1,2,\n1,3,4,connection reset by peer\n")
    assert lengths(read_csv(path, columns={"error": "error_message"})) == [(1, 2)]


def test_columns_the_wrong_way_round(tmp_path: Path) -> None:
    path = write(tmp_path, "when,prompt_tokens,output_tokens\n0,1,2\n")
    with pytest.raises(TraceError, match="there is no 'when': turn it round: arrival_s: when"):
        read_csv(path, columns={"when": "arrival_s"})


def test_columns_that_are_missing_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, "arrival_s,n_in,generated\n0,1,2\n")
    with pytest.raises(TraceError, match=r"columns: \{prompt_tokens: n_in, output_tokens: generated\}"):
        read_csv(path)
