"""Files as people have them, each read with the right answer, or refused with what is wrong.

The schemas are those of public tools, the rows were made here: 40 requests with the lengths and times of one Poisson
process. `tests/data/traces` holds them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from traces import AllAtOnce, Trace, TraceError, read
from traces.readers import detect

FOLDER = Path(__file__).parents[2] / "data" / "traces"
FIRST = [(667, 204), (346, 276), (2437, 31)]


def lengths(trace: Trace, n: int = 3) -> list[tuple[int, int]]:
    return trace.requests.select("prompt_tokens", "output_tokens").head(n).rows()


def refusal(name: str, reader: str = "auto", **options: object) -> str:
    with pytest.raises(TraceError) as raised:
        read(FOLDER / name, reader, **options)
    return str(raised.value).replace(str(FOLDER / name), "FILE")


def test_azure_2024() -> None:
    trace = read(FOLDER / "azure_2024_code_1week.csv")
    assert trace.source.startswith("azure_2024:")
    assert lengths(trace) == [(2162, 5), (667, 204), (346, 276)]
    assert trace.requests["arrival_s"].head(3).to_list() == [0.0, 0.185727, 0.711975]
    assert trace.start == datetime(2024, 5, 10, 0, 0, 0, 9930, tzinfo=UTC)


def test_burstgpt() -> None:
    trace = read(FOLDER / "burstgpt_1.csv")
    assert len(trace) == 36
    assert trace.models == ("ChatGPT", "GPT-4")
    assert trace.requests["arrival_s"].head(3).to_list() == [0.0, 6.0, 6.0]
    assert trace.notes[0] == "left out: 4 failed requests (an error, or no answer)"
    assert read(FOLDER / "burstgpt_1.csv", models={"ChatGPT": "m", "GPT-4": "m"}).models == ("m",)
    kept = refusal("burstgpt_1.csv", drop_failed=False)
    assert "output_tokens ('Response tokens' in the file): row 4: '0' is not a whole number from 1" in kept
    assert "(4 such rows); requests without an answer can be left out: drop_failed: true" in kept


@pytest.mark.parametrize("name", ["excel_semicolon.csv", "utf16.csv"])
def test_tables_of_spreadsheets(name: str) -> None:
    trace = read(FOLDER / name)
    assert trace.source.startswith("csv:")
    assert (len(trace), lengths(trace)) == (40, FIRST)
    assert trace.requests["arrival_s"][2] == pytest.approx(0.575)


def test_a_plain_table_of_lengths_and_times() -> None:
    """The first arrival is the origin; nothing else is changed, and nothing is to be said."""
    trace = read(FOLDER / "code_lengths_poisson_shuffled.csv")
    assert trace.source.startswith("csv:")
    assert (len(trace), lengths(trace)) == (40, [(16, 12), (679, 14), (2045, 10)])
    assert (trace.requests["prompt_tokens"].sum(), trace.requests["output_tokens"].sum()) == (69012, 939)
    assert trace.duration_s == pytest.approx(19.970310703253883)


def test_a_gateways_log_in_milliseconds() -> None:
    columns = {"output_tokens": "completion_tokens", "arrival_s": "created_at_ms"}
    path = FOLDER / "gateway_epoch_ms.csv"
    for unit in ("ms", None):
        trace = read(path, "csv", columns=columns, time_unit=unit)
        assert (len(trace), lengths(trace)) == (40, FIRST)
        assert trace.duration_s == 16.498
        assert trace.start == datetime(2026, 1, 9, 23, 6, 40, tzinfo=UTC) + timedelta(milliseconds=195)
        assert trace.models == ("meta-llama/Llama-3.1-8B-Instruct",)
    assert "1768000000195 s are 56,025 years; if this is Unix time in ms, say time_unit: ms" in refusal(
        path.name, "csv", columns=columns, time_unit="s"
    )
    assert "likely: litellm; or csv with columns:" in refusal(path.name)


def test_guidellm_replay_is_not_mooncake() -> None:
    said = refusal("guidellm_replay.jsonl", "mooncake")
    assert "FILE: timestamp: row 0: 0.196 is not whole, and Mooncake's times are whole milliseconds" in said
    assert "say time_unit: s or ms (the reader guidellm_replay takes seconds)" in said
    assert "likely: guidellm_replay (seconds), mooncake (milliseconds)" in refusal("guidellm_replay.jsonl")
    for trace in (
        read(FOLDER / "guidellm_replay.jsonl", "mooncake", time_unit="s"),
        read(FOLDER / "guidellm_replay.jsonl", "guidellm_replay"),
    ):
        assert (len(trace), lengths(trace)) == (40, FIRST)
        assert trace.duration_s == pytest.approx(16.497)


def test_langfuse_is_newest_first() -> None:
    trace = read(FOLDER / "langfuse_observations.csv")
    assert (len(trace), lengths(trace)) == (40, FIRST)
    assert trace.models == ("llama-3.1-8b",)
    assert trace.duration_s == 16.498
    assert "39 rows are earlier than one before them (the first is row 1): sorted" in trace.notes


def test_llmservingsim() -> None:
    trace = read(FOLDER / "llmservingsim.jsonl")
    assert (len(trace), lengths(trace)) == (40, FIRST)
    assert trace.requests["arrival_s"][1] == (721905231 - 195657422) / 1e9


def test_llmservingsim_runs_of_vllm() -> None:
    trace = read(FOLDER / "llmservingsim_bench_requests.jsonl")
    assert lengths(trace, 2) == [(1695, 283), (610, 222)]
    assert trace.requests["arrival_s"][1] == pytest.approx(0.1627535, abs=1e-6)
    assert trace.notes[0] == "request ids are text: the rows of the file are used instead"
    columns = {"prompt_tokens": "input_toks", "output_tokens": "output_toks", "arrival_s": "arrival_time"}
    left_out = read(FOLDER / "llmservingsim_bench_requests.jsonl", "jsonl", columns={**columns, "request_id": None})
    assert left_out.requests.equals(trace.requests)


def test_mooncake_hashes_must_fit_the_prompts() -> None:
    assert refusal("mooncake_block16.jsonl") == (
        "FILE: request 0: 20 prefix hashes do not fit a prompt of 320 tokens at 512 tokens each (6 such requests); "
        "16 would fit: prefix_segment_tokens: 16"
    )
    trace = read(FOLDER / "mooncake_block16.jsonl", prefix_segment_tokens=16)
    assert trace.prefix_segment_tokens == 16
    hashes = trace.requests["prefix_hashes"].to_list()
    shared = sum(len(set(row) & set(hashes[0][:10])) for row in hashes[1:])
    assert shared * 16 / trace.requests["prompt_tokens"].sum() == pytest.approx(0.417, abs=0.0005)


def test_mooncake_hashes_of_64_bits_without_sign() -> None:
    trace = read(FOLDER / "mooncake_uint64.jsonl")
    first, second = trace.requests["prefix_hashes"].to_list()
    assert first[0] == second[0]
    assert first[1] != second[1]
    assert trace.notes == ("prefix hashes are no 64-bit whole numbers: they are numbered anew",)


def test_sharegpt_needs_a_rule_for_lengths_and_times() -> None:
    assert refusal("ShareGPT_V3_sample.json") == (
        "FILE: holds texts, not token counts: for an estimate say how long a token is, in English about "
        "chars_per_token: 4; not None"
    )
    assert "FILE: no times of arrival" in refusal("ShareGPT_V3_sample.json", chars_per_token=4)
    trace = read(FOLDER / "ShareGPT_V3_sample.json", chars_per_token=4, arrivals=AllAtOnce())
    assert lengths(trace, 6) == [(38, 135)] * 6


def test_vidur() -> None:
    trace = read(FOLDER / "vidur_trace.csv")
    assert (len(trace), lengths(trace)) == (40, FIRST)


def test_vllm_bench() -> None:
    trace = read(FOLDER / "vllm_bench_detailed.json")
    assert (len(trace), lengths(trace)) == (39, FIRST)
    assert trace.models == ("meta-llama/Llama-3.1-8B-Instruct",)
    assert trace.notes[0] == "left out: 1 failed requests (an error, or no answer)"
    assert trace.requests["arrival_s"][1] == pytest.approx(0.526248, abs=1e-6)
    assert read(FOLDER / "vllm_bench_detailed.json", model="m").models == ("m",)


def test_unix_seconds() -> None:
    trace = read(FOLDER / "epoch_seconds.csv")
    assert trace.requests["arrival_s"].to_list() == [0.0, 1.5]
    assert trace.start == datetime(2024, 5, 1, tzinfo=UTC)
    assert "arrivals are counted from the first, at 1714521600.0 s since 1970, 2024-05-01T00:00:00+00:00" in trace.notes


def test_date_times_with_different_offsets() -> None:
    trace = read(FOLDER / "iso_times.csv")
    assert trace.requests.select("request_id", "arrival_s", "prompt_tokens").rows() == [(1, 0.0, 5), (0, 7199.0, 10)]
    assert "1 row is earlier than one before it (row 1): sorted" in trace.notes
    assert trace.start == datetime(2024, 4, 30, 22, 0, 1, tzinfo=UTC)


@pytest.mark.data
def test_real_files_are_recognised(data_dir: Path) -> None:
    requests = data_dir / "requests"
    expected = {
        "azure_2023/azure_2023_conv.csv": ("azure_2023", 19_366),
        "azure_2023/azure_2023_code.csv": ("azure_2023", 8_819),
        "mooncake/conversation_trace.jsonl": ("mooncake", 12_031),
        "mooncake/mooncake_conversation.csv": ("mooncake", 12_031),
        "servegen/servegen_mix_24h.csv.gz": ("servegen", 199_885),
        "servegen/servegen_deepseek-r1_1h_natural.csv.gz": ("servegen", 24_892),
        "servegen/servegen_m-large_10min_natural.csv.gz": ("servegen", 74_169),
    }
    for name, (reader, n_requests) in expected.items():
        assert detect(requests / name) == reader
        assert len(read(requests / name)) == n_requests
    arxiv = read(requests / "arxiv_lengths/arxiv_summarization_lengths.csv", arrivals=AllAtOnce())
    assert (len(arxiv), arxiv.source.partition(":")[0]) == (28_257, "vidur")
