from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from sim.routing.router import LeastLoaded, PlanWeighted, RoundRobin, Router, decode_speed
from tests.strategies_sim import FakeReplica


def route(router: Router, replicas: list[FakeReplica], requests: list[tuple[int, int]]) -> list[int | None]:
    """Send (kind, tokens) one after the other; the position of each one's replica."""
    chosen = []
    for kind, tokens in requests:
        replica = router.choose(kind, tokens)
        if replica is not None:
            replica.n_outstanding += 1
        chosen.append(None if replica is None else replicas.index(replica))
    return chosen


@st.composite
def fractions(draw: st.DrawFn, max_size: int = 12) -> list[float]:
    parts = draw(st.lists(st.integers(0, 100), min_size=1, max_size=max_size).filter(any))
    return [part / sum(parts) for part in parts]


def worst_deviation(weights: list[float], chosen: list[int | None]) -> float:
    """Largest difference, after any number of requests, between what a replica has and its share of them."""
    counts = [0] * len(weights)
    worst = 0.0
    for n, index in enumerate(chosen, 1):
        assert index is not None
        counts[index] += 1
        worst = max(worst, *(abs(count - n * weight) for count, weight in zip(counts, weights, strict=True)))
    return worst


@given(st.integers(1, 20), st.integers(1, 200))
def test_plan_weighted_rotates_over_equal_fractions(n_replicas: int, n_requests: int) -> None:
    replicas = [FakeReplica() for _ in range(n_replicas)]
    chosen = route(PlanWeighted(replicas, [[1 / n_replicas] * n_replicas]), replicas, [(0, 1)] * n_requests)
    assert worst_deviation([1 / n_replicas] * n_replicas, chosen) <= 1
    assert chosen == route(RoundRobin(replicas), replicas, [(0, 1)] * n_requests)


@given(st.floats(0, 1), st.integers(1, 300))
def test_plan_weighted_follows_two_fractions(weight: float, n_requests: int) -> None:
    weights = [weight, 1 - weight]
    replicas = [FakeReplica() for _ in weights]
    chosen = route(PlanWeighted(replicas, [weights]), replicas, [(0, 1)] * n_requests)
    assert worst_deviation(weights, chosen) < 1


@example([0.5] + [0.01] * 50)  # by divisors (n + 1/2) / w the first 25 would all go to the first replica
@given(fractions())
def test_plan_weighted_follows_any_fractions(weights: list[float]) -> None:
    replicas = [FakeReplica() for _ in weights]
    chosen = route(PlanWeighted(replicas, [weights]), replicas, [(0, 1)] * 300)
    assert worst_deviation(weights, chosen) <= 1 + 1e-9


@given(fractions(), st.integers(1, 300))
def test_plan_weighted_gives_whole_shares_and_nothing_where_there_is_no_share(weights: list[float], n: int) -> None:
    replicas = [FakeReplica() for _ in weights]
    chosen = route(PlanWeighted(replicas, [weights]), replicas, [(0, 1)] * n)
    for index, weight in enumerate(weights):
        assert (weight > 0) or index not in chosen
    # At a multiple of the smallest common denominator everybody has exactly his share.
    parts = [round(weight / min(w for w in weights if w > 0)) for weight in weights]
    whole = [part / sum(parts) for part in parts]
    turns = route(PlanWeighted(replicas, [whole]), replicas, [(0, 1)] * sum(parts))
    assert [turns.count(index) for index in range(len(parts))] == parts


@given(fractions(5), fractions(5), st.lists(st.integers(0, 1), max_size=100))
def test_kinds_take_turns_apart(first: list[float], second: list[float], kinds: list[int]) -> None:
    n = min(len(first), len(second))
    weights = [[w / sum(f[:n]) if sum(f[:n]) else 1 / n for w in f[:n]] for f in (first, second)]
    replicas = [FakeReplica() for _ in range(n)]
    together = route(PlanWeighted(replicas, weights), replicas, [(kind, 1) for kind in kinds])
    for kind in (0, 1):
        alone = route(PlanWeighted(replicas, weights), replicas, [(kind, 1)] * kinds.count(kind))
        assert [index for index, k in zip(together, kinds, strict=True) if k == kind] == alone


@given(st.lists(st.floats(0.01, 10.0), min_size=2, max_size=2), st.integers(1, 300))
def test_least_loaded_is_proportional_to_the_speeds_of_two(times: list[float], n: int) -> None:
    replicas = [FakeReplica(stage_s=(time,)) for time in times]
    chosen = route(LeastLoaded(replicas), replicas, [(0, 1)] * n)
    speeds = [decode_speed(replica) for replica in replicas]
    assert worst_deviation([speed / sum(speeds) for speed in speeds], chosen) <= 1 + 1e-9


@given(st.lists(st.tuples(st.floats(0.1, 10.0), st.integers(0, 50)), min_size=1, max_size=8), st.integers(1, 20))
def test_least_loaded_never_passes_over_somebody_who_would_be_less_loaded(
    states: list[tuple[float, int]], n: int
) -> None:
    replicas = [FakeReplica(stage_s=(time,), n_outstanding=outstanding) for time, outstanding in states]
    router = LeastLoaded(replicas)
    for _ in range(n):
        loads = [(replica.n_outstanding + 1) / decode_speed(replica) for replica in replicas]
        (index,) = route(router, replicas, [(0, 1)])
        assert index is not None
        assert loads[index] == min(loads)


ROUTERS = [RoundRobin, LeastLoaded, lambda replicas: PlanWeighted(replicas, [[1.0] + [0.0] * (len(replicas) - 1)])]


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=6),
    st.lists(st.integers(1, 6), max_size=30),
    st.sampled_from(ROUTERS),
)
def test_a_request_is_sent_where_it_fits_and_refused_only_if_it_fits_nowhere(
    contexts: list[int], tokens: list[int], make: type[RoundRobin]
) -> None:
    replicas = [FakeReplica(max_context_tokens=context) for context in contexts]
    chosen = route(make(replicas), replicas, [(0, n) for n in tokens])
    for n, index in zip(tokens, chosen, strict=True):
        if index is None:
            assert n > max(contexts)
        else:
            assert n <= contexts[index]
