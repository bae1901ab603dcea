from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from sim.errors import ProfileError
from sim.timing.measured import read_profile

GOOD = """\
gpu,model,tp,phase,batch,new_tokens,context_tokens,time_ms,note,flag
H100-SXM,llama-3.1-8b,1,prefill,1,512,0,12.5,,
H100-SXM,llama-3.1-8b,1,decode,8,8,1024,6.5,,
H100-SXM,llama-3.1-8b,1,mixed,8,256,512,15.5,prefill n=256 past=128 + decode b=8 ctx=512; ,
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "times.csv"
    path.write_text(text)
    return path


def test_csv_and_parquet_say_the_same(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    table = read_profile(path)
    assert table["row"].to_list() == [2, 3, 4]
    assert table["past_tokens"].to_list() == [0, 0, 128]
    assert table["time_ms"].to_list() == [12.5, 6.5, 15.5]
    pl.read_csv(path).write_parquet(tmp_path / "times.parquet")
    again = read_profile(tmp_path / "times.parquet")
    assert again["row"].to_list() == [1, 2, 3]
    assert again.drop("row").equals(table.drop("row"))


def test_a_column_says_the_past_of_a_chunk(tmp_path: Path) -> None:
    path = write(tmp_path, "phase,batch,new_tokens,context_tokens,past_tokens,time_ms\nmixed,8,256,512,64,15.5\n")
    table = read_profile(path)
    assert table["past_tokens"].to_list() == [64]
    assert table["gpu"].to_list() == [None]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("time_ms", "time", "no column 'time_ms'; did you mean 'time'?"),
        ("decode,8,8", "decoding,8,8", "phase: row 3: unknown phase 'decoding': did you mean 'decode'?"),
        ("12.5", "fast", "time_ms: row 2: 'fast' is not a number"),
        ("12.5", "0", "time_ms: row 2: 0.0 must be above 0"),
        ("12.5", "inf", "time_ms: row 2: inf must be above 0"),
        ("12.5", "", "time_ms: row 2: is missing"),
        ("prefill,1,512", "prefill,1,0", "new_tokens: row 2: 0 must be 1 or more"),
        ("prefill,1,512", "prefill,0,512", "batch: row 2: 0 must be 1 or more"),
        ("8,8,1024", "8,8,-1", "context_tokens: row 3: -1 must be 0 or more"),
        ("8,8,1024", "8.5,8,1024", "batch: row 3: '8.5' is not a whole number"),
        ("8b,1,decode", "8b,0,decode", "tp: row 3: 0 must be 1 or more"),
        ("H100-SXM,llama-3.1-8b,1,decode", ",llama-3.1-8b,1,decode", "gpu: row 3: is missing"),
    ],
)
def test_mistakes_are_located(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ProfileError) as caught:
        read_profile(path, ("gpu",))
    assert str(caught.value).startswith(f"{path}: {said}")


def test_a_file_that_is_not_there_or_empty(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"nothing\.csv: cannot be read"):
        read_profile(tmp_path / "nothing.csv")
    with pytest.raises(ProfileError, match="cannot be read"):
        read_profile(write(tmp_path, ""))
    (tmp_path / "times.parquet").write_text("no parquet")
    with pytest.raises(ProfileError, match=r"times\.parquet: cannot be read"):
        read_profile(tmp_path / "times.parquet")
    with pytest.raises(ProfileError, match="there are no rows"):
        read_profile(write(tmp_path, GOOD.splitlines()[0] + "\n"))
