from __future__ import annotations

from collections import Counter

import pytest

from sim import (
    ROUTERS,
    CompactServiceTime,
    ConstantServiceTime,
    Deployment,
    ReplicaLimits,
    ReplicaSpec,
    RoutingTable,
    SimulationResult,
    UnknownNameError,
    gpu_type,
    model_spec,
    simulate,
)
from sim.routing.registry import make_router
from sim.routing.router import LeastLoaded, PlanWeighted, RoundRobin, decode_speed
from tests.strategies_sim import FakeReplica, with_kv_blocks
from traces import Trace, WorkloadGrid, WorkloadMix

LLAMA = model_spec("Llama-3-8B")
A40 = ReplicaSpec.uniform(LLAMA, gpu_type("A40"))
H100 = ReplicaSpec.uniform(LLAMA, gpu_type("H100-SXM"))
TENTH = ConstantServiceTime(0.1)


def at_once(n: int, prompt: int = 100, output: int = 20) -> Trace:
    return Trace.from_columns([0.0] * n, [prompt] * n, [output] * n, model=LLAMA.name)


def counts(result: SimulationResult, n_replicas: int) -> list[int]:
    routed = Counter(result.requests["replica_id"].to_list())
    return [routed[i] for i in range(n_replicas)]


@pytest.mark.parametrize("router", ["round_robin", "plan_weighted", "least_loaded"])
@pytest.mark.parametrize("n", [1, 4, 9, 30])
def test_equal_replicas_get_equal_counts(router: str, n: int) -> None:
    result = simulate(Deployment(((A40, 4),)), at_once(n), service_time=TENTH, router=router)
    found = counts(result, 4)
    assert sum(found) == n
    assert max(found) - min(found) <= 1


@pytest.mark.parametrize("router", ["round_robin", "plan_weighted", "least_loaded"])
def test_spaced_arrivals_rotate_over_equal_replicas(router: str) -> None:
    """Each request is done before the next comes: the one that is idle longest is next, not always the first."""
    trace = Trace.from_columns([10.0 * i for i in range(12)], [100] * 12, [5] * 12, model=LLAMA.name)
    result = simulate(Deployment(((A40, 4),)), trace, service_time=TENTH, router=router)
    assert result.requests["replica_id"].to_list() == [0, 1, 2, 3] * 3


def test_least_loaded_is_proportional_to_speed() -> None:
    n = 400
    deployment = Deployment(((A40, 2), (H100, 1)))
    result = simulate(deployment, at_once(n), service_time=CompactServiceTime(), router="least_loaded")
    (slow,), (fast,) = (CompactServiceTime().stage_times(spec) for spec in (A40, H100))
    speeds = []
    for stage in (slow, slow, fast):
        base, slope = stage.decode(32)
        speeds.append(1 / (base + slope * 32 * 1024))
    assert 3.5 < speeds[2] / speeds[0] < 5.5
    shares = [n * speed / sum(speeds) for speed in speeds]
    # To the request; the two slow ones may both be rounded in the same direction.
    slow_and_fast = zip(counts(result, 3), shares, (1, 1, 2), strict=True)
    assert all(abs(found - share) <= most for found, share, most in slow_and_fast)


def test_the_slowest_stage_is_the_speed_of_a_pipeline() -> None:
    """Stages of 1, 3 and 2 s give 32 tokens every 3 s."""
    assert decode_speed(FakeReplica(stage_s=(1.0, 3.0, 2.0))) == pytest.approx(32 / 3)


def test_least_loaded_counts_queued_and_running_until_they_end() -> None:
    """One long request on replica 0; short ones come when earlier short ones are done: all go to replica 1."""
    trace = Trace.from_columns([0.0, 1.0, 2.0, 3.0], [10] * 4, [1000, 2, 2, 2], model=LLAMA.name)
    result = simulate(Deployment(((A40, 2),)), trace, service_time=TENTH, router="least_loaded")
    assert result.requests["replica_id"].to_list() == [0, 1, 1, 1]


def test_a_request_that_ends_as_another_arrives_counts_no_more() -> None:
    trace = Trace.from_columns([0.0, 0.0, 0.5, 0.5], [10] * 4, [50, 5, 5, 5], model=LLAMA.name)
    result = simulate(Deployment(((A40, 2),)), trace, service_time=TENTH, router="least_loaded")
    assert result.requests["finish_s"][1] == 0.5
    assert result.requests["replica_id"].to_list() == [0, 1, 1, 0]  # were it counted, the third would go to 0


