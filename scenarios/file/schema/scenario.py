"""A scenario file as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, model_validator

from scenarios.file.schema.events import Event
from scenarios.file.schema.fleet import Fleet
from scenarios.file.schema.market import Cluster
from scenarios.file.schema.model import AnyModel
from scenarios.file.schema.part import NonNegativeInt, Part
from scenarios.file.schema.planning import DEPLOYMENT, PlannerChoice, Planning
from scenarios.file.schema.sim import Sim
from scenarios.file.schema.workload import Slo, Stream


class Scenario(Part):
    """A question: this market, this workload, this budget; which planner answers it best?"""

    schema_version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$")]
    description: str = ""
    start: AwareDatetime | None = None
    """What the clock shows at the start, with its zone; then times may be written as clock times."""
    catalog: Path | None = None
    """A directory with GPU types and models of one's own, relative to the file: `gpus.yaml` and `models.yaml`."""
    models: dict[str, AnyModel] = {}
    """Models that the catalog does not have, or not in these numbers, by name."""
    cluster: Cluster
    workload: dict[str, Stream] = {}
    """Streams of requests by name, served together. May be left out only where capacities are given."""
    events: tuple[Event, ...] = ()
    """What happens in the course of a run, beside what `cluster.availability` and arrivals say."""
    slo: Slo = Slo()
    planning: Planning
    deployment: Fleet | None = None
    """A fleet that stands beside those of the planners, under the name `deployment`."""
    deployments: dict[str, Fleet] = {}
    """More of them, by name: `deployment:NAME` among the planners."""
    planners: tuple[PlannerChoice, ...] = tuple(
        PlannerChoice(name=name) for name in ("homogeneous", "uniform", "greedy", "milp")
    )
    """Planners to compare; the first is the baseline. With fleets that are given by default these alone; those that the
    list does not name come last."""
    sim: Sim = Sim()
    seeds: tuple[NonNegativeInt, ...] = (0,)
    """One run for each."""
    overrides: dict[str, dict[str, Any]] = {}
    """Named patches: for each a new value for dotted paths, as in `planning.budget_usd_per_h: 60`."""
    scenarios: dict[str, tuple[str, ...]] = {}
    """Named lists of overrides, applied together."""
    matrix: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = {}
    """Alternatives by axis: each combination, one override of each axis, is a scenario named `a-b-c` after them."""

    @model_validator(mode="before")
    @classmethod
    def _with_fleets(cls, data: Any) -> Any:
        """Fleets that are given are compared, too."""
        if not isinstance(data, dict) or not isinstance(data.get("planners", []), list):
            return data  # which is said of the list
        several = data.get("deployments")
        fleets = [DEPLOYMENT] if data.get("deployment") is not None else []
        fleets += [f"{DEPLOYMENT}:{name}" for name in several] if isinstance(several, dict) else []
        planners = data.get("planners", [])
        named = [one.get("name") if isinstance(one, dict) else one for one in planners]
        left = [fleet for fleet in fleets if fleet not in named]
        return data | {"planners": [*planners, *left]} if left else data

    @property
    def fleets(self) -> dict[str, Fleet]:
        """Fleets that are given, as planners are called that stand for them."""
        alone = {} if self.deployment is None else {DEPLOYMENT: self.deployment}
        return alone | {f"{DEPLOYMENT}:{name}": fleet for name, fleet in self.deployments.items()}

    @property
    def default_planner(self) -> str:
        """What is planned with where one planner is needed and none is named."""
        return next(iter(self.fleets), "milp")

    @property
    def objectives(self) -> frozenset[str]:
        """What any planner plans for."""
        own = (choice.objective for choice in self.planners)
        return frozenset({self.planning.objective, *(objective for objective in own if objective is not None)})
