"""Whatever it is given, a command ends with a message and a known exit code in bounded time, never with a traceback."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from click.testing import CliRunner

from scenarios.cli import main
from scenarios.file.yaml_lines import parse
from tests.fuzz.mutants import damaged_json, damaged_text

MOST_S = 60
EXIT_CODES = {0, 2, 3}

SCENARIO = """\
schema_version: 1
name: small
cluster:
  gpus:
    RTX4090: {available: 4}
    H100-SXM: {available: 1, usd_per_h: 2.5}
  availability: {kind: steps, notice_s: 1, boot_s: 2, changes: [{t_s: 3, gpus: {RTX4090: 2}}, {t_s: 6, gpus: {RTX4090: 4}}]}
workload:
  chat:
    kind: synthetic
    model: Llama-3-8B
    n_requests: 20
    arrivals: {kind: poisson, rate_rps: 5}
    lengths: {kind: types, grid: {prompt_tokens: [500], output_tokens: [20, 10]}, shares: [0.5, 0.5]}
slo: {ttft_s: 1, by_model: {Llama-3-8B: {tpot_s: 0.1}}}
planning: {budget_usd_per_h: 4, objective: cost, grid: {prompt_tokens: [500], output_tokens: [20, 10]}}
planners: [homogeneous, {name: greedy, label: quick, policy: replan}]
seeds: [0]
sim: {router: least_loaded, warmup_s: 0.5, limits: {max_seqs: 16}}
overrides:
  poor: {planning.budget_usd_per_h: 1}
scenarios:
  worse: [poor]
"""  # noqa: E501
TRACE_CSV = "arrival_s,prompt_tokens,output_tokens\n0.0,500,20\n0.5,100,10\n1.25,50,5\n2.0,900,3\n"
TRACE_JSONL = "".join(
    json.dumps({"timestamp": 1000 * n, "input_length": 600, "output_length": 9, "hash_ids": [0, n]}) + "\n"
    for n in range(4)
)
MARKET_CSV = """\
t_s,gpu_type,market,count,usd_per_h
0,RTX4090,on_demand,4,0.5
0,H100-SXM,on_demand,1,2.5
5,RTX4090,on_demand,2,0.6
"""
WITH_MARKET = re.sub(
    r"availability: .*", "availability: {kind: file, path: market.csv, reader: csv, notice_s: 1, boot_s: 2}", SCENARIO
)


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """End what takes longer."""

    def stop(_: int, __: FrameType | None) -> None:
        msg = f"not done in {seconds} s"
        raise TimeoutError(msg)

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def end_of(*arguments: str) -> tuple[int, str]:
    """Exit code and output of a command; an exception that is no exit is raised."""
    with at_most(MOST_S):
        result = CliRunner().invoke(main, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def scenario(number: int) -> tuple[str, ...]:
    data = parse(SCENARIO, "small.yaml").data
    Path("mutant.yaml").write_text(damaged_json(data, number) if number % 2 else damaged_text(SCENARIO, number))
    command = ("run", "mutant.yaml", "--planner", "quick") if number % 4 else ("validate", "mutant.yaml")
    return (*command, "--out", "runs", "--force") if number % 4 else command


def plan(number: int) -> tuple[str, ...]:
    good = json.loads(_plans())
    Path("mutant.json").write_text(damaged_json(good, number) if number % 3 else damaged_text(json.dumps(good), number))
    return "run", "small.yaml", "--plan", "mutant.json", "--out", "runs", "--force"


def deployed(number: int) -> tuple[str, ...]:
    printed = Path("printed.json")
    if not printed.exists():
        code, output = end_of("plan", "small.yaml", "--planner", "homogeneous", "--no-check", "--quiet", "--json")
        assert code == 0, output
        printed.write_text(output)
    Path("mutant.json").write_text(damaged_json(json.loads(printed.read_text()), number))
    tools = ("vllm", "compose", "kubernetes", "llm-d", "skypilot", "dynamo")
    return "export", "mutant.json", "--to", tools[number % len(tools)], "--out", "deployed", "--force"


def trace(number: int) -> tuple[str, ...]:
    text, name, reader = (TRACE_CSV, "mutant.csv", "csv") if number % 2 else (TRACE_JSONL, "mutant.jsonl", "mooncake")
    Path(name).write_text(damaged_text(text, number))
    found = () if number % 3 == 0 else ("--reader", reader)
    return "run", "small.yaml", "--planner", "homogeneous", "--trace", name, *found, "--out", "runs", "--force"


def market(number: int) -> tuple[str, ...]:
    Path("market.csv").write_text(damaged_text(MARKET_CSV, number))
    Path("with_market.yaml").write_text(WITH_MARKET)
    return "run", "with_market.yaml", "--planner", "homogeneous", "--out", "runs", "--force"


def _plans() -> str:
    """The plans.json of a run."""
    kept = Path("kept")
    if not kept.exists():
        code, output = end_of("run", "small.yaml", "--planner", "homogeneous", "--out", "kept")
        assert code == 0, output
    return next(kept.rglob("plans.json")).read_text()


KINDS: dict[str, tuple[Callable[[int], tuple[str, ...]], int]] = {
    "scenario": (scenario, 120),
    "plan": (plan, 60),
    "deployed": (deployed, 60),
    "trace": (trace, 60),
    "market": (market, 80),
}


def check(kind: str, numbers: range) -> None:
    Path("small.yaml").write_text(SCENARIO)
    make, _ = KINDS[kind]
    codes = set()
    for number in numbers:
        arguments = make(number)
        try:
            code, output = end_of(*arguments)
        except BaseException as error:
            error.add_note(f"{kind} {number}: {' '.join(arguments)}")
            raise
        assert code in EXIT_CODES, f"{kind} {number}: {output}"
        assert "Traceback" not in output, f"{kind} {number}"
        codes.add(code)
    assert codes >= {0, 2}, "neither all are good nor all are refused"


@pytest.mark.parametrize("kind", KINDS)
def test_mutants_end_with_a_message(kind: str) -> None:
    check(kind, range(KINDS[kind][1]))


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", KINDS)
def test_three_thousand_mutants_end_with_a_message(kind: str) -> None:
    first = int(os.environ.get("FUZZ_FIRST", "1000"))
    check(kind, range(first, first + 3000))
