"""Downloads from a server on this machine: cached, checked, pinned, and refused when something is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from traces import READERS, TraceError, download, read
from traces.download import PUBLIC_TRACES, get_trace

BURSTGPT = b"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,10,5,15,API log\n"


class Files(BaseHTTPRequestHandler):
    """Answers with what the test put there."""

    files: ClassVar[dict[str, bytes]] = {}
    n_short = 0

    def do_GET(self) -> None:
        data = self.files.get(self.path)
        if data is None:
            self.send_error(404, "Not Found")
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data) + self.n_short))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Files, "files", {"/BurstGPT_1.csv": BURSTGPT})
    monkeypatch.setattr(Files, "n_short", 0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as http:
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_a_download_is_kept_pinned_and_read(tmp_path: Path, server: str) -> None:
    seen: list[tuple[int, int | None]] = []
    url = f"{server}/BurstGPT_1.csv"
    first = get_trace("burstgpt_1", folder=tmp_path / "new", url=url, progress=lambda *args: seen.append(args))
    assert not first.was_cached
    assert seen == [(len(BURSTGPT), len(BURSTGPT))]
    assert "CC BY 4.0" in first.trace.licence
    assert "was seen for the first time: later downloads are compared with it" in first.checked
    assert len(read(first.path, first.trace.reader)) == 1
    again = get_trace("burstgpt_1", folder=tmp_path / "new", url=url)
    assert again.was_cached
    assert again.checked.endswith("is that of the first download")
    assert sorted(path.name for path in first.path.parent.iterdir()) == ["BurstGPT_1.csv", "BurstGPT_1.csv.sha256"]


def test_other_bytes_than_the_first_time_are_not_kept(tmp_path: Path, server: str) -> None:
    url = f"{server}/BurstGPT_1.csv"
    path = get_trace("burstgpt_1", folder=tmp_path, url=url).path
    path.write_bytes(b"changed")
    with pytest.raises(TraceError, match=r"BurstGPT_1\.csv: is not what was downloaded .* delete it"):
        get_trace("burstgpt_1", folder=tmp_path, url=url)
    path.unlink()
    Files.files["/BurstGPT_1.csv"] = BURSTGPT + b"9,GPT-4,1,1,2,API log\n"
    with pytest.raises(TraceError, match="sends other bytes than expected"):
        get_trace("burstgpt_1", folder=tmp_path, url=url)
    assert not path.exists()


def test_known_bytes_are_checked_at_the_first_download(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{server}/BurstGPT_1.csv"
    with pytest.raises(TraceError, match="sends other bytes than expected"):
        get_trace("azure_2023_code", folder=tmp_path, url=url)
    assert list(tmp_path.iterdir()) == []
    known = replace(PUBLIC_TRACES["burstgpt_1"], sha256=hashlib.sha256(BURSTGPT).hexdigest())
    monkeypatch.setitem(download.PUBLIC_TRACES, "burstgpt_1", known)
    found = get_trace("burstgpt_1", folder=tmp_path, url=url)
    assert found.checked.endswith("is that of the bytes seen when this release was made")


def test_what_cannot_be_fetched_is_said_and_leaves_nothing(tmp_path: Path, server: str) -> None:
    def refusal(path: str) -> str:
        with pytest.raises(TraceError) as raised:
            get_trace("burstgpt_1", folder=tmp_path, url=path if "://" in path else f"{server}/{path}")
        assert list(tmp_path.iterdir()) == []
        return str(raised.value)

    Files.files |= {
        "/pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "/empty": b"",
    }
    assert refusal("none.csv").endswith("none.csv: cannot be fetched: HTTP 404 Not Found")
    assert refusal("pointer").endswith("sends a pointer of Git LFS, not the file")
    assert refusal("empty").endswith("sends nothing")
    assert refusal("file:///etc/passwd").startswith("file:///etc/passwd: is no address of the web")
    assert "cannot be fetched" in refusal("http://127.0.0.1:9/x")
    Files.n_short = 10
    assert "cannot be fetched" in refusal("BurstGPT_1.csv")


def test_an_unknown_trace_is_suggested() -> None:
    with pytest.raises(TraceError, match="unknown trace 'azure_2023_cnv': did you mean 'azure_2023_conv'"):
        get_trace("azure_2023_cnv")


def test_public_traces_have_readers_and_names_of_their_own() -> None:
    assert {trace.reader for trace in PUBLIC_TRACES.values()} <= set(READERS)
    assert len({trace.file_name for trace in PUBLIC_TRACES.values()}) == len(PUBLIC_TRACES)


@pytest.mark.data
def test_checksums_are_those_of_files_that_were_seen(data_dir: Path) -> None:
    seen = {
        "azure_2023_code": "azure_2023/azure_2023_code.csv",
        "azure_2023_conv": "azure_2023/azure_2023_conv.csv",
        "mooncake_conversation": "mooncake/conversation_trace.jsonl",
    }
    assert {name for name, trace in PUBLIC_TRACES.items() if trace.sha256} == set(seen)
    for name, file in seen.items():
        assert hashlib.sha256((data_dir / "requests" / file).read_bytes()).hexdigest() == PUBLIC_TRACES[name].sha256
