"""A row of replicas.parquet: its columns are told once."""

from __future__ import annotations

from sim import ConstantServiceTime, Deployment, ReplicaSpec, gpu_type, model_spec, simulate
from sim.records import RequestLog
from sim.replica.single_stage import SingleStageReplica
from sim.results.replicas import BILL_SCHEMA, FACTS_SCHEMA, REPLICA_SCHEMA, Bill, facts_of, replica_frame
from traces import Trace

SPEC = ReplicaSpec.uniform(model_spec("Llama-3-8B"), gpu_type("A40"))


def test_a_bill_has_the_columns_of_its_schema() -> None:
    assert Bill._fields == tuple(BILL_SCHEMA)


def test_facts_have_the_columns_of_their_schema() -> None:
    replica = SingleStageReplica(0, SPEC, ConstantServiceTime(1.0), RequestLog(0), is_macro=True)
    assert list(facts_of(replica, replica.work)) == list(FACTS_SCHEMA)


def test_replicas_have_facts_and_a_bill() -> None:
    trace = Trace.from_columns([0.0], [100], [3], model="Llama-3-8B", source="one request")
    result = simulate(Deployment(((SPEC, 2),)), trace, service_time=ConstantServiceTime(1200.0))
    assert dict(result.replicas.schema) == dict(replica_frame({}, {}).schema)
    assert result.replicas.columns == [*FACTS_SCHEMA, *BILL_SCHEMA] == list(REPLICA_SCHEMA)
    assert result.replicas["usd"].to_list() == [SPEC.usd_per_h] * 2
    assert result.replicas["rented_s"].to_list() == [0.0, 0.0]
    assert result.replicas["released_s"].to_list() == [None, None]
    assert result.replicas["failed_s"].to_list() == [[], []]
