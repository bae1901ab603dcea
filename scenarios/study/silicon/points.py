"""Measured points of vLLM that `aiconfigurator-core` ships, and how each of its rows is read.

`systems/silicon_sample.csv` of the package holds mean TTFT and TPOT at a closed-loop concurrency. Of it the
aggregated vLLM rows are read. Most are runs of SemiAnalysis' InferenceX; NVIDIA's own of Qwen3 and Llama-3.1-8B have
a path of a machine as their source. Which rows count is in `split`, with which settings servers ran in
`servers`. The rules:

- **Concurrency** is `silicon_concurrency` in `silicon_data_source`. `batch_size` is it divided by
  `attention_dp_size`. A row without one is not scored.
- **Checkpoint.** `CHECKPOINTS` says which one `model_path` and `precision` mean. gpt-oss is labelled fp4 and nvfp4
  everywhere, also on Hopper, which has no such operations: it is the MXFP4 that its checkpoint is kept in. Rows
  without a label are of the checkpoint as it is published: Qwen3-32B in bf16. Models labelled fp8 whose checkpoint is
  in blocks of FP8 are called fp8_block here; int4 is Kimi's checkpoint, which has only its experts in it.
- **GPUs.** InferenceX calls the number of GPUs tp, and its scripts start vLLM with `--tensor-parallel-size` of it
  and, for `ep` above 1, `--enable-expert-parallel`. Rows with `attention_dp_size` above 1 (61 with tp 4, dp 4, ep 16,
  which would be 16 GPUs; 36 with 2, 2, 4) are such runs on `tp_size` GPUs: some are in the file again as tp 4, dp 1,
  ep 4 with the same times, and no node of H100 has 16 GPUs. They are read as tp, dp 1, ep tp. Where
  `attention_dp_size` is empty it is what makes attention as wide as the experts: `moe_tp_size` x `moe_ep_size` /
  `tp_size`.
- **Lengths.** InferenceX draws prompts and outputs evenly from 80 to 100 % of `isl` and `osl` (`--random-range-ratio
  0.8`). Of the other rows they are drawn from 90 to 110 %, an assumption: requests that are all as long as the file
  says would keep clients in step, each wave's prompts waiting for one another, which the fit fifth does not show.
- **Version.** Major and minor of `backend_version`. Rows without one are of October to December 2025, when InferenceX
  went from vLLM 0.10.2 to 0.11.2 (its perf-changelog.yaml): they are called 0.11. The nightly build is of the days
  before 0.19.0, and is called that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl

from scenarios.errors import RunError
from scenarios.study.silicon.servers import DEFAULTS, Server, server_of
from traces import nearest

ENGINE = "vllm"
GPUS = {"h100_sxm": "H100-SXM", "h200_sxm": "H200-SXM", "b200_sxm": "B200-SXM", "b300_sxm": "B300-SXM"}
"""Names of the catalog for those of the file."""

INFERENCEX_LENGTHS, NVIDIA_LENGTHS = (0.8, 1.0), (0.9, 1.1)
UNLABELLED_VERSION, NIGHTLY_VERSION = "0.11", "0.19"
_CONCURRENCY = re.compile(r"silicon_concurrency=(\d+)")
_MEASURED = re.compile(r"measured=(\d{4}-\d\d-\d\d)")
_NVIDIA_SOURCE = "source_file=/"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights that were served.

    Attributes:
        name: What the model is called in tables.
        config: The model whose `config.json` in the package describes them.
        precision: Number format of their matrix products; `config` may describe the model in another one.
    """

    name: str
    config: str
    precision: str


CHECKPOINTS = {
    ("MiniMaxAI/MiniMax-M2.5", "fp4"): Checkpoint("MiniMax-M2.5", "nvidia/MiniMax-M2.5-NVFP4", "nvfp4"),
    ("MiniMaxAI/MiniMax-M2.5", "fp8"): Checkpoint("MiniMax-M2.5", "MiniMaxAI/MiniMax-M2.5", "fp8_block"),
    ("Qwen/Qwen3-235B-A22B-FP8", "fp8"): Checkpoint("Qwen3-235B-A22B", "Qwen/Qwen3-235B-A22B-FP8", "fp8_block"),
    ("Qwen/Qwen3-32B", ""): Checkpoint("Qwen3-32B", "Qwen/Qwen3-32B", "bf16"),
    ("Qwen/Qwen3-32B", "fp8"): Checkpoint("Qwen3-32B", "Qwen/Qwen3-32B-FP8", "fp8_block"),
    ("meta-llama/Llama-3.1-70B", "fp4"): Checkpoint("Llama-3.1-70B", "meta-llama/Meta-Llama-3.1-70B", "nvfp4"),
    ("meta-llama/Llama-3.1-70B", "fp8"): Checkpoint("Llama-3.1-70B", "nvidia/Llama-3.1-70B-Instruct-FP8", "fp8"),
    ("moonshotai/Kimi-K2.5", "fp4"): Checkpoint("Kimi-K2.5", "nvidia/Kimi-K2.5-NVFP4", "nvfp4"),
    ("moonshotai/Kimi-K2.5", "int4"): Checkpoint("Kimi-K2.5", "moonshotai/Kimi-K2.5", "int4"),
    ("nvidia/Llama-3.1-8B-Instruct-FP8", "fp8"): Checkpoint("Llama-3.1-8B", "meta-llama/Meta-Llama-3.1-8B", "fp8"),
    ("openai/gpt-oss-120b", "fp4"): Checkpoint("gpt-oss-120b", "openai/gpt-oss-120b", "mxfp4"),
}
"""What was served, by `model_path` and `precision` of the file."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is run: a replica, and clients that each send their next request when the last one is answered.

    Attributes:
        checkpoint: The weights.
        gpu: GPU type of the catalog.
        tp: Tensor-parallel degree of attention.
        dp: Copies of attention, each with its share of the requests.
        moe_tp: Over how many GPUs each expert is split.
        moe_ep: Over how many groups of GPUs experts are spread.
        gemm_mode: The package's name for the numbers of dense layers, as the file has it; None where it has none.
        moe_mode: The same of experts.
        prompt_tokens: Prompt as the file has it.
        output_tokens: Output as the file has it.
        lengths: The shortest and the longest prompt and output, as shares of those.
        concurrency: Clients; None where the file does not say.
        version: Of vLLM, major and minor.
        server: Settings of the server.
    """

    checkpoint: Checkpoint
    gpu: str
    tp: int
    dp: int
    moe_tp: int
    moe_ep: int
    gemm_mode: str | None
    moe_mode: str | None
    prompt_tokens: int
    output_tokens: int
    lengths: tuple[float, float]
    concurrency: int | None
    version: str = UNLABELLED_VERSION
    server: Server = DEFAULTS


