"""What is fitted to a fifth of the measured points."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from scenarios.study.silicon import fitting
from scenarios.study.silicon.fit import Fit, KernelFactors, Overheads, engine_of, lender_of, read_fit, scaled
from scenarios.study.silicon.fitting import SiliconFit
from scenarios.study.silicon.points import CHECKPOINTS, NVIDIA_LENGTHS, Answer, Case, Estimate, SiliconRow
from scenarios.study.silicon.servers import Server
from sim import EngineProfile, gpu_type

DENSE = CHECKPOINTS["Qwen/Qwen3-32B", ""]
EXPERTS = CHECKPOINTS["MiniMaxAI/MiniMax-M2.5", "fp8"]


def case_of(version: str, concurrency: int, server: Server | None = None) -> Case:
    checkpoint = DENSE if version == "0.12" else EXPERTS
    layout = (2, 1, 1, 1)
    return Case(checkpoint, "H100-SXM", *layout, None, None, 1024, 512, NVIDIA_LENGTHS, concurrency, version,
                server or Server())  # fmt: skip


def test_what_is_fitted_covers_all_versions() -> None:
    fit = read_fit()
    assert set(fit.overheads) == {"0.11", "0.12", "0.15", "0.16", "0.17", "0.18", "0.19"}
    assert fit.overheads["0.16"] == fit.overheads["0.17"]
    assert all(min(vars_of(of)) >= 0 for of in fit.overheads.values())
    assert len(fit.kernels) == len({*fit.kernels})


def vars_of(overheads: Overheads) -> list[float]:
    return [getattr(overheads, name) for name in Overheads.__slots__]


@pytest.mark.parametrize(
    ("version", "n_rows", "lender"),
    [
        ("0.16", {"0.15": 17, "0.16": 9, "0.17": 17}, "0.17"),
        ("0.16", {"0.15": 17, "0.16": 10, "0.17": 17}, "0.16"),
        ("0.16", {"0.11": 40, "0.16": 9, "0.19": 9}, "0.11"),
    ],
)
def test_a_version_with_few_rows_borrows(version: str, n_rows: dict[str, int], lender: str) -> None:
    assert lender_of(version, n_rows) == lender


def test_the_engine_schedules_ahead_where_its_version_or_the_script_says_so() -> None:
    assert not engine_of(case_of("0.12", 8), Overheads()).schedules_ahead
    assert engine_of(case_of("0.12", 8, Server(schedules_ahead=True)), Overheads()).schedules_ahead
    assert engine_of(case_of("0.19", 8), Overheads(1.0, 2.0, 3.0, 4.0)).frontend_s == 4.0


def test_kernels_take_so_many_times_as_long() -> None:
    gpu = gpu_type("B200-SXM")
    coefficients = gpu.coefficients
    assert coefficients is not None
    assert scaled(gpu, KernelFactors()) is gpu
    slower = scaled(gpu, KernelFactors(2.0, 4.0, 3.0, 0.5)).coefficients
    assert slower is not None
    before, after = coefficients.of_experts("nvfp4"), slower.of_experts("nvfp4")
    assert after.weight_read_efficiency == pytest.approx(before.weight_read_efficiency / 2)
    assert after.flops_efficiency == pytest.approx(before.flops_efficiency / 4)
    assert slower.layer_overhead_s == pytest.approx(3 * coefficients.layer_overhead_s)
    assert slower.expert_skew - 1 == pytest.approx((coefficients.expert_skew - 1) / 2)
    assert slower.kv_read_efficiency == coefficients.kv_read_efficiency


def test_the_fit_finds_overheads_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of servers whose times are a sum of known ones."""

    def simulated(case: Case, concurrency: int, engine: EngineProfile, factors: KernelFactors) -> Answer:
        tpot_s = 0.005 * factors.fixed + 1e-4 * concurrency * factors.weights
        tpot_s += engine.step_overhead_s + concurrency * engine.sequence_overhead_s
        ttft_s = 0.05 * factors.flops + 0.01 * concurrency * engine.request_overhead_s / 1e-3 + engine.frontend_s
        return Estimate(ttft_s + 2 * tpot_s, tpot_s)

    def mapper(function: Callable[[Any], Answer], cases: Iterable[Any]) -> Iterable[Answer]:
        return map(function, cases)

    monkeypatch.setattr(fitting, "simulated", simulated)
    true = Overheads(1.2e-3, 50e-6, 0.2e-3, 12e-3)
    rows = []
    for concurrency in (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 512):
        case = case_of("0.12", concurrency)
        found = simulated(case, concurrency, engine_of(case, true), KernelFactors())
        assert isinstance(found, Estimate)
        rows.append(SiliconRow(case, 1e3 * found.ttft_s, 1e3 * found.tpot_s, str(concurrency)))
    fitted = SiliconFit(rows, mapper)
    errors = [fitted.improve() for _ in range(5)]
    tpot, ttft = zip(*errors, strict=True)
    assert tpot[-1] < 0.01 < tpot[0]
    assert list(ttft) == sorted(ttft, reverse=True)
    fit: Fit = fitted.fit
    (factors,) = fit.kernels.values()
    per_sequence_s = fit.overheads["0.12"].sequence_overhead_s + 1e-4 * factors.weights
    assert per_sequence_s == pytest.approx(true.sequence_overhead_s + 1e-4, rel=0.02)
    (entry,) = fitted.to_dict()["overheads"]
    assert (entry["version"], entry["n"], entry["fitted_with"]) == ("0.12", 12, "0.12")
