from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlencode

import pytest

import hetserve as hs
from scenarios.report.html.page import make_page
from scenarios.report.summary import tables_over_scenarios
from scenarios.runs.directory import read_result, run_directories
from scenarios.runs.row import Row
from scenarios.runs.series import read_rows
from scenarios.study.compare import Comparison
from sim.results.stress import STRESS_METRICS
from tests.cli.chromium import open_page
from tests.cli.conftest import SMALL, Hetserve
from tests.cli.test_plot import N_REPLICAS, keep

LABEL = "b[/x]<script>"
SECTIONS = ("question", "fleets", "delivery", "cost", "latency", "time", "stress", "why", "measured", "again")
VOID = {"meta", "link", "br", "input"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    parent: Element | None = None
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, tag: str = "", **attributes: str) -> list[Element]:
        wanted = {name.replace("_", "-"): value for name, value in attributes.items()}
        mine = [self] if tag in ("", self.tag) and wanted.items() <= self.attributes.items() else []
        return mine + [found for child in self.children for found in child.all(tag, **attributes)]

    def has(self, name: str) -> bool:
        return name in self.attributes

    @property
    def is_shown(self) -> bool:
        return not self.has("hidden") and (self.parent is None or self.parent.is_shown)


class Reader(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = self.here = Element("", {})
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs), self.here)
        self.here.children.append(element)
        if tag not in VOID:
            self.here = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.here.children.append(Element(tag, dict(attrs), self.here))

    def handle_endtag(self, tag: str) -> None:
        assert self.here.tag == tag
        assert self.here.parent is not None
        self.here = self.here.parent

    def handle_data(self, data: str) -> None:
        self.here.text += data


def read(html: str) -> Element:
    reader = Reader(html)
    assert reader.here is reader.root  # all is closed
    return reader.root


