"""Times of mixes: homogeneous, and exact at the mix at which they are linearised."""

from __future__ import annotations

import math

import pytest

from planners import Candidate, Demand
from planners.capacity.mix_times import ClosedFormMixTimes
from sim import CompactServiceTime, ReplicaSpec, gpu_type, model_spec
from traces import PAPER_GRID, WorkloadMix

MIX = WorkloadMix.from_shares(PAPER_GRID, (0.33, 0.07, 0.08, 0.07, 0.27, 0.06, 0.06, 0.03, 0.03))
TIMES = ClosedFormMixTimes(CompactServiceTime(), [Demand.from_rate("Llama-3-70B", MIX, 1.0)])


def candidate(gpu: str, tp: int, pp: int = 1) -> Candidate:
    spec = ReplicaSpec.uniform(model_spec("Llama-3-70B"), gpu_type(gpu), tp, pp)
    return Candidate.from_spec(spec, (1.0,) * 9)


@pytest.mark.parametrize("shape", [(2, 1), (4, 1), (1, 3)])
def test_capacities_add_up_to_the_time_of_the_mix(shape: tuple[int, int]) -> None:
    one = candidate("A100-SXM-80GB", *shape)
    capacities = TIMES.capacity_rps(one, MIX.share)
    added_s = math.fsum(f / h for f, h in zip(MIX.share, capacities, strict=True))
    assert added_s == pytest.approx(TIMES.time_s(one, MIX.share), rel=1e-9)


def test_twice_the_amounts_take_twice_the_time() -> None:
    one = candidate("A100-SXM-80GB", 4)
    assert TIMES.time_s(one, [2.0] * 9) == pytest.approx(2 * TIMES.time_s(one, [1.0] * 9), rel=1e-12)
