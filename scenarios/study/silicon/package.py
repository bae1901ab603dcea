"""What `aiconfigurator-core` itself expects of a measured point.

It is `run_agg` of the package's vLLM backend: one mixed and one decode iteration, weighted. Its batch
is the clients of one copy of attention, rounded up. Its `ctx_tokens`, prompt tokens of a mixed iteration, is `isl`,
as the command line of aiconfigurator has it. It gets the lengths of the file, for it knows of no others. Its tables
are those of the version that it calls `current`, measured kernels only. Numbers are those that the file says,
`gemm_quant_mode` and `moe_quant_mode`; where it says none, or the tables have none of them for this GPU and layout,
the checkpoint's.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from math import ceil
from typing import Any

from scenarios.study.silicon.points import ENGINE, GPUS, Answer, Case, Estimate


def package_estimate(case: Case, concurrency: int) -> Answer:
    """The package's own analytic estimate of aggregated serving."""
    answer: Answer = ""
    for gemm_mode, moe_mode in ((case.gemm_mode, case.moe_mode), (None, None)):
        answer = _run_agg(case, concurrency, gemm_mode, moe_mode)
        if isinstance(answer, Estimate):
            break
    return answer


def _run_agg(case: Case, concurrency: int, gemm_mode: str | None, moe_mode: str | None) -> Answer:
    from aiconfigurator_core.sdk.config import RuntimeConfig
    from aiconfigurator_core.sdk.errors import PerfDataNotAvailableError

    workload = RuntimeConfig(
        batch_size=ceil(concurrency / case.dp), beam_width=1, isl=case.prompt_tokens, osl=case.output_tokens
    )
    layout = case.tp, case.dp, case.moe_tp, case.moe_ep
    try:
        model, database, backend = _package_model(case.checkpoint.config, case.gpu, layout, gemm_mode, moe_mode)
        figures = backend.run_agg(model, database, workload, ctx_tokens=case.prompt_tokens).get_result_dict()
    except (PerfDataNotAvailableError, ValueError) as error:  # refusals of precisions and layouts are ValueErrors
        return _shortened(error)
    return Estimate(figures["ttft"] / 1e3, figures["tpot"] / 1e3)


@lru_cache(maxsize=64)
def _package_model(
    config: str, gpu: str, layout: tuple[int, int, int, int], gemm_mode: str | None, moe_mode: str | None
) -> tuple[Any, Any, Any]:
    """The package's model, tables and backend, one for each model: it keeps results by lengths alone."""
    logging.getLogger("aiconfigurator_core").setLevel(logging.ERROR)  # it warns about tables of other models
    from aiconfigurator_core.sdk.backends.factory import get_backend
    from aiconfigurator_core.sdk.config_builders import build_model_config
    from aiconfigurator_core.sdk.models import get_model
    from aiconfigurator_core.sdk.perf_database import get_database, resolve_query_version

    system = next(name for name, of_catalog in GPUS.items() if of_catalog == gpu)
    tp, dp, moe_tp, moe_ep = layout
    settings = build_model_config(tp, 1, dp, moe_tp, moe_ep, gemm_quant_mode=gemm_mode, moe_quant_mode=moe_mode)
    model = get_model(config, settings, ENGINE)
    database = get_database(system, ENGINE, resolve_query_version(system, ENGINE, "current"))
    return model, database, get_backend(ENGINE)


def _shortened(error: Exception) -> str:
    """What the package says, without the figures of the case."""
    return str(error).partition(" at /")[0].partition(" {")[0].partition(": tried")[0]