@dataclass(frozen=True)
class Made:
    runs: Path
    page: Path
    html: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Two scenarios: two planners with two seeds, one of them with a label that means mischief, and three policies."""
    folder = tmp_path_factory.mktemp("report")
    text = SMALL.replace("  contradiction: [poor, rich]\n", "")
    text = text.replace("planners: [homogeneous, milp]", f"planners: [homogeneous, {{name: milp, label: '{LABEL}'}}]")
    (folder / "small.yaml").write_text(text + "description: '</script><b>'\n")
    runs = folder / "runs"
    hs.compare(folder / "small.yaml", runs, seeds=[0, 1])
    for policy, n_replicas in N_REPLICAS.items():
        keep(policy, n_replicas, out=runs)
    html = make_page(runs)
    page = folder / "report.html"
    page.write_text(html)
    return Made(runs, page, html)


def expected_means(runs: Path) -> dict[tuple[str, str, str], float]:
    """Metrics by scenario, planner and name: the mean over the seeds, computed from the Parquet files."""
    rows = [Row.from_result(read_result(directory)) for directory in run_directories(runs)]
    cases = dict.fromkeys((row.scenario, row.planner) for row in rows)
    means = {}
    for scenario, planner in cases:
        mine = [row for row in rows if (row.scenario, row.planner) == (scenario, planner)]
        for name in mine[0].metrics:
            values = [row.metrics[name] for row in mine]
            known = [value for value in values if value is not None]
            if len(known) == len(values):
                means[scenario, planner, name] = sum(known) / len(known)
    return means


def factor_of(metric: str) -> float:
    """From the unit of a metric to that of its column."""
    if metric == "slo_attainment":
        return 100.0
    return 1e3 if metric.startswith("tpot") or metric == "usd_per_good_request" else 1.0


def check_figures(root: Element, runs: Path) -> int:
    """Compare the figures of the tables with those of the runs; how many there were."""
    expected = expected_means(runs)
    n_checked = 0
    for article in root.all("article"):
        scenario = article.attributes["data-show-scenario"] or ""
        for name in ("delivery", "cost", "latency"):
            (section,) = article.all("section", data_name=name)
            for row in section.all("tr"):
                planner = row.attributes.get("data-planner") or ""
                for cell in row.all("td"):
                    metric = cell.attributes.get("data-metric") or ""
                    if (scenario, planner, metric) in expected:
                        figure = float(cell.attributes["data-value"] or "nan")
                        assert figure == factor_of(metric) * expected[scenario, planner, metric], metric
                        n_checked += 1
    return n_checked


def test_sections_come_in_their_order(made: Made) -> None:
    articles = read(made.html).all("article")
    assert [article.attributes["data-show-scenario"] for article in articles] == ["small", "drop"]
    for article in articles:
        assert tuple(section.attributes["data-name"] for section in article.all("section")) == SECTIONS


def test_figures_are_those_of_the_runs(made: Made) -> None:
    assert check_figures(read(made.html), made.runs) > 100
    for text in ("Means over 2 seeds", "with 95 % intervals", " ± "):
        assert text in made.html


def test_over_all_scenarios_stands_what_compare_prints(made: Made) -> None:
    rows = read_rows([made.runs])
    printed = tables_over_scenarios(Comparison.of(rows), 2)
    (section,) = read(made.html).all("section", id="standings")
    captions = [caption.text for caption in section.all("strong")]
    assert captions == [str(table.title) for table in printed]
    assert any(caption.startswith("What it costs") for caption in captions)
    cells = [[cell.text for cell in row.all("td")] for row in section.all("tbody")[-1].all("tr")]
    assert cells == [list(row) for row in zip(*(column.cells for column in printed[-1].columns), strict=True)]


def test_what_users_call_things_is_only_text(made: Made) -> None:
    root = read(made.html)
    assert {cell.text for row in root.all("tr", data_planner=LABEL) for cell in row.all("td")[:1]} == {LABEL}
    assert "</script><b>" not in made.html
    n_charts = len(root.all("figure"))
    assert len(root.all("script")) == n_charts + 3  # and the index, the bundle, the page's own
    for script in root.all("script", type="application/json"):
        json.loads(script.text)
    assert f"--baseline {LABEL}" not in made.html


def test_a_baseline_is_quoted_for_the_shell(made: Made) -> None:
    page = make_page(made.runs / "scenario=small", baseline=LABEL, explain_s=0)
    assert "Nothing was planned again for this report." in page
    commands = read(page).all("pre")[0].text
    assert f"--baseline '{LABEL}'" in commands


def test_nothing_comes_from_elsewhere(made: Made) -> None:
    root = read(made.html)
    for element in root.all():
        assert not element.has("src")
        assert (element.attributes.get("href") or "#").startswith(("#", "data:"))
    assert not re.search(r"@import|url\(", "".join(style.text for style in root.all("style")))


def test_the_same_runs_give_the_same_bytes(made: Made) -> None:
    assert make_page(made.runs) == made.html


def test_drops_are_told_as_stress_metrics(made: Made) -> None:
    (article,) = read(made.html).all("article", data_show_scenario="drop")
    (section,) = article.all("section", data_name="stress")
    cells = [
        cell for row in section.all("tr", data_planner="milp") for cell in row.all("td") if cell.has("data-metric")
    ]
    told = {cell.attributes["data-metric"]: cell.attributes.get("data-value") for cell in cells}
    assert told["n_drops"] == "1"
    assert set(told) <= set(STRESS_METRICS)
    assert "drop 1 (L40S -2): 5 to 6.667 min" in made.html


def test_what_is_not_there_is_said(made: Made) -> None:
    small, drop = read(made.html).all("article")
    why = "".join(p.text for p in drop.all("section", data_name="why")[0].all("p"))
    assert "The plan cannot be explained here" in why
    assert "The runs did not keep their scenario." in [p.text for p in drop.all("p")]
    headings = [strong.text for strong in small.all("section", data_name="why")[0].all("strong")]
    assert headings[:2] == ["How the plans came about", "What limits the plan?"]
    assert "was given up" in make_page(made.runs / "scenario=small", explain_s=1e-9)


def test_the_command_writes_it_once(hetserve: Hetserve, made: Made) -> None:
    done = hetserve("report", made.runs, "--out", "new/report.html", "--explain", "0")
    assert done.exit_code == 0, done.output
    assert re.fullmatch(r"Written: new/report.html, \d\.\d\d MB\n", done.stdout)
    refused = hetserve("report", made.runs, "--out", "new/report.html")
    assert (refused.exit_code, "use --force" in refused.stderr) == (2, True)
    Path("new/report.html").write_text("mine")
    assert hetserve("report", made.runs, "--out", "new/report.html", "--explain", "0", "--force").exit_code == 0
    assert Path("new/report.html").read_text() != "mine"


def test_what_cannot_be_reported(hetserve: Hetserve, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = hetserve("report", "elsewhere")
    assert (nothing.exit_code, "elsewhere holds no finished run" in nothing.stderr) == (2, True)
    nobody = hetserve("report", made.runs, "--baseline", "homogenous")
    assert (nobody.exit_code, "unknown baseline 'homogenous'" in nobody.stderr) == (2, True)
    assert not Path("report.html").exists()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "jinja2" else name)
    missing = hetserve("report", made.runs)
    assert (missing.exit_code, "pip install jinja2" in missing.stderr) == (2, True)


def test_ten_planners_take_less_than_1_5_megabytes(in_tmp_path: Path) -> None:
    for i in range(10):
        keep(f"policy{i}", 1 + i % 3)
    assert len(make_page(Path("runs")).encode()) < 1_500_000


# In a browser -----------------------------------------------------------------------------------------------


def with_script(html: str, script: str) -> str:
    """The page with one more script at its end."""
    before, end, after = html.rpartition("</body>")
    return f"{before}<script>{script}</script>{end}{after}"


def test_every_chart_is_drawn_in_a_browser(made: Made, tmp_path: Path) -> None:
    """The page is led through all scenarios, planners and seeds; what is drawn stays."""
    index = json.loads(next(one.text for one in read(made.html).all("script", id="index")))
    states = [
        urlencode({"scenario": one["label"], "planner": planner, "seed": seed})
        for one in index
        for planner in one["planners"]
        for seed in one["seeds"]
    ]
    step = "(one, i) => setTimeout(() => { location.hash = one; }, 1000 * (i + 1))"
    walk = f"{json.dumps(states)}.forEach({step});"
    page = tmp_path / "walk.html"
    page.write_text(with_script(made.html, walk))
    opened = open_page(page)
    assert opened.console == []
    root = read(opened.html)
    figures = root.all("figure")
    assert len(figures) > 20
    for figure in figures:
        assert len(figure.all("svg", **{"class": "marks"})) == 1, figure.children[0].text
        assert not re.search("NaN|undefined", " ".join(text.text for text in figure.all("text")))
    assert check_figures(root, made.runs) > 100


def test_a_link_opens_what_it_names(made: Made, tmp_path: Path) -> None:
    """The section that it names is at the top, although charts above it take their places later."""
    measure = """setTimeout(() => {
      const section = document.querySelector('article:not([hidden]) [data-name=time]');
      const top = Math.round(section.getBoundingClientRect().top);
      document.body.append(Object.assign(document.createElement('pre'), { id: 'top', textContent: top }));
    }, 5000);"""
    page = tmp_path / "measured.html"
    page.write_text(with_script(made.html, measure))
    state = {"scenario": "small", "planner": LABEL, "seed": "1", "section": "time"}
    opened = open_page(page, urlencode(state))
    assert opened.console == []
    root = read(opened.html)
    assert root.all("pre", id="top")[0].text == "0"
    assert [article.attributes["data-show-scenario"] for article in root.all("article") if article.is_shown] == [
        "small"
    ]
    shown = [one for one in root.all("div") if one.is_shown and one.has("data-show-planner")]
    assert {(one.attributes["data-show-planner"], one.attributes["data-show-seed"]) for one in shown} == {(LABEL, "1")}
    (time,) = [one for one in root.all("section", data_name="time") if one.is_shown]
    drawn = [one for one in time.all("figure") if one.is_shown]
    assert len(drawn) > 5
    assert all(one.all("svg", **{"class": "marks"}) for one in drawn)
    links = [one.attributes["href"] for one in root.all("a", data_section="cost") if one.is_shown]
    assert links == ["#" + urlencode(state | {"section": "cost"})] * 2
    assert not [one for one in root.all("p", id="note") if one.is_shown]


def test_a_link_to_what_is_not_there_says_so(made: Made) -> None:
    root = read(open_page(made.page, urlencode({"scenario": "small", "planner": "mlip"})).html)
    (note,) = root.all("p", id="note")
    assert (note.is_shown, note.text) == (True, "This report has no planner mlip.")


def test_tables_are_sorted_and_copied(made: Made, tmp_path: Path) -> None:
    script = """
    const table = document.querySelector('article:not([hidden]) [data-name=delivery] table');
    const header = [...table.querySelectorAll('th')].find((one) => one.textContent.startsWith('throughput, '));
    header.querySelector('button').click();
    document.body.append(Object.assign(document.createElement('pre'), { id: 'up', textContent: toTsv(table) }));
    header.querySelector('button').click();
    document.body.append(Object.assign(document.createElement('pre'), { id: 'down', textContent: toTsv(table) }));
    """
    page = tmp_path / "sort.html"
    page.write_text(with_script(made.html, script))
    root = read(open_page(page).html)
    expected = expected_means(made.runs)
    for name, sign in (("up", 1), ("down", -1)):
        (pre,) = root.all("pre", id=name)
        head, *rows = [line.split("\t") for line in pre.text.split("\n")]
        column = next(i for i, header in enumerate(head) if header.startswith("throughput, "))
        values = [float(row[column]) for row in rows]
        assert values == [expected["small", row[0], "throughput_rps"] for row in rows]
        assert all(sign * (b - a) >= 0 for a, b in pairwise(values))
