from __future__ import annotations

import json
from dataclasses import asdict, replace
from math import inf
from pathlib import Path

import polars as pl
import pytest

from scenarios.report.panels import marks_of, place_labels
from scenarios.report.stress import stress_table
from scenarios.report.tables import to_markdown
from scenarios.report.timeline import picture, run_panels
from scenarios.runs.directory import FORMAT, read_result, run_directories, run_directory
from scenarios.runs.series import read_rows
from scenarios.study.compare import Comparison
from scenarios.study.stress import Regret, read_stress, regret
from sim import SLO, ConstantServiceTime, Deployment, Market, ReplicaLimits, ReplicaSpec, gpu_type, model_spec, simulate
from sim.results.drops import Drop
from tests.cli.conftest import Hetserve
from tests.cli.tampering import write_manifest
from traces import Trace, scheduled_drops

MODEL = model_spec("Llama-3-8B")
SPEC = ReplicaSpec.uniform(MODEL, gpu_type("L40S"), limits=ReplicaLimits(max_seqs=1))
N_REPLICAS = {"static": 2, "robust": 1, "oracle": 3}


def label(policy: str) -> str:
    """As scenarios name their planners by default."""
    return "milp" if policy == "static" else f"milp-{policy}"


def keep(policy: str, n_replicas: int, scenario: str = "drop", out: Path = Path("runs")) -> Path:
    """A run on a market with one drop, as `hetserve run` would keep it."""
    market = Market(scheduled_drops({"L40S": 3}, [(300.0, 400.0, {"L40S": 0.6})], end_s=900.0, boot_s=10.0))
    trace = Trace.from_columns([8.0 * i for i in range(100)], [16] * 100, [10] * 100, model=MODEL.name)
    fleet = Deployment(((SPEC, n_replicas),))
    result = simulate(fleet, trace, service_time=ConstantServiceTime(1.0), market=market, router="round_robin")
    manifest = result.manifest | {
        "format": FORMAT, "scenario": scenario, "planner": label(policy), "policy": policy, "seed": 0,
        "slo": asdict(SLO(e2e_s=10.0)),
        "warmup_s": 0.0, "cooldown_s": 0.0, "offered_rps": 0.125, "plan": {"planner": "milp"},
    }  # fmt: skip
    directory = run_directory(out, scenario, label(policy), 0)
    replace(result, manifest=manifest).save(directory)
    return directory


@pytest.fixture
def runs(in_tmp_path: Path) -> dict[str, Path]:
    return {policy: keep(policy, n) for policy, n in N_REPLICAS.items()}


def test_one_run_is_drawn_as_both_pictures(hetserve: Hetserve, runs: dict[str, Path]) -> None:
    result = hetserve("plot", runs["static"])
    assert result.exit_code == 0, result.output
    png, svg = (runs["static"] / f"timeline{ending}" for ending in (".png", ".svg"))
    assert result.stdout == f"Written: {png}\nWritten: {svg}\n"
    assert png.read_bytes().startswith(b"\x89PNG")
    picture = svg.read_text()
    for text in ("drop, milp, seed 0", "L40S GPUs", "available", "serving", "drop 1 (L40S -2)", "within the SLO"):
        assert text in picture


def test_the_last_arrivals_are_drawn_although_the_run_goes_on(hetserve: Hetserve, runs: dict[str, Path]) -> None:
    """The last request comes after 792 s, in the minute that ends after 840 s; the run takes longer."""
    result = read_result(runs["robust"])
    assert result.manifest["end_s"] > 960
    chart = picture(result, "").to_dict()
    (panel,) = (panel for panel in chart["vconcat"] if panel["title"]["text"].startswith("within the SLO"))
    (line,) = (layer for layer in panel["layer"] if layer["mark"].get("interpolate") == "step-after")
    points = [point for point in chart["datasets"][line["data"]["name"]] if point["value"] is not None]
    assert points[-1] == {"t": 840 / 60, "value": points[-2]["value"]}
    assert points[-2]["t"] == 780 / 60


def test_several_runs_are_compared(hetserve: Hetserve, runs: dict[str, Path]) -> None:
    result = hetserve("plot", "runs", "--out", "new/all.svg")
    assert result.exit_code == 0, result.output
    picture = Path("new/all.svg").read_text()
    for text in (
        ">milp<",
        ">milp-robust<",
        ">milp-oracle<",
        "GPUs that can be rented",
        "within the SLO",
        "money so far",
    ):
        assert text in picture


