"""Each reader on its sample, with its name and without."""

from __future__ import annotations

import gzip
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tests.samples import SAMPLES
from traces import READERS, PoissonArrivals, TraceError, read
from traces.readers import detect

COLUMNS = ("arrival_s", "prompt_tokens", "output_tokens", "model")


def zstd(text: bytes) -> bytes:
    """The archive of a text, written by polars as a table of one column."""
    file = io.BytesIO()
    lines = pl.DataFrame({"line": text.decode().splitlines()})
    lines.write_csv(file, include_header=False, quote_style="never", separator="\x1f", compression="zstd")
    return file.getvalue()


def refusal(path: Path, reader: str = "auto", **options: object) -> str:
    with pytest.raises(TraceError) as raised:
        read(path, reader, **options)
    assert str(path) in str(raised.value)
    return str(raised.value).replace(str(path), "FILE")


def test_every_reader_has_a_sample() -> None:
    assert sorted(SAMPLES) == sorted(READERS)


@pytest.mark.parametrize("reader", sorted(READERS))
def test_a_sample_is_read(tmp_path: Path, reader: str) -> None:
    sample = SAMPLES[reader]
    trace = read(sample.write(tmp_path), reader, **sample.options)
    assert trace.requests.select(COLUMNS).rows() == sample.rows
    assert trace.notes == sample.notes


@pytest.mark.parametrize("reader", sorted(READERS))
def test_a_reader_is_found_from_the_file_where_that_is_safe(tmp_path: Path, reader: str) -> None:
    sample = SAMPLES[reader]
    path = sample.write(tmp_path)
    if sample.is_recognised:
        assert detect(path) == reader
        assert read(path, **sample.options) == read(path, reader, **sample.options)
    else:
        assert "FILE: the reader cannot be told from its columns" in refusal(path)


@pytest.mark.parametrize("reader", sorted(set(READERS) - {"parquet"}))
def test_samples_are_read_from_archives_and_found_in_them(tmp_path: Path, reader: str) -> None:
    sample = SAMPLES[reader]
    plain = read(sample.write(tmp_path), reader, **sample.options)
    for suffix, archive in {"gz": gzip.compress(sample.data), "zst": zstd(sample.data)}.items():
        path = tmp_path / f"{sample.name}.{suffix}"
        path.write_bytes(archive)
        assert read(path, reader, **sample.options).requests.equals(plain.requests)
        if sample.is_recognised:
            assert detect(path) == reader