def test_least_loaded_ties_rotate() -> None:
    replicas = [FakeReplica() for _ in range(3)]
    router = LeastLoaded(replicas)
    assert [replicas.index(router.choose(0, 1)) for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]
    replicas[1].n_outstanding = 1
    assert [replicas.index(router.choose(0, 1)) for _ in range(4)] == [2, 0, 2, 0]


def test_long_requests_go_where_they_fit() -> None:
    small, large = with_kv_blocks(A40, 10), with_kv_blocks(A40, 20)  # 160 and 320 tokens
    trace = Trace.from_columns([0.0] * 5, [100, 200, 200, 290, 320], [60, 10, 120, 30, 1], model=LLAMA.name)
    for router in ROUTERS:
        deployment = Deployment(((small, 2), (large, 1)))
        requests = simulate(deployment, trace, service_time=TENTH, router=router).requests
        assert requests["replica_id"].to_list()[1:] == [2, 2, 2, None], router
        assert requests["replica_id"][0] in (0, 1, 2)
        assert requests["status"].to_list() == ["completed"] * 4 + ["rejected"]
        assert requests["reason"].to_list() == [None] * 4 + ["exceeds_context"]


def test_a_context_limit_counts_as_well() -> None:
    spec = ReplicaSpec.uniform(LLAMA, gpu_type("A40"), limits=ReplicaLimits(max_context_tokens=100))
    trace = Trace.from_columns([0.0, 0.0], [90, 90], [10, 11], model=LLAMA.name)
    for router in ROUTERS:
        requests = simulate(Deployment(((spec, 1),)), trace, service_time=TENTH, router=router).requests
        assert requests["reason"].to_list() == [None, "exceeds_context"]


def test_models_that_nobody_serves() -> None:
    trace = Trace.from_columns([0.0, 0.0], [10, 10], [5, 5], model=["Llama-3-70B", LLAMA.name])
    for router in ROUTERS:
        requests = simulate(Deployment(((A40, 1),)), trace, service_time=TENTH, router=router).requests
        assert requests["reason"].to_list() == ["no_replica_of_model", None]
        assert requests["replica_id"].to_list() == [None, 0]
    requests = simulate(Deployment(()), trace, service_time=TENTH).requests
    assert requests["reason"].to_list() == ["no_replica_of_model"] * 2


