from __future__ import annotations

from dataclasses import replace

import pytest

from sim import (
    Deployment,
    DeploymentError,
    ReplicaLimits,
    ReplicaSpec,
    RoutingTable,
    Stage,
    gpu_names,
    gpu_type,
    model_spec,
)
from traces import PAPER_GRID, WorkloadGrid, WorkloadMix

LLAMA_8B, LLAMA_70B = model_spec("Llama-3-8B"), model_spec("Llama-3-70B")
A40, H100, L40 = gpu_type("A40"), gpu_type("H100-SXM"), gpu_type("L40")


@pytest.mark.parametrize(
    ("pp", "layers"), [(1, [32]), (2, [16, 16]), (3, [11, 11, 10]), (5, [7, 7, 6, 6, 6]), (32, [1] * 32)]
)
def test_uniform_splits_layers_evenly(pp: int, layers: list[int]) -> None:
    spec = ReplicaSpec.uniform(LLAMA_8B, A40, tp=2, pp=pp)
    assert [stage.n_layers for stage in spec.stages] == layers
    assert {(stage.gpu_type, stage.tp) for stage in spec.stages} == {(A40, 2)}
    assert (spec.pp, spec.n_gpus, spec.gpus) == (pp, 2 * pp, {"A40": 2 * pp})
    assert spec.usd_per_h == pytest.approx(2 * pp * 0.55)


@pytest.mark.parametrize(("layers", "total"), [((31,), 31), ((16, 17), 33), ((), 0)])
def test_layers_must_add_up(layers: tuple[int, ...], total: int) -> None:
    with pytest.raises(DeploymentError, match=f"the stages hold {total} layers, Llama-3-8B has 32"):
        ReplicaSpec(LLAMA_8B, tuple(Stage(A40, 1, n) for n in layers))


@pytest.mark.parametrize(
    ("tp", "pp", "name"), [(1, 1, "A40 tp1"), (4, 1, "A40 tp4"), (1, 2, "A40 tp1 pp2"), (2, 3, "A40 tp2 pp3")]
)
def test_names_of_uniform_replicas(tp: int, pp: int, name: str) -> None:
    assert ReplicaSpec.uniform(LLAMA_8B, A40, tp=tp, pp=pp).name == name


def test_a_mixed_pipeline_lists_its_stages() -> None:
    spec = ReplicaSpec(LLAMA_70B, (Stage(H100, 2, 60), Stage(L40, 4, 20)))
    assert spec.name == "H100-SXM tp2 (60 layers) + L40 tp4 (20 layers)"
    assert spec.gpus == {"H100-SXM": 2, "L40": 4}
    assert spec.n_gpus == 6
    assert spec.usd_per_h == pytest.approx(2 * 2.99 + 4 * 0.9)


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        ("RTX4090", (2048, 256)),
        ("A40", (2048, 256)),
        ("A6000", (2048, 256)),
        ("L40", (2048, 256)),
        ("L40S", (2048, 256)),
        ("A100-SXM-80GB", (2048, 256)),
        ("H100-SXM", (8192, 1024)),
        ("H200-SXM", (8192, 1024)),
        ("B200-SXM", (8192, 1024)),
    ],
)
def test_default_limits_are_those_of_vllm(gpu: str, expected: tuple[int, int]) -> None:
    spec = ReplicaSpec.uniform(LLAMA_8B, gpu_type(gpu))
    assert (spec.max_batched_tokens, spec.max_seqs) == expected


def test_default_limits_are_vllms_for_the_gpu() -> None:
    """The larger ones from 70 GiB of memory on, but for the A100."""
    for name in gpu_names():
        gpu = gpu_type(name)
        is_large = gpu.memory_bytes >= 70 * 2**30 and not name.startswith("A100")
        assert (gpu.max_batched_tokens, gpu.max_seqs) == ((8192, 1024) if is_large else (2048, 256)), name


def test_a_small_budget_lowers_the_default_number_of_sequences() -> None:
    spec = ReplicaSpec.uniform(LLAMA_8B, H100, limits=ReplicaLimits(max_batched_tokens=512))
    assert (spec.max_batched_tokens, spec.max_seqs) == (512, 512)


