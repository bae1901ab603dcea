"""Public traces, fetched when asked for: kept in a cache, with their licence, and their bytes checked."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from traces.errors import TraceError, nearest

CHUNK_BYTES = 1 << 18
TIMEOUT_S = 60.0
LFS_POINTER = b"version https://git-lfs.github.com/spec"

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class PublicTrace:
    """A trace that its licence lets everybody use.

    Attributes:
        url: Where it is published.
        reader: What reads it; see `traces.READERS`.
        licence: Its licence, and what to cite.
        sha256: Checksum of bytes that were seen when this was written; None: of none.
    """

    url: str
    reader: str
    licence: str
    sha256: str | None = None

    @property
    def file_name(self) -> str:
        """Name of the file in the cache."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Download:
    """A public trace on this machine.

    Attributes:
        path: The file.
        trace: What it is.
        was_cached: Whether it was there already.
        checked: How its bytes were checked, as a sentence.
    """

    path: Path
    trace: PublicTrace
    was_cached: bool
    checked: str


_AZURE = "https://raw.githubusercontent.com/Azure/AzurePublicDataset/master/data"
_AZURE_2024 = "https://azurepublicdatasettraces.blob.core.windows.net/azurellminfererencetrace"
_MOONCAKE = "https://raw.githubusercontent.com/kvcache-ai/Mooncake/main/FAST25-release/traces"
_BURSTGPT = "https://github.com/HPMLL/BurstGPT/releases/download/v1.1"
_BAILIAN = "https://media.githubusercontent.com/media/alibaba-edu/qwen-bailian-usagetraces-anon/main"

_CC_BY = "CC BY 4.0 (creativecommons.org/licenses/by/4.0)"
_APACHE = "Apache-2.0 (www.apache.org/licenses/LICENSE-2.0)"
_SPLITWISE = f"{_CC_BY}; cite Patel et al., Splitwise, ISCA 2024"
_FAST25 = f"{_APACHE}; cite Qin et al., Mooncake, FAST 2025"
_BURST = f"{_CC_BY}; cite Wang et al., BurstGPT, arXiv:2401.17644"
_ATC25 = f"{_APACHE}; cite Wang et al., KVCache Cache in the Wild, USENIX ATC 2025"

PUBLIC_TRACES: dict[str, PublicTrace] = {
    "azure_2023_code": PublicTrace(
        f"{_AZURE}/AzureLLMInferenceTrace_code.csv",
        "azure_2023",
        _SPLITWISE,
        "54e9a6d2a4bd06ba1e060304b900abbc74cbea53de96506e60fe5bb4f2277fb6",
    ),
    "azure_2023_conv": PublicTrace(
        f"{_AZURE}/AzureLLMInferenceTrace_conv.csv",
        "azure_2023",
        _SPLITWISE,
        "2f1e5b666d4e3055fdbba98598ce2ec307767b9064e03e2fa46676dbcc7d0bf8",
    ),
    "azure_2024_code": PublicTrace(
        f"{_AZURE_2024}/AzureLLMInferenceTrace_code_1week.csv",
        "azure_2024",
        f"{_CC_BY}; cite Stojkovic et al., DynamoLLM, arXiv:2408.00741",
    ),
    "azure_2025_multimodal": PublicTrace(
        f"{_AZURE}/AzureLMMInferenceTrace_multimodal.csv.gz",
        "azure_2025",
        f"{_CC_BY}; cite Qiu et al., ModServe, SoCC 2025",
    ),
    "burstgpt_1": PublicTrace(f"{_BURSTGPT}/BurstGPT_1.csv", "burstgpt", _BURST),
    "burstgpt_2": PublicTrace(f"{_BURSTGPT}/BurstGPT_2.csv", "burstgpt", _BURST),
    "mooncake_conversation": PublicTrace(
        f"{_MOONCAKE}/conversation_trace.jsonl",
        "mooncake",
        _FAST25,
        "b8cbb061a85206d729d91cdc2981f43c9e0d99209dce588d3af5f7934408b9df",
    ),
    "mooncake_synthetic": PublicTrace(f"{_MOONCAKE}/synthetic_trace.jsonl", "mooncake", _FAST25),
    "mooncake_toolagent": PublicTrace(f"{_MOONCAKE}/toolagent_trace.jsonl", "mooncake", _FAST25),
    "qwen_bailian_a": PublicTrace(f"{_BAILIAN}/qwen_traceA_blksz_16.jsonl", "qwen_bailian", _ATC25),
    "qwen_bailian_b": PublicTrace(f"{_BAILIAN}/qwen_traceB_blksz_16.jsonl", "qwen_bailian", _ATC25),
}


