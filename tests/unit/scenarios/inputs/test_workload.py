from __future__ import annotations

import math
from pathlib import Path

import pytest

from planners import PlannerError, Previous
from scenarios.errors import ScenarioError
from scenarios.file.load import load
from scenarios.inputs.workload import make_trace
from scenarios.runs.job import Job
from traces import Trace, TraceError, block_bootstrap, read_csv


def test_planners_see_other_requests_than_those_to_be_served() -> None:
    """They know the generators, not what they will give."""
    loaded = load("quickstart", None, ["sim.router=least_loaded"])
    job = Job.prepare(loaded, 0)
    trial = job.problem.trial
    assert trial is not None
    assert job.trace is not None
    columns = ["prompt_tokens", "output_tokens"]
    too_long = job.problem.demands[0].too_long
    assert too_long is not None
    tokens = trial.requests.requests["prompt_tokens"] + trial.requests.requests["output_tokens"]
    assert tokens.max() <= too_long.held_tokens  # type: ignore[operator]
    assert 0.98 * len(job.trace) < len(trial.requests) < len(job.trace)
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


def test_planners_see_another_draw_of_a_file_than_the_one_to_be_served(tmp_path: Path) -> None:
    rows = "".join(f"{arrival_s},{300 + arrival_s},50\n" for arrival_s in range(20))
    (tmp_path / "trace.csv").write_text("arrival_s,prompt_tokens,output_tokens\n" + rows)
    blocks = "resample: {kind: block_bootstrap, block_s: 4}"
    stream = f"{{kind: trace, model: Llama-3-8B, path: {tmp_path / 'trace.csv'}, reader: csv, {blocks}}}"
    job = Job.prepare(load("quickstart", None, [f"workload.chat={stream}"]), 0)
    assert job.problem.trial is not None
    assert job.trace is not None
    assert not job.problem.trial.requests.requests["prompt_tokens"].equals(job.trace.requests["prompt_tokens"])


TWO_MODELS = "arrival_s,prompt_tokens,output_tokens,model\n0,900,200,Llama-3-8B\n1,300,50,Llama-3.1-8B\n"


@pytest.mark.parametrize(
    ("fields", "models"),
    [
        ("", ("Llama-3-8B", "Llama-3.1-8B")),
        ("model: Mistral-7B,", ("Mistral-7B",)),
        ("model: Mistral-7B, options: {model: Qwen3-8B},", ("Mistral-7B",)),
    ],
)
def test_the_model_of_an_entry_serves_all_that_its_file_asks_for(
    tmp_path: Path, fields: str, models: tuple[str, ...]
) -> None:
    (tmp_path / "trace.csv").write_text(TWO_MODELS)
    stream = f"{{kind: trace, {fields} path: {tmp_path / 'trace.csv'}, reader: csv}}"
    assert make_trace(load("quickstart", None, [f"workload.chat={stream}"]), 0).models == models


@pytest.mark.parametrize("options", ["{}", "{model: null}", "{columns: {model: null}}", "{columns: [model]}"])
def test_a_file_that_asks_for_an_unknown_model_is_named(tmp_path: Path, options: str) -> None:
    (tmp_path / "trace.csv").write_text(TWO_MODELS.replace("Llama-3.1-8B", "Lama-3.1-8B"))
    stream = f"{{kind: trace, path: {tmp_path / 'trace.csv'}, reader: csv, options: {options}}}"
    with pytest.raises(TraceError, match=r"trace\.csv.*") as raised:
        make_trace(load("quickstart", None, [f"workload.chat={stream}"]), 0)
    if "columns" not in options:
        expected = "workload.chat.model is not given, and .* asks for 'Lama-3.1-8B': did you mean 'Llama-3.1-8B'"
        assert raised.match(expected)


def resampled(tmp_path: Path, resample: str, seed: int = 0) -> Trace:
    rows = "".join(f"{arrival_s},{prompt},50\n" for prompt, arrival_s in enumerate(range(20), start=100))
    (tmp_path / "trace.csv").write_text("arrival_s,prompt_tokens,output_tokens\n" + rows)
    stream = f"{{kind: trace, model: Llama-3-8B, path: {tmp_path / 'trace.csv'}, reader: csv, {resample}}}"
    return make_trace(load("quickstart", None, [f"workload.chat={stream}"]), seed)