def test_files_that_exist_stay(hetserve: Hetserve, runs: dict[str, Path]) -> None:
    for name in ("static", "robust"):
        (runs[name] / "timeline.svg").write_text("mine")
    refused = hetserve("plot", runs["static"])
    assert (refused.exit_code, "use --force" in refused.stderr) == (2, True)
    assert (runs["static"] / "timeline.svg").read_text() == "mine"
    assert not (runs["static"] / "timeline.png").exists()
    assert hetserve("plot", runs["robust"], "--force").exit_code == 0
    assert (runs["robust"] / "timeline.svg").read_text() != "mine"


def test_what_cannot_be_drawn(hetserve: Hetserve, runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = hetserve("plot", "elsewhere")
    assert (nothing.exit_code, "elsewhere holds no finished run" in nothing.stderr) == (2, True)
    wrong = hetserve("plot", "runs", "--out", "all.pdf")
    assert (wrong.exit_code, "a plot is written as .svg or .png" in wrong.stderr) == (2, True)
    keep("static", 2, scenario="other")
    two = hetserve("plot", "runs")
    assert (two.exit_code, "runs of drop with seed 0, other with seed 0: one scenario" in two.stderr) == (2, True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    missing = hetserve("plot", "runs")
    assert (missing.exit_code, "pip install altair vl-convert-python" in missing.stderr) == (2, True)


def test_more_runs_than_colours_are_told_apart_by_dashes(hetserve: Hetserve, in_tmp_path: Path) -> None:
    for i in range(8):
        keep(f"policy{i}", 1)
    assert hetserve("plot", "runs", "--out", "runs.svg").exit_code == 0
    picture = Path("runs.svg").read_text()
    assert ">milp-policy7<" in picture
    assert 'stroke-dasharray="6,3"' in picture
    for i in range(8, 29):
        keep(f"policy{i}", 1)
    result = hetserve("plot", "runs", "--out", "more.svg")
    assert (result.exit_code, "runs holds 29 runs; up to 28" in result.stderr) == (2, True)


def test_each_drop_has_a_label_of_its_own() -> None:
    """Three drops near the end: the labels stand above one another, to the left of the time."""
    falls = [("A40",), ("H100-SXM", "L40S"), ("L40S",)]
    drops = [Drop(0.0, 93.0 + i, inf, inf, falls[i], (4,) * len(falls[i]), f"drop {i + 1}") for i in range(3)]
    drops.append(Drop(0.0, 120.0, inf, inf, ("A40",)))
    marks = marks_of(drops, [10.0, 130.0], end_s=100.0)
    told = ["drop 1 (A40 -4)", "drop 2 (H100-SXM -4, L40S -4)", "drop 3 (L40S -4)"]
    assert [mark.label for mark in marks] == ["new plan", *told]
    assert {mark.until_s for mark in marks} == {None, 100.0}
    labels = place_labels(marks, end_s=100.0)
    assert [label.is_left for label in labels] == [False, True, True, True]
    assert [label.level for label in labels] == [0, 0, 1, 2]


def test_what_the_market_does_after_the_end_is_not_drawn(runs: dict[str, Path]) -> None:
    result = read_result(runs["static"])
    short = replace(result, manifest=result.manifest | {"end_s": 350.0})
    panel = next(panel for panel in run_panels(short) if panel.heading == "L40S GPUs")
    (available,) = (line for line in panel.lines if line.label == "available")
    times_s = [t_s for t_s, _ in available.points]
    assert times_s == sorted(times_s)
    assert times_s[-1] == 350.0


def test_results_and_comparisons_are_drawn_from_python(runs: dict[str, Path]) -> None:
    import hetserve as hs

    one = hs.plot(read_result(runs["static"])).to_dict()
    assert one["title"]["text"] == "drop, milp, seed 0"
    several = hs.plot(Comparison.of(read_rows([Path("runs")]))).to_dict()
    assert several["title"]["text"] == "drop, seed 0"


def test_a_run_without_a_market_is_drawn_too(hetserve: Hetserve, small: Path) -> None:
    assert hetserve("run", small, "--planner", "homogeneous").exit_code == 0
    (directory,) = run_directories(Path("runs"))
    kept = pl.read_parquet(directory / "timeline.parquet")
    assert kept.filter(pl.col("gpu_type").is_null())["n_arrived"].sum() == 50
    assert not (directory / "availability.parquet").exists()
    assert hetserve("plot", "runs", "--out", "run.svg").exit_code == 0
    assert "falls" not in Path("run.svg").read_text()
    assert read_stress([directory]) == []
    assert "drops of what can be rented" not in hetserve("show", "runs").stdout
    assert "stress" not in json.loads(hetserve("show", "runs", "--json").stdout)


def test_show_lists_stress_metrics(hetserve: Hetserve, runs: dict[str, Path]) -> None:
    shown = hetserve("show", runs["static"]).stdout
    for text in ("drop, milp, seed 0: drops of what can be rented", "time_to_recover_s", "Drop by drop"):
        assert text in shown
    data = json.loads(hetserve("show", "runs", "--json").stdout)
    assert [row["policy"] for row in data["stress"]] == ["static", "oracle", "robust"]
    (drop,) = data["stress"][0]["drops"]
    assert (drop["drop_s"], drop["back_s"], drop["end_s"]) == (300.0, 400.0, None)


def test_all_runs_of_a_scenario_are_measured_at_the_same_drops(runs: dict[str, Path]) -> None:
    rows = {row.policy: row for row in read_stress(list(runs.values()))}
    assert {row.stress["n_drops"] for row in rows.values()} == {1}  # robust rents one GPU, which stays
    alone = read_stress([runs["robust"]])[0]
    assert (alone.stress["n_drops"], alone.drops) == (0, ())
    assert rows["robust"].drops[0]["usd"] > 0


def test_nothing_is_said_of_runs_to_which_nothing_happened(hetserve: Hetserve, runs: dict[str, Path]) -> None:
    """A fleet of one GPU, which stays: with a policy that is static there is nothing to tell, but in JSON."""
    robust = runs["robust"]
    assert "drops of what can be rented" in hetserve("show", robust).stdout
    kept = (robust / "manifest.json").read_text()
    write_manifest(robust, json.loads(kept.replace('"robust"', '"static"')))
    assert "drops of what can be rented" not in hetserve("show", robust).stdout
    assert "On a market that moves" not in hetserve("compare", robust).stdout
    assert len(json.loads(hetserve("show", robust, "--json").stdout)["stress"]) == 1
    both = hetserve("compare", robust, runs["static"]).stdout
    assert "On a market that moves" in both
    assert "milp-robust" in both.split("On a market that moves")[1]


def test_regret_is_against_the_oracle(runs: dict[str, Path]) -> None:
    rows = read_stress(list(runs.values()))
    found = {row.policy: regret(row, rows) for row in rows}
    assert found["oracle"] == Regret(0.0, 0.0)
    metrics = {row.policy: row.run.metrics for row in rows}
    static = found["static"]
    assert static is not None
    best, mine = (metrics[name]["slo_attainment"] for name in ("oracle", "static"))
    assert best is not None
    assert mine is not None
    assert static.attainment == pytest.approx(best - mine)
    without = [row for row in rows if row.policy != "oracle"]
    assert regret(without[0], without) is None


def test_the_table_fits_into_160_columns(runs: dict[str, Path]) -> None:
    from io import StringIO

    from rich.console import Console

    table = stress_table(read_stress(list(runs.values())))
    console = Console(file=StringIO(), width=160)
    assert console.measure(table).maximum <= 160
    markdown = to_markdown([table])
    assert "drop: 1 drop" in markdown
    assert "| regret: SLO points/$ % |" in markdown
    for row in read_stress(list(runs.values())):
        assert f"|   {row.run.planner} " in markdown


def test_a_stated_start_is_what_the_time_axis_shows(hetserve: Hetserve, small: Path, tmp_path: Path) -> None:
    made = hetserve("run", small, "--set", "start=2026-03-01T13:50+01:00", "--out", "clock")
    assert made.exit_code == 0
    assert hetserve("plot", "clock", "--out", tmp_path / "clock.svg").exit_code == 0
    picture = (tmp_path / "clock.svg").read_text()
    assert "clock time, UTC+01:00" in picture
    assert "13:50" in picture
