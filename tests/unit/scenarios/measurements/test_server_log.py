from __future__ import annotations

from pathlib import Path

import pytest

from scenarios.errors import RunError
from scenarios.measurements.measurement import Server
from scenarios.measurements.server_log import read_server_log
from scenarios.measurements.settings import first_known, server_from

VLLM = """\
(APIServer pid=1) INFO 06-01 09:20:16 [api_server.py:1839] vLLM API server version 0.19.1
(APIServer pid=1) INFO 06-01 09:20:16 [utils.py:278] non-default args: {'model': 'meta-llama/Llama-3.1-8B', \
'max_num_seqs': 128, 'gpu_memory_utilization': 0.9}
(APIServer pid=1) INFO 06-01 09:20:20 [vllm.py:500] Chunked prefill is enabled with max_num_batched_tokens=2048.
(EngineCore pid=9) INFO 06-01 09:20:52 [core.py:112] Initializing a V1 LLM engine (v0.19.1) with config: \
model='meta-llama/Llama-3.1-8B', speculative_config=None, tensor_parallel_size=2, pipeline_parallel_size=1, \
enable_prefix_caching=True
(EngineCore pid=9) INFO 06-01 09:22:30 [kv_cache_utils.py:1733] GPU KV cache size: 41,408 tokens
(EngineCore pid=9) INFO 06-01 09:22:30 [kv_cache_utils.py:1734] Maximum concurrency for 8,192 tokens per request: 5.05x
"""
SGLANG = """\
[2026-01-10 10:00:00] server_args=ServerArgs(model_path='Qwen/Qwen3-32B', tp_size=4, chunked_prefill_size=8192, \
disable_radix_cache=False, max_running_requests=None)
[2026-01-10 10:01:00 TP0] KV Cache is allocated. #tokens: 171008, K 5.22 GB, V 5.22 GB
[2026-01-10 10:01:10 TP0] max_total_num_tokens=171008, chunked_prefill_size=8192, max_running_requests=2049
"""


def test_vllm(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text(VLLM)
    log = read_server_log(path)
    assert log.lists_arguments
    assert log.server == Server("vllm", "0.19.1", "meta-llama/Llama-3.1-8B", None, 2, 2588, 2048, 128, True, None)


def test_an_older_vllm_and_arguments_that_are_no_literals(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text(
        "INFO 11-21 13:28:37 llm_engine.py:249] Initializing an LLM engine (v0.6.4.post1) with config: model='a/b', "
        "tensor_parallel_size=1, block_size=32\n"
        "INFO 11-21 13:28:38 x.py:1] # GPU blocks: 1000, # CPU blocks: 2048\n"
        "INFO 11-21 13:28:38 x.py:1] non-default args: {'level': <Level.A: 1>, 'max_num_seqs': 64}\n"
    )
    server = read_server_log(path).server
    assert (server.version, server.kv_blocks, server.max_seqs) == ("0.6.4.post1", 2000, 64)


def test_sglang(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text(SGLANG)
    server = read_server_log(path).server
    assert server == Server("sglang", None, "Qwen/Qwen3-32B", None, 4, 10688, 8192, 2049, True, None)


def test_a_log_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text("GET /v1/models 200\n")
    with pytest.raises(RunError, match=r"server.log: says nothing of a server: no line such as vLLM's 'non-default"):
        read_server_log(path)
    with pytest.raises(RunError, match="cannot be read: Is a directory"):
        read_server_log(tmp_path)


def test_settings() -> None:
    with pytest.raises(RunError, match="f: prefix_caching is 'maybe', must be true or false"):
        server_from("f", {"prefix_caching": "maybe"})
    with pytest.raises(RunError, match="f: model_id is 3, must be a text"):
        server_from("f", {"model_id": 3})
    stated = [Server(tp=2, prefix_caching=False), Server(tp=4, gpu="A100", prefix_caching=True)]
    assert first_known(stated) == Server(tp=2, gpu="A100", prefix_caching=False)
