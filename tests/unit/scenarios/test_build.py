from __future__ import annotations

import math
from pathlib import Path

from planners import Previous
from scenarios.load import load
from scenarios.run import Job


def test_planners_see_other_requests_than_those_to_be_served() -> None:
    """They know the generators, not what they will give."""
    loaded = load("quickstart", None, ["sim.router=least_loaded"])
    job = Job.prepare(loaded, 0)
    trial = job.problem.trial
    assert trial is not None
    assert job.trace is not None
    columns = ["prompt_tokens", "output_tokens"]
    assert len(trial.requests) == len(job.trace)
    assert not trial.requests.requests[columns].equals(job.trace.requests[columns])
    assert trial.requests == Job.prepare(loaded, 0).problem.trial.requests  # type: ignore[union-attr]
    assert (trial.router, trial.length_predictor) == ("least_loaded", "oracle")
    assert trial.slo is not None
    assert trial.slo.ttft_s == 2


def test_planners_see_the_lengths_of_files(tmp_path: Path) -> None:
    """A file has no other requests."""
    (tmp_path / "trace.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,900,200\n1,300,50\n")
    stream = f"{{kind: trace, model: Llama-3-8B, path: {tmp_path / 'trace.csv'}, reader: csv}}"
    job = Job.prepare(load("quickstart", None, [f"workload.chat={stream}"]), 0)
    assert job.problem.trial is not None
    assert job.problem.trial.requests == job.trace


def test_penalties_reach_the_problem() -> None:
    def penalties(name: str, value: str) -> tuple[float, ...]:
        job = Job.prepare(load(name, None, [f"planning.shed_usd_per_request={value}"]), 0)
        return job.problem.demands[0].shed_usd_per_request

    assert penalties("paper_example", "0.5") == (0.5, 0.5)
    assert penalties("paper_example", "{w2: 0.5}") == (math.inf, 0.5)
    assert penalties("quickstart", "0.5") == (0.5,) * 9


def test_limits_and_the_previous_fleet_reach_the_problem() -> None:
    sets = [
        "planning.max_configurations=2",
        "planning.max_gpu_share=0.5",
        "planning.previous={replicas: {c4: 1, c1: 2}, start_s: 90, hold_s: 1800}",
    ]
    problem = Job.prepare(load("paper_example", None, sets), 0).problem
    assert (problem.max_configurations, problem.max_gpu_share) == (2, 0.5)
    assert problem.previous == Previous((("c1", 2), ("c4", 1)), start_s=90.0, drain_s=0.0, hold_s=1800.0)
    built = Job.prepare(load("quickstart", None, sets[:2]), 0).problem
    assert (built.max_configurations, built.max_gpu_share, built.previous) == (2, 0.5, None)


def test_what_is_no_better_alone_stays_where_shares_or_what_runs_count() -> None:
    """Half of the GPUs of a fleet may have to be of another type, even if they add nothing; what runs need not boot."""
    few = "workload.chat.n_requests=200"
    pruned = Job.prepare(load("quickstart", None, [few]), 0).problem
    everything = Job.prepare(load("quickstart", None, [few]), 0, keep_dominated=True).problem
    assert len(pruned.candidates) < len(everything.candidates)
    for limit in ("planning.max_gpu_share=0.5", "planning.previous={start_s: 90}"):
        problem = Job.prepare(load("quickstart", None, [few, limit]), 0).problem
        assert problem.candidates == everything.candidates
        assert "dominance" not in dict(problem.left_out)
