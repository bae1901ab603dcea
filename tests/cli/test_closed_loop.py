"""Scenarios with users in closed loops and with sessions."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from tests.cli.conftest import Hetserve
from tests.cli.test_policies import DROP

USERS = "workload.chat.arrivals={kind: closed_loop, users: 5, think_time_s: 0.5, ramp_s: 2}"


def records(run: Path) -> pl.DataFrame:
    (file,) = Path(run).glob("**/planner=milp/seed=0/requests.parquet")
    return pl.read_parquet(file)


@pytest.mark.parametrize(
    ("objective", "told"), [("throughput", "the mix of its requests only"), ("makespan", "all its requests at once")]
)
def test_users_send_when_they_are_answered(hetserve: Hetserve, small: Path, objective: str, told: str) -> None:
    arguments = (small, "--set", USERS, "--set", f"planning.objective={objective}")
    for command in ("plan", "run", "compare"):
        result = hetserve(command, *arguments, *(() if command == "plan" else ("--out", command)))
        assert result.exit_code == 0, result.output
        assert "5 users in a closed loop: each sends the next request 0.5 s after the last" in result.stderr
        assert f"a closed loop has no rate of its own: planners are told {told}" in result.stderr
    requests = records(Path("compare"))
    ready_s = sorted([0.0, 0.4, 0.8, 1.2, 1.6, *(requests["finish_s"] + 0.5)])
    assert requests["arrival_s"].to_list() == ready_s[:50]
    assert not {"loop", "think_s"} & set(requests.columns)
    (manifest,) = Path("compare").glob("**/planner=milp/seed=0/manifest.json")
    assert json.loads(manifest.read_text())["offered_rps"] is None


def test_a_cost_needs_a_rate(hetserve: Hetserve, small: Path) -> None:
    result = hetserve("plan", small, "--set", USERS, "--set", "planning.objective=cost")
    assert result.exit_code == 2
    assert "there is no rate, as 'cost' needs it; use planning.objective: throughput, or makespan" in result.stderr


def test_what_is_not_sent_before_the_horizon(hetserve: Hetserve, small: Path) -> None:
    result = hetserve("run", small, "--set", USERS, "--set", "sim.horizon_s=4", "--planner", "milp")
    assert result.exit_code == 0, result.output
    n_sent = records(Path("runs")).height
    assert 5 < n_sent < 50
    assert f"50 in the trace; {n_sent} arrive before sim.horizon_s (4 s)" in result.output


def test_policies_that_follow_the_market(hetserve: Hetserve) -> None:
    """Users are there all the time, so that they meet the drop, and replanning sees what they have sent."""
    text = DROP.replace("{kind: poisson, rate_rps: 6}", "{kind: closed_loop, users: 30, think_time_s: 2}")
    Path("falls.yaml").write_text(text)
    result = hetserve("compare", "falls.yaml")
    assert result.exit_code == 0, result.output
    for policy in ("static", "milp-replan", "milp-replan_sticky", "milp-oracle"):
        (file,) = Path("runs").glob(f"**/planner={policy}/seed=0/requests.parquet")
        requests = pl.read_parquet(file)
        assert requests.height == 1500
        assert requests["arrival_s"].is_sorted()
    (manifest,) = Path("runs").glob("**/planner=milp-replan/seed=0/manifest.json")
    assert json.loads(manifest.read_text())["replans"]


def test_users_of_whom_some_wait_for_ever(hetserve: Hetserve, small: Path) -> None:
    gone = "cluster.availability={kind: steps, notice_s: 0, boot_s: 0, "
    gone += "changes: [{t_s: 0, gpus: {RTX4090: 4, H100-SXM: 1}}, {t_s: 5, gpus: {RTX4090: 0, H100-SXM: 0}}]}"
    result = hetserve("run", small, "--set", USERS, "--set", gone, "--planner", "milp")
    assert result.exit_code == 0, result.output
    requests = records(Path("runs"))
    assert requests.filter(pl.col("status") == "unfinished").height == 5
    told = f"50 in the trace; {requests.height} are sent; the others wait for the end of one that never ends"
    assert told in result.output


def traced(small: Path, fields: str) -> Path:
    text = small.read_text()
    head, _, rest = text.partition("  chat:\n")
    tail = rest[rest.index("slo:") :]
    path = small.with_name("traced.yaml")
    stream = f"  chat: {{kind: trace, model: Llama-3-8B, path: talks.csv, reader: csv, {fields}}}\n"
    path.write_text((head + stream + tail).partition("overrides:")[0])
    return path


TALKS = """arrival_s,prompt_tokens,output_tokens,session_id
0.0,500,50,1
1.0,500,10,2
2.0,600,50,1
3.0,700,10,
"""


def test_sessions_of_a_file(hetserve: Hetserve, small: Path) -> None:
    small.with_name("talks.csv").write_text(TALKS)
    one = "cluster.gpus={RTX4090: {available: 1}}"  # prefixes are cached where they were served
    result = hetserve("run", traced(small, "sessions: {think_time_s: 4}"), "--planner", "milp", "--set", one)
    assert result.exit_code == 0, result.output
    assert "in a session each request is sent 4 s after the last one has ended" in result.stderr
    requests = records(Path("runs"))
    assert requests["request_id"].to_list() == [0, 1, 3, 2]
    assert requests["arrival_s"][3] == requests["finish_s"][0] + 4
    assert requests["cached_prompt_tokens"].to_list() == [0, 0, 0, (550 - 1) // 16 * 16]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            "sessions: {}, arrivals: {kind: closed_loop, users: 2}",
            "workload.chat.sessions: users of a closed loop send the next request of the stream, whatever session",
        ),
        (
            "rate_factor: 2, arrivals: {kind: closed_loop, users: 2}",
            "workload.chat.rate_factor: changes nothing: users of a closed loop send requests when others have ended",
        ),
        ("arrivals: {kind: closed_loop, users: 0}", "users: input should be greater than 0"),
        ("arrivals: {kind: closed_loop, users: 2, think_time: normal}", "'constant' or 'exponential', not 'normal'"),
        ("arrivals: {kind: closed_loop, users: 2, think_s: 1}", "did you mean 'think_time_s'"),
    ],
)
def test_mistakes_are_located(hetserve: Hetserve, small: Path, fields: str, message: str) -> None:
    small.with_name("talks.csv").write_text(TALKS)
    result = hetserve("validate", traced(small, fields))
    assert result.exit_code == 2
    assert message in result.stderr


def test_sessions_without_ids(hetserve: Hetserve, small: Path) -> None:
    small.with_name("talks.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,500,50\n1,500,10\n")
    result = hetserve("plan", traced(small, "sessions: {}"))
    assert result.exit_code == 2
    assert "workload.chat.sessions: csv:" in result.stderr
    assert "no request has a session_id" in result.stderr