def test_seeds_draw_blocks_of_a_recorded_trace(tmp_path: Path) -> None:
    """Blocks are cut before the rate is scaled: at each rate they are the same."""
    columns = ["arrival_s", "prompt_tokens"]
    blocks = "resample: {kind: block_bootstrap, block_s: 4}"
    first, again, other = (resampled(tmp_path, blocks, seed).requests[columns] for seed in (1, 1, 2))
    recorded = read_csv(tmp_path / "trace.csv")
    assert first.equals(again)
    assert not first.equals(other)
    assert first.equals(block_bootstrap(recorded, 4.0, 1).requests[columns])
    faster = resampled(tmp_path, f"{blocks}, rate_factor: 2", 1).requests[columns]
    assert faster["prompt_tokens"].equals(first["prompt_tokens"])
    assert (faster["arrival_s"] * 2).equals(first["arrival_s"])
    head = resampled(tmp_path, f"{blocks}, head: 10", 1).requests[columns]
    assert head.equals(block_bootstrap(recorded.head(10), 4.0, 1).requests[columns])


@pytest.mark.parametrize(
    ("resample", "problem"),
    [
        ("resample: {kind: block_bootstrap, block_s: 0}", "workload.chat.resample.block_s: .*greater than 0"),
        ("resample: {kind: block_bootstrap}", "workload.chat.resample.block_s: "),
        ("resample: {kind: bootstrap, block_s: 4}", "workload.chat.resample.kind: .*block_bootstrap"),
        (
            "resample: {kind: block_bootstrap, block_s: 4}, arrivals: {kind: all_at_once}",
            "workload.chat.resample: draws blocks of recorded times, but arrivals replaces them",
        ),
        (
            "resample: {kind: block_bootstrap, block_s: 40}",
            r"workload.chat.resample: .*trace.csv: block_s is 40.0; allowed: above 0, up to 19.0",
        ),
    ],
)
def test_blocks_that_cannot_be_drawn_are_refused(tmp_path: Path, resample: str, problem: str) -> None:
    with pytest.raises((ScenarioError, TraceError), match=problem):
        resampled(tmp_path, resample)


def test_only_recorded_requests_are_resampled() -> None:
    blocks = "workload.chat.resample={kind: block_bootstrap, block_s: 4}"
    with pytest.raises(ScenarioError, match=r"workload.chat.resample: unknown key"):
        load("quickstart", None, [blocks])


def test_penalties_reach_the_problem() -> None:
    def penalties(name: str, value: str) -> tuple[float, ...]:
        job = Job.prepare(load(name, None, [f"planning.shed_usd_per_request={value}"]), 0)
        return job.problem.demands[0].shed_usd_per_request

    assert penalties("paper_example", "0.5") == (0.5, 0.5)
    assert penalties("paper_example", "{w2: 0.5}") == (math.inf, 0.5)
    assert penalties("paper_70b", "0.5") == (0.5,) * 9
    with pytest.raises(PlannerError, match=r"shed_usd_per_request.p2_o2: unknown workload type 'p2_o2'"):
        penalties("quickstart", "{p2_o2: 0.5}")


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


def test_plans_count_on_the_prefix_cache_only_where_the_simulation_has_one() -> None:
    """Without one, who is preempted computes all of its prompt again."""
    sets = ["sim.prefix_caching=false", "cluster.gpus={RTX4090: {available: 8}}", "slo={}", "planning.grid=paper"]
    with_cache, without = (Job.prepare(load("quickstart", None, some), 0).problem for some in (sets[1:], sets))
    assert with_cache.mixes is not None
    assert without.mixes is not None
    amounts = with_cache.demands[0].amounts
    times_s = [
        (with_cache.mixes.time_s(one, amounts), without.mixes.time_s(one, amounts)) for one in without.candidates
    ]
    assert all(less <= more for less, more in times_s)
    assert any(less < 0.99 * more for less, more in times_s)
