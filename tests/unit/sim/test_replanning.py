from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from sim import (  # fmt: skip
    ConstantServiceTime,
    Deployment,
    Market,
    ReplicaLimits,
    ReplicaSpec,
    SimulationResult,
    gpu_type,
    model_spec,
    simulate,
)
from sim.errors import SettingsError
from sim.protocols import Decision, Situation
from traces import AvailabilityTimeline, Trace, constant_availability, scheduled_drops

MODEL = model_spec("Llama-3-8B")
L40S = ReplicaSpec.uniform(MODEL, gpu_type("L40S"), limits=ReplicaLimits(max_seqs=1))
A40 = ReplicaSpec.uniform(MODEL, gpu_type("A40"), limits=ReplicaLimits(max_seqs=1))
WIDE = replace(L40S, limits=ReplicaLimits(max_seqs=2))


@dataclass
class Given:
    """Says what it is told to say, in turn; None to leave all as it is."""

    answers: list[Deployment | None]
    delay_s: float = 0.0
    check_s: float | None = None
    asked: list[Situation] = field(default_factory=list)

    def next_check_s(self, now_s: float) -> float | None:
        return None if self.check_s is None else now_s + self.check_s

    def replan(self, situation: Situation) -> Decision | None:
        self.asked.append(situation)
        answer = self.answers[len(self.asked) - 1] if len(self.asked) <= len(self.answers) else None
        return None if answer is None else Decision(answer, situation.cause, situation.now_s)


def fleet(*replicas: ReplicaSpec) -> Deployment:
    return Deployment(tuple((spec, 1) for spec in replicas))


def run(
    first: Deployment, replanner: Given, timeline: AvailabilityTimeline, arrival_s: list[float], load_s: float = 0.0
) -> SimulationResult:
    """An iteration takes a second, a request ten."""
    n = len(arrival_s)
    trace = Trace.from_columns(arrival_s, [16] * n, [10] * n, model=MODEL.name)
    market = Market(timeline, load_bandwidth_bytes_per_s=MODEL.weight_bytes / load_s if load_s else 1e30)
    return simulate(
        first, trace, service_time=ConstantServiceTime(1.0), router="round_robin", market=market, replanner=replanner
    )


def test_another_gpu_type_takes_over() -> None:
    """The L40S goes at 5 s; an A40 is rented 2 s later, is up after 3 s, and begins the request again."""
    timeline = scheduled_drops({"L40S": 1, "A40": 1}, [(5.0, 900.0, {"L40S": 1.0})], end_s=1000.0, boot_s=3.0)
    result = run(fleet(L40S), Given([fleet(A40)], delay_s=2.0), timeline, [0.0])
    assert result.requests["finish_s"].to_list() == [20.0]
    assert result.replicas["gpu_types"].to_list() == ["L40S", "A40"]
    assert result.replicas["rented_s"].to_list() == [0.0, 7.0]
    assert result.replicas["open_s"].to_list() == [0.0, 10.0]
    assert result.manifest["replans"] == [
        {"trigger": "change", "cause_s": 5.0, "t_s": 5.0, "applied_s": 7.0, "kept": 0, "started": 1, "drained": 0}
    ]


def test_a_replica_that_is_not_wanted_any_more_ends_its_requests_first() -> None:
    """It gives up its GPU at 10 s; on a GPU that is up only the weights have to be loaded, which takes 4 s."""
    timeline = constant_availability({"L40S": 1}, boot_s=100.0)
    result = run(fleet(L40S), Given([fleet(WIDE)], check_s=5.0), timeline, [0.0, 6.0], load_s=4.0)
    assert result.requests["finish_s"].to_list() == [10.0, pytest.approx(24.0)]
    assert result.requests["n_interrupted"].sum() == 0
    assert result.replicas["notice_s"].to_list() == [5.0, None]
    assert result.replicas["released_s"].to_list() == [10.0, None]
    assert result.replicas["rented_s"].to_list() == [0.0, 10.0]
    assert result.replicas["open_s"].to_list() == [0.0, pytest.approx(14.0)]


def test_what_is_in_both_fleets_stays() -> None:
    timeline = constant_availability({"L40S": 1, "A40": 2}, boot_s=1.0)
    bigger = Deployment(((A40, 2), (L40S, 1)))
    result = run(fleet(L40S), Given([bigger], check_s=5.0), timeline, [0.0, 6.5, 6.6, 6.7])
    assert result.manifest["replans"][0] | {"kept": 1, "started": 2, "drained": 0} == result.manifest["replans"][0]
    assert result.requests["replica_id"].to_list() == [0, 0, 1, 2]
    assert result.replicas["notice_s"].to_list() == [None] * 3


def test_the_market_takes_what_drains_first() -> None:
    """From 5 s on the first drains; at 7 s one GPU is taken, so that its request begins anew on the second."""
    timeline = scheduled_drops({"L40S": 2}, [(7.0, 900.0, {"L40S": 0.5})], end_s=1000.0)
    two = Deployment(((L40S, 2),))
    result = run(two, Given([fleet(L40S)], check_s=5.0), timeline, [0.0, 1.0])
    assert result.replicas["notice_s"].to_list() == [None, 5.0]
    assert result.replicas["released_s"].to_list() == [None, 7.0]
    assert result.requests["n_interrupted"].to_list() == [0, 1]
    assert result.requests["finish_s"].to_list() == [10.0, 20.0]


def test_a_decision_is_void_if_the_market_changes_before_it_takes_effect() -> None:
    timeline = scheduled_drops({"L40S": 1, "A40": 1}, [(5.0, 6.0, {"L40S": 1.0})], end_s=1000.0)
    replanner = Given([fleet(A40), None], delay_s=2.0)
    result = run(fleet(L40S), replanner, timeline, [0.0])
    assert [situation.now_s for situation in replanner.asked] == [5.0, 6.0]
    assert [situation.offers["L40S"].n_gpus for situation in replanner.asked] == [0, 1]
    assert result.manifest["replans"] == []
    assert result.requests["finish_s"].to_list() == [16.0]


def test_replanners_see_what_has_happened_so_far() -> None:
    replanner = Given([], check_s=8.0)
    run(fleet(L40S), replanner, constant_availability({"L40S": 1}), [0.0, 3.0, 8.0, 9.0])
    assert [situation.n_arrived for situation in replanner.asked] == [2, 4, 4, 4]  # at 8, 16, 24 and 32 s; done at 40


def test_replanners_need_a_market() -> None:
    trace = Trace.from_columns([0.0], [16], [10], model=MODEL.name)
    with pytest.raises(SettingsError, match="needs a market"):
        simulate(fleet(L40S), trace, service_time=ConstantServiceTime(1.0), replanner=Given([]))


def test_replicas_serve_on_until_those_that_replace_them_are_there() -> None:
    """The A40 that is to replace the L40S takes requests from 8 s on; the L40S ends those that it has."""
    timeline = constant_availability({"L40S": 1, "A40": 1}, boot_s=3.0)
    result = run(fleet(L40S), Given([fleet(A40)], check_s=5.0), timeline, [0.0, 6.0, 9.0])
    assert result.requests["replica_id"].to_list() == [0, 0, 1]
    assert result.requests["finish_s"].to_list() == [10.0, 20.0, 19.0]
    assert result.replicas["notice_s"].to_list() == [8.0, None]
    assert result.replicas["released_s"].to_list() == [20.0, None]
    assert result.manifest["replans"][0]["applied_s"] == 5.0