@pytest.mark.parametrize(
    ("router", "said"),
    [
        ("round-robin", "unknown router 'round-robin': did you mean 'round_robin'?"),
        ("random", "unknown router 'random': known: least_loaded, plan_weighted, round_robin"),
    ],
)
def test_unknown_routers_give_the_nearest(router: str, said: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        simulate(Deployment(((A40, 1),)), at_once(1), service_time=TENTH, router=router)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("settings", [{"router": "random"}, {"length_predictor": "crystal_ball"}])
def test_unknown_names_are_errors_though_nobody_asks(settings: dict[str, str]) -> None:
    """The router's although no replica serves the model; the predictor's although there is no routing table."""
    trace = Trace.from_columns([0.0], [10], [5], model="Llama-3-70B")
    deployment = Deployment(((A40, 1),))
    with pytest.raises(UnknownNameError):
        simulate(deployment, trace, service_time=TENTH, **settings)


# The plan's fractions -------------------------------------------------------------------------------------------

GRID = WorkloadGrid((1000, 10), (100, 4))
MIX = WorkloadMix.from_shares(GRID, [0.25] * 4)


def mixed_trace(n: int) -> Trace:
    """The four types in turn."""
    prompts, outputs = [1000, 1000, 10, 10] * n, [100, 4] * 2 * n
    return Trace.from_columns([1.0 * i for i in range(4 * n)], prompts, outputs, model=LLAMA.name)


def by_type(result: SimulationResult, n_replicas: int) -> list[list[int]]:
    """Requests of each replica (row) and type (column)."""
    found = Counter(result.requests.select("replica_id", "prompt_tokens", "output_tokens").iter_rows())
    return [[found[r, t.prompt_tokens, t.output_tokens] for t in GRID.types] for r in range(n_replicas)]


def test_fractions_are_kept_by_type_and_divided_among_equal_replicas() -> None:
    table = RoutingTable(MIX, ((1.0, 0.5, 0.0, 0.2), (0.0, 0.5, 1.0, 0.8)))
    deployment = Deployment(((H100, 1), (A40, 2)), routing=((LLAMA.name, table),))
    result = simulate(deployment, mixed_trace(20), service_time=TENTH)
    assert by_type(result, 3) == [[20, 10, 0, 4], [0, 5, 10, 8], [0, 5, 10, 8]]


def test_with_prompt_only_the_fractions_of_the_types_are_mixed() -> None:
    """Long prompts: half the requests are of type 0, half of 1, so 0.75 go to the first entry; short ones 0.1."""
    table = RoutingTable(MIX, ((1.0, 0.5, 0.0, 0.2), (0.0, 0.5, 1.0, 0.8)))
    deployment = Deployment(((H100, 1), (A40, 2)), routing=((LLAMA.name, table),))
    result = simulate(deployment, mixed_trace(20), service_time=TENTH, length_predictor="prompt_only")
    found = by_type(result, 3)
    long_prompts, short_prompts = ([row[i] + row[i + 1] for row in found] for i in (0, 2))
    assert long_prompts == [30, 5, 5]
    assert short_prompts == [4, 18, 18]


def test_a_type_that_the_plan_did_not_expect_goes_to_all() -> None:
    table = RoutingTable(MIX, ((1.0, 0.0, 1.0, 1.0), (0.0, 0.0, 0.0, 0.0)))
    deployment = Deployment(((H100, 1), (A40, 2)), routing=((LLAMA.name, table),))
    result = simulate(deployment, mixed_trace(30), service_time=TENTH)
    assert by_type(result, 3) == [[30, 10, 30, 30], [0, 10, 0, 0], [0, 10, 0, 0]]


def test_requests_that_do_not_fit_where_the_plan_wants_them_go_elsewhere() -> None:
    small, large = with_kv_blocks(A40, 40), with_kv_blocks(A40, 100)  # 640 and 1,600 tokens
    table = RoutingTable(MIX, ((1.0,) * 4, (0.0,) * 4))
    deployment = Deployment(((small, 1), (large, 2)), routing=((LLAMA.name, table),))
    result = simulate(deployment, mixed_trace(20), service_time=TENTH)
    assert by_type(result, 3)[0] == [0, 0, 20, 20]
    assert counts(result, 3) == [40, 20, 20]

    half = RoutingTable(MIX, ((0.5,) * 4, (0.5,) * 4))
    deployment = Deployment(((small, 1), (large, 2)), routing=((LLAMA.name, half),))
    result = simulate(deployment, mixed_trace(20), service_time=TENTH)
    assert by_type(result, 3) == [[0, 0, 10, 10], [10, 10, 5, 5], [10, 10, 5, 5]]


def test_replicas_without_a_share_get_nothing() -> None:
    table = RoutingTable(MIX, ((1.0,) * 4, (0.0,) * 4))
    deployment = Deployment(((A40, 1), (H100, 1)), routing=((LLAMA.name, table),))
    assert counts(simulate(deployment, at_once(50), service_time=TENTH), 2) == [50, 0]


def test_other_routers_ignore_the_routing_table() -> None:
    table = RoutingTable(MIX, ((1.0,) * 4, (0.0,) * 4))
    deployment = Deployment(((A40, 1), (A40, 1)), routing=((LLAMA.name, table),))
    for router in ("round_robin", "least_loaded"):
        assert counts(simulate(deployment, at_once(50), service_time=TENTH, router=router), 2) == [25, 25]


def test_each_model_has_its_own_turns() -> None:
    mistral = ReplicaSpec.uniform(model_spec("Mistral-7B"), gpu_type("A40"))
    trace = Trace.from_columns([1.0 * i for i in range(12)], [10] * 12, [2] * 12, model=[LLAMA.name, "Mistral-7B"] * 6)
    for router in ROUTERS:
        result = simulate(Deployment(((A40, 2), (mistral, 3))), trace, service_time=TENTH, router=router)
        assert result.requests["replica_id"].to_list() == [0, 2, 1, 3, 0, 4, 1, 2, 0, 3, 1, 4], router


def test_which_routers_look_at_the_load() -> None:
    replicas = [FakeReplica()]
    oblivious = {name: make_router(name, replicas, [0], None, [[1.0]]).is_load_oblivious for name in ROUTERS}
    assert oblivious == {"least_loaded": False, "plan_weighted": True, "round_robin": True}


def test_nobody_fits() -> None:
    replicas = [FakeReplica(max_context_tokens=100) for _ in range(3)]
    for router in (RoundRobin(replicas), LeastLoaded(replicas), PlanWeighted(replicas, [[0.5, 0.5, 0.0]])):
        assert router.choose(0, 101) is None
        assert router.choose(0, 100) is replicas[0]