@dataclass(frozen=True, slots=True)
class SiliconRow:
    """A measured point: what was run, the means over its requests, and the row's name in the file."""

    case: Case
    ttft_ms: float
    tpot_ms: float
    id: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mean times of requests."""

    ttft_s: float
    tpot_s: float


Answer = Estimate | str
"""An estimate, or why there is none."""


def sample_path() -> Path:
    """Where the file is.

    Raises:
        RunError: The package is not installed.
    """
    spec = find_spec("aiconfigurator_core")
    if spec is None or not spec.submodule_search_locations:
        msg = "accuracy silicon needs the optional package aiconfigurator-core: pip install 'hetserve[aiconfigurator]'"
        raise RunError(msg)
    return Path(spec.submodule_search_locations[0]) / "systems" / "silicon_sample.csv"


def read_silicon(path: Path) -> list[SiliconRow]:
    """The aggregated vLLM rows of the file.

    Raises:
        RunError: A row is of a model or GPU that no rule is for.
    """
    table = pl.read_csv(path, infer_schema_length=None, schema_overrides={"precision": pl.String})
    chosen = table.with_row_index("line", offset=2).filter(pl.col("backend") == ENGINE, pl.col("mode") == "agg")
    return [_row(path, fields) for fields in chosen.iter_rows(named=True)]


def _row(path: Path, fields: dict[str, Any]) -> SiliconRow:
    where = f"{path}:{fields['line']}"
    label = fields["model_path"], fields["precision"] or ""
    if label not in CHECKPOINTS:
        known = nearest(" ".join(label), [" ".join(names) for names in CHECKPOINTS])
        msg = f"{where} model_path, precision: no rule for {' '.join(label)!r}: {known}"
        raise RunError(msg)
    if fields["system"] not in GPUS:
        msg = f"{where} system: no rule for {fields['system']!r}: {nearest(fields['system'], GPUS)}"
        raise RunError(msg)
    checkpoint, gpu = CHECKPOINTS[label], GPUS[fields["system"]]
    source: str = fields["silicon_data_source"]
    is_nvidia = source.startswith(_NVIDIA_SOURCE)
    concurrency = _CONCURRENCY.search(source)
    n_clients = int(concurrency[1]) if concurrency else None
    measured = _MEASURED.search(source)
    version = version_of(fields["backend_version"])
    prompt_tokens = int(fields["isl"])
    server = DEFAULTS
    if n_clients is not None and not is_nvidia:
        date = measured[1] if measured else ""
        server = server_of(checkpoint.name, checkpoint.precision, gpu, version, date, prompt_tokens, n_clients)
    tp, dp, moe_tp, moe_ep = _layout(fields)
    case = Case(
        checkpoint=checkpoint,
        gpu=gpu,
        tp=tp,
        dp=dp,
        moe_tp=moe_tp,
        moe_ep=moe_ep,
        gemm_mode=fields["gemm_quant_mode"],
        moe_mode=fields["moe_quant_mode"],
        prompt_tokens=prompt_tokens,
        output_tokens=int(fields["osl"]),
        lengths=NVIDIA_LENGTHS if is_nvidia else INFERENCEX_LENGTHS,
        concurrency=n_clients,
        version=version,
        server=server,
    )
    return SiliconRow(case, fields["silicon_ttft_ms"], fields["silicon_tpot_ms"], fields["id"])


def version_of(label: str | None) -> str:
    """Major and minor version of vLLM.

    >>> version_of("0.19.0"), version_of("nightly-5b8c30d62b754b57"), version_of(None)
    ('0.19', '0.19', '0.11')
    """
    if label is None:
        return UNLABELLED_VERSION
    if label.startswith("nightly"):
        return NIGHTLY_VERSION
    return ".".join(label.split(".")[:2])


def _layout(fields: dict[str, Any]) -> tuple[int, int, int, int]:
    """`tp`, `dp`, `moe_tp` and `moe_ep` of a row."""
    tp, dp, moe_tp, moe_ep = (
        None if fields[name] is None else int(fields[name])
        for name in ("tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
    )
    assert tp is not None
    if dp is not None and dp > 1:
        return tp, 1, 1, tp
    n_gpus = max(tp, (moe_tp or 1) * (moe_ep or 1))
    return tp, dp or n_gpus // tp, moe_tp or 1, moe_ep or 1