@pytest.mark.parametrize(
    "limits",
    [
        {"max_seqs": 0},
        {"block_tokens": 0},
        {"kv_blocks": -1},
        {"gpu_memory_utilization": 1.5},
        {"gpu_memory_utilization": 0.0},
        {"reserve_bytes": -1},
    ],
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, float]) -> None:
    (name,) = limits
    with pytest.raises(DeploymentError, match=name):
        ReplicaLimits(**limits)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "fractions", "message"),
    [
        (-1, ((1.0,),), "-1 replicas of A40 tp1"),
        (1, ((1.0,), (0.0,)), "needs 1 rows of 1 fractions"),
        (1, ((0.5, 0.5),), "needs 1 rows of 1 fractions"),
        (1, ((0.5,),), "sum to 0.5, not to 1"),
        (1, ((-1.0,),), "below 0 or above 1"),
    ],
)
def test_deployments_that_make_no_sense_are_refused(
    count: int, fractions: tuple[tuple[float, ...], ...], message: str
) -> None:
    mix = WorkloadMix.from_shares(WorkloadGrid((100,), (10,)), [1.0])
    replica = ReplicaSpec.uniform(LLAMA_8B, A40)
    with pytest.raises(DeploymentError, match=message):
        Deployment(((replica, count),), ((LLAMA_8B.name, RoutingTable(mix, fractions)),))


def test_the_smallest_stage_decides_default_limits() -> None:
    spec = ReplicaSpec(LLAMA_8B, (Stage(H100, 1, 16), Stage(L40, 1, 16)))
    assert (spec.max_batched_tokens, spec.max_seqs) == (2048, 256)


def test_limits_override_defaults() -> None:
    spec = ReplicaSpec.uniform(LLAMA_8B, H100, limits=ReplicaLimits(max_batched_tokens=64, max_seqs=64))
    assert (spec.max_batched_tokens, spec.max_seqs) == (64, 64)


def test_more_sequences_than_tokens_are_refused() -> None:
    with pytest.raises(DeploymentError, match="A40 tp1: max_seqs 65 exceeds max_batched_tokens 64"):
        ReplicaSpec.uniform(LLAMA_8B, A40, limits=ReplicaLimits(max_batched_tokens=64, max_seqs=65))


def test_a_deployment_adds_up() -> None:
    small, large = ReplicaSpec.uniform(LLAMA_8B, A40), ReplicaSpec.uniform(LLAMA_70B, H100, tp=4)
    deployment = Deployment(((large, 1), (small, 3)))
    assert deployment.models == ("Llama-3-70B", "Llama-3-8B")
    assert deployment.n_replicas == 4
    assert deployment.gpus == {"A40": 3, "H100-SXM": 4}
    assert deployment.usd_per_h == pytest.approx(4 * 2.99 + 3 * 0.55)


def test_an_empty_deployment() -> None:
    deployment = Deployment(())
    assert (deployment.models, deployment.n_replicas, deployment.gpus, deployment.usd_per_h) == ((), 0, {}, 0)


def test_routing_tables_are_found_by_model() -> None:
    mix = WorkloadMix.from_shares(PAPER_GRID, [1 / 9] * 9)
    table = RoutingTable(mix, ((1.0,) * 9,))
    deployment = Deployment(((ReplicaSpec.uniform(LLAMA_8B, A40), 1),), routing=(("Llama-3-8B", table),))
    assert deployment.routing_table("Llama-3-8B") is table
    assert deployment.routing_table("Llama-3-70B") is None
    assert table.grid is PAPER_GRID


@pytest.mark.parametrize(
    ("n_heads", "n_kv_heads", "allowed"), [(32, 8, {1, 2, 4, 8, 16, 32}), (40, 10, {1, 2, 5, 10, 20, 40})]
)
def test_tp_divides_the_heads_as_servers_ask_for(n_heads: int, n_kv_heads: int, allowed: set[int]) -> None:
    model = replace(model_spec("Llama-3-8B"), name="odd", n_heads=n_heads, n_kv_heads=n_kv_heads, ffn_size=7 * 320)
    for tp in range(1, n_heads + 1):
        if tp in allowed:
            assert ReplicaSpec.uniform(model, gpu_type("A40"), tp=tp).n_gpus == tp
        else:
            with pytest.raises(DeploymentError, match=f"tp {tp} (neither divides|does not divide) the .* heads of odd"):
                ReplicaSpec.uniform(model, gpu_type("A40"), tp=tp)