@pytest.mark.parametrize("reader", sorted(set(READERS) - {"parquet"}))
def test_an_archive_that_is_cut_off_is_an_error(tmp_path: Path, reader: str) -> None:
    sample = SAMPLES[reader]
    for suffix, archive in {"gz": gzip.compress(sample.data), "zst": zstd(sample.data)}.items():
        path = tmp_path / f"{sample.name}.{suffix}"
        path.write_bytes(archive[: len(archive) // 2])
        assert "FILE: cannot be read" in refusal(path, reader, **sample.options)


def test_qwen_bailian_turns_are_sessions_and_their_hashes_of_16_tokens(tmp_path: Path) -> None:
    trace = read(SAMPLES["qwen_bailian"].write(tmp_path))
    assert trace.requests["session_id"].to_list() == [159, 159]
    assert trace.requests["prefix_hashes"].to_list() == [[7, 8], [7, 9, 10]]
    assert trace.prefix_segment_tokens == 16


def test_a_turn_whose_parent_is_lost_begins_a_session(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(SAMPLES["qwen_bailian"].data.replace(b'"chat_id": 159', b'"chat_id": 158'))
    trace = read(path)
    assert trace.requests["session_id"].to_list() == [158, 160]
    assert trace.notes[0].startswith("1 conversations begin before the file")


def test_a_turn_that_is_its_own_ancestor_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(SAMPLES["qwen_bailian"].data.replace(b'"parent_chat_id": -1', b'"parent_chat_id": 160'))
    assert "FILE: chat 159 is its own ancestor" in refusal(path)


@pytest.mark.parametrize(
    ("reader", "old", "new", "said"),
    [
        (
            "burstgpt",
            b"Response tokens",
            b"Responses",
            "no column 'Response tokens' for output_tokens: did you mean 'Res",
        ),
        ("guidellm", b'"benchmarks"', b'"benches"', "FILE: has no benchmark 0 (0 there, counted from 0)"),
        ("inference_perf", b"[", b'{"a": [', "FILE: line 1: is not JSON"),
        ("llmservingsim", b'"input_tok_ids"', b'"sub_requests"', "FILE: row 0: sub_requests (2 such rows): calls of"),
        (
            "servegen_offline",
            b"output_length",
            b"image_ids",
            "FILE: has no output_length: of ServeGen's offline traces",
        ),
        ("sharegpt", b'"value"', b'"text"', "FILE: row 0: a turn has no text 'value'"),
        ("splitwise_sim", b"2.5,1,", b"2.5,4,", "FILE: batch_size: row 1: '4' is not 1 (1 such rows)"),
        (
            "vllm_bench",
            b"input_lens",
            b"inputs",
            "FILE: has no array 'input_lens': save the result with --save-detailed",
        ),
        ("vllm_bench", b"[5, 0, 6]", b"[5]", "FILE: the arrays are not equally long: 3 input_lens, 1 output_lens"),
        ("otel_genai", b"resourceSpans", b"spans", "FILE: row 0: is no export of spans"),
        (
            "openai_usage",
            b'"usage"',
            b'"use"',
            "no column 'usage.prompt_tokens' for prompt_tokens: did you mean 'use.pr",
        ),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path: Path, reader: str, old: bytes, new: bytes, said: str) -> None:
    sample = SAMPLES[reader]
    path = tmp_path / sample.name
    path.write_bytes(sample.data.replace(old, new))
    assert said in refusal(path, reader, **sample.options)


def test_failed_requests_are_errors_where_they_are_not_to_be_dropped(tmp_path: Path) -> None:
    path = SAMPLES["burstgpt"].write(tmp_path)
    assert "row 1: '0' is not a whole number from 1" in refusal(path, drop_failed=False)


def test_lengths_without_times_take_an_arrival_process(tmp_path: Path) -> None:
    path = tmp_path / "arxiv.csv"
    path.write_text("num_prefill_tokens,num_decode_tokens\n3772,54\n2015,156\n", encoding="utf-8")
    assert "FILE: no times of arrival" in refusal(path)

    drawn = [read(path, arrivals=PoissonArrivals(2.0), seed=seed).requests for seed in (0, 0, 1)]
    assert drawn[0]["prompt_tokens"].to_list() == [3772, 2015]
    assert drawn[0].equals(drawn[1])
    assert not drawn[0].equals(drawn[2])


def test_litellm_payloads_in_an_array_or_a_table(tmp_path: Path) -> None:
    record = {
        "startTime": 1768000000.25,
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "model": "m",
        "model_group": None,
    }
    path = tmp_path / "payloads.json"
    path.write_text(json.dumps([record, {**record, "startTime": 1768000001.0}]), encoding="utf-8")
    assert read(path).requests.select(COLUMNS).rows() == [(0.0, 10, 5, "m"), (0.75, 10, 5, "m")]
    table = tmp_path / "spend.csv"
    table.write_text("startTime,prompt_tokens,completion_tokens\n2026-01-10 10:00:00.5,10,5\n", encoding="utf-8")
    assert len(read(table)) == 1


def test_langfuse_exports_to_blob_storage(tmp_path: Path) -> None:
    usage = {"input": 10, "output": 5, "total": 15}
    record = {"type": "GENERATION", "provided_model_name": "m", "usage_details": usage, "level": "DEFAULT"}
    starts = ("2024-05-29 13:46:19.963000", "2024-05-29 13:46:20.963000")
    path = tmp_path / "observations.jsonl"
    path.write_text("\n".join(json.dumps({**record, "start_time": start}) for start in starts), encoding="utf-8")
    trace = read(path, "langfuse")
    assert trace.requests.select(COLUMNS).rows() == [(0.0, 10, 5, "m"), (1.0, 10, 5, "m")]
    assert trace.start == datetime(2024, 5, 29, 13, 46, 19, 963000, tzinfo=UTC)


def test_spans_in_one_document(tmp_path: Path) -> None:
    sample = SAMPLES["otel_genai"]
    exports = [json.loads(line) for line in sample.data.splitlines()]
    merged = {"resourceSpans": [resource for export in exports for resource in export["resourceSpans"]]}
    for indent in (None, 1):
        path = tmp_path / f"spans{indent}.json"
        path.write_text(json.dumps(merged, indent=indent), encoding="utf-8")
        assert read(path).requests.select(COLUMNS).rows() == sample.rows