def get_trace(
    name: str, *, folder: Path | None = None, url: str | None = None, progress: Progress | None = None
) -> Download:
    """Fetch a public trace, or find it in the cache.

    Bytes are compared with a checksum that is known here, or else with that of the first download, which is written
    beside the file (`.sha256`): what the publisher changes later is noticed, not taken.

    Args:
        name: A key of `PUBLIC_TRACES`.
        folder: The cache; by default hetserve's, of this user.
        url: Another place to fetch it from, as a mirror.
        progress: Called with the bytes that have come, and with how many there will be, if that is known.

    Returns:
        Where the file is, its licence, and how it was checked.

    Raises:
        TraceError: The name is unknown, the file cannot be fetched or kept, or its bytes are not those expected.
    """
    if name not in PUBLIC_TRACES:
        msg = f"unknown trace {name!r}: {nearest(name, PUBLIC_TRACES)}"
        raise TraceError(msg)
    trace = PUBLIC_TRACES[name]
    folder = user_cache_path("hetserve") / "traces" if folder is None else folder
    path = folder / trace.file_name
    pin = path.with_name(f"{path.name}.sha256")
    try:
        was_cached = path.is_file()
        expected = trace.sha256 or (pin.read_text(encoding="ascii").strip() if pin.is_file() else None)
        if was_cached:
            found = _checksum(path)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            found = _fetch(url or trace.url, path, expected, progress)
    except OSError as error:
        msg = f"{path}: cannot be kept: {error.strerror or error}"
        raise TraceError(msg) from None
    if expected is not None and found != expected:
        msg = f"{path}: is not what was downloaded (its SHA-256 is {found[:16]}..., not {expected[:16]}...): delete it"
        raise TraceError(msg)
    if expected is None:
        pin.write_text(f"{found}\n", encoding="ascii")
    return Download(path, trace, was_cached, _say_how(trace, found, is_new=expected is None))


def _say_how(trace: PublicTrace, found: str, *, is_new: bool) -> str:
    if trace.sha256 is not None:
        return f"SHA-256 {found[:16]}... is that of the bytes seen when this release was made"
    if is_new:
        return f"SHA-256 {found[:16]}... was seen for the first time: later downloads are compared with it"
    return f"SHA-256 {found[:16]}... is that of the first download"


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(url: str, path: Path, expected: str | None, progress: Progress | None) -> str:
    """Download to a sibling and rename it when all is there and right; the checksum of what came."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        found = _stream(url, part, progress)
        if expected is not None and found != expected:
            msg = f"{url}: sends other bytes than expected (SHA-256 {found[:16]}..., not {expected[:16]}...): not kept"
            raise TraceError(msg)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return found


def _stream(url: str, part: Path, progress: Progress | None) -> str:
    if not url.startswith(("https://", "http://")):
        msg = f"{url}: is no address of the web; allowed: https:// or http://"
        raise TraceError(msg)
    digest = hashlib.sha256()
    n_bytes = 0
    start = b""
    with part.open("wb") as file:
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
                header = response.headers.get("Content-Length")
                n_expected = int(header) if header and header.isdigit() else None
                while chunk := response.read(CHUNK_BYTES):
                    start = start or chunk[: len(LFS_POINTER)]
                    file.write(chunk)
                    digest.update(chunk)
                    n_bytes += len(chunk)
                    if progress is not None:
                        progress(n_bytes, n_expected)
        except urllib.error.HTTPError as error:
            error.close()
            msg = f"{url}: cannot be fetched: HTTP {error.code} {error.reason}"
            raise TraceError(msg) from None
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", None) or error
            msg = f"{url}: cannot be fetched: {reason}"
            raise TraceError(msg) from None
    if n_expected is not None and n_bytes != n_expected:
        msg = f"{url}: cannot be fetched: {n_bytes} of {n_expected} bytes came"
        raise TraceError(msg)
    if not n_bytes or start.startswith(LFS_POINTER):
        msg = f"{url}: sends {'nothing' if not n_bytes else 'a pointer of Git LFS, not the file'}"
        raise TraceError(msg)
    return digest.hexdigest()
