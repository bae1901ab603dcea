"""The planner `helix`: layers placed on given GPUs so that the most requests flow through them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from planners.fleets.drafting import Drafting
from planners.fleets.exact import termination_at
from planners.fleets.given import Composition, given_fleet
from planners.fleets.mix import capacity_weighted, mix_capacity_rps
from planners.fleets.small_milp import Rows
from planners.problem.plan import Plan, Termination
from planners.problem.problem import Feature, PlanningProblem


class HelixOptions(BaseModel):
    """Options of the planner `helix`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    composition: Composition = "proportional"
    """Which GPUs it is given: in proportion to what is available, or those of the best fleet."""
    gap: float = Field(default=1e-4, ge=0, lt=1)
    """Relative gap at which the placement stops."""
    node_limit: int = Field(default=20_000, ge=1)
    """Nodes of the search tree after which the placement stops."""


class HelixPlanner:
    """Places layers on the GPUs that it is given, as a maximum flow of requests; it is blind to workload types.

    The placement of Helix (Mei et al., ASPLOS 2025, arXiv:2406.01566). A node is some GPUs of one type that work with
    tensor parallelism. It is given consecutive layers, and passes as many requests/s as it can with so many. Requests
    flow from the first layer to the last through nodes that follow on one another; the placement with the largest flow
    is sought by mixed-integer programming, beside a heuristic placement (a pipeline of its own for each GPU type), and
    the better of the two is kept. Requests go to replicas in proportion to their flow, whatever their type.

    What differs here, where a fleet consists of candidates and all GPUs are in one region:

    - A fixed budget rents GPUs first, and Helix is given them (`composition`).
    - A node has the layers of a stage of some candidate, and passes what the best candidate with such a stage does:
      capacities on the mix, the same as for all planners. A candidate without stages is one node with all layers.
    - Links are not part of the problem: inside a region they do not limit the flow, and capacities know what they cost.
      Nodes do not compute a part of their layers only.
    - Nodes of one kind are counted, not told apart, and a flow is divided over the candidates as its paths. Without a
      binary variable for each link the bound is tight, where the paper's program takes hours (4 h for 24 nodes, by
      arXiv:2605.04357, section 4.1).
    - Requests find their own way through the nodes in Helix, so that one node may serve several pipelines. Replicas do
      not share GPUs here. The placement is cut into as many replicas as it has room for, which can lose flow; the bound
      of the plan is that of the flow.
    """

    name = "helix"
    features: frozenset[str] = frozenset({Feature.MAKESPAN, Feature.THROUGHPUT, Feature.SEVERAL_MODELS, Feature.BOUND})
    Options: type[BaseModel] = HelixOptions
    argument = "composition"

    def __init__(self, options: HelixOptions | None = None) -> None:
        self.options = options if options is not None else HelixOptions()
        if self.options.composition != "proportional":
            self.name = f"helix:{self.options.composition}"

    def plan(self, problem: PlanningProblem) -> Plan:
        """Choose a fleet for the problem."""
        drafting = Drafting(problem, self.name, self.options)
        given = given_fleet(problem, self.options.composition)
        if given is None:
            return drafting.none(Termination.INFEASIBLE)
        diagnostics = list(given.diagnostics)
        network = _Network(problem, given.counts)
        placement = network.place(self.options.gap, self.options.node_limit)
        if not placement.is_solved:
            diagnostics.append(f"the placement stopped after {self.options.node_limit} nodes of the search tree")
        fleets = [given.counts]
        if placement.n_placed is not None:
            replicas = network.cut(placement.n_placed)
            if replicas is not None:
                fleets.insert(0, replicas)
        counts = min(fleets, key=lambda fleet: capacity_weighted(problem, fleet).makespan)
        makespan, shares = capacity_weighted(problem, counts)
        # A flow that the solver cannot tell from none at all proves nothing.
        bound = 1 / placement.pace_bound if placement.pace_bound > 0 else None
        is_proved = placement.is_solved and bound is not None
        termination = termination_at(makespan, bound or 0.0) if is_proved else Termination.HEURISTIC
        return drafting.plan(counts, termination, bound=bound, assignment=shares, diagnostics=diagnostics)


class _Stage(NamedTuple):
    """A kind of node with its layers: the model, the GPUs, the first layer and the one after the last."""

    model: str
    gpus: tuple[tuple[str, int], ...]
    first: int
    end: int


class _Placement(NamedTuple):
    """How many nodes each stage has, None if nothing was found; a pace that no flow exceeds; whether that is proved."""

    n_placed: tuple[int, ...] | None
    pace_bound: float
    is_solved: bool


class _Network:
    """The stages that GPUs can be given, and the pipelines through them."""

    def __init__(self, problem: PlanningProblem, given: Sequence[int]) -> None:
        self._problem = problem
        self._gpus = problem.gpus(given)
        self._mix_rps: dict[int, float] = {}
        self._path: dict[int, list[int]] = {}
        number: dict[_Stage, int] = {}
        for c, candidate in enumerate(problem.candidates):
            rps = mix_capacity_rps(problem, c)
            if rps > 0 and all(n <= self._gpus.get(gpu, 0) for gpu, n in candidate.gpus):
                self._mix_rps[c] = rps
                self._path[c] = [number.setdefault(stage, len(number)) for stage in _stages(problem, c)]
        self._stages = list(number)
        self._passes = [0.0] * len(number)
        for c, path in self._path.items():
            for s in path:
                self._passes[s] = max(self._passes[s], self._mix_rps[c])
        self._unit_rps = max(self._mix_rps.values())
        self._total = math.fsum(demand.total for demand in problem.demands)

    def place(self, gap: float, node_limit: int) -> _Placement:
        r"""The placement with the largest flow.

        With n nodes at each stage s, of which each passes P requests/s and takes d GPUs of a type, and the flow phi of
        each candidate, of which F are demanded of its model m:

        .. math::

            \max z \quad \sum_{c \in m} \phi_c \ge F_m z, \quad \sum_{c \ni s} \phi_c \le P_s n_s, \quad
            \sum_s d_{g,s} n_s \le a_g
        """
        rows = Rows(len(self._stages))
        for gpu, count in self._gpus.items():
            rows.add({s: float(dict(stage.gpus).get(gpu, 0)) for s, stage in enumerate(self._stages)}, upper=count)
        column_of_z = rows.add_column()
        flow = {c: rows.add_column() for c in self._path}
        for s, passes in enumerate(self._passes):
            through = {flow[c]: 1.0 for c, path in self._path.items() if s in path}
            rows.add({s: -passes / self._unit_rps, **through}, upper=0.0)
        self._serve(rows, column_of_z, dict.fromkeys(flow, 1.0), flow)
        most = [min(self._gpus[gpu] // n for gpu, n in stage.gpus) for stage in self._stages]
        solved = rows.solve({column_of_z: -1.0}, most, gap, self._problem.time_limit_s, node_limit)
        bound = math.inf if solved.mip_dual_bound is None else -solved.mip_dual_bound * self._unit_rps / self._total
        n_placed = None if solved.x is None else tuple(round(n) for n in solved.x[: len(self._stages)])
        return _Placement(n_placed, bound, solved.status == 0)

    def cut(self, n_placed: Sequence[int]) -> tuple[int, ...] | None:
        """The replicas with the most capacity that a placement has room for; None if none serve everything."""
        index = {c: i for i, c in enumerate(self._path)}
        rows = Rows(len(index))
        rows.add_cover(self._problem, rows.add_fleet(self._problem, index))
        for s, n in enumerate(n_placed):
            rows.add({index[c]: 1.0 for c, path in self._path.items() if s in path}, upper=n)
        column_of_z = rows.add_column()
        self._serve(rows, column_of_z, {c: rps / self._unit_rps for c, rps in self._mix_rps.items()}, index)
        most = [min(n_placed[s] for s in path) for path in self._path.values()]
        solved = rows.solve({column_of_z: -1.0}, most, gap=0.0, time_limit_s=self._problem.time_limit_s)
        if solved.x is None:
            return None
        return tuple(round(solved.x[index[c]]) if c in index else 0 for c in range(len(self._problem.candidates)))

    def _serve(self, rows: Rows, column_of_z: int, rps: dict[int, float], column: dict[int, int]) -> None:
        """Each model is served at the pace z, counted in that of the largest replica."""
        for demand in self._problem.demands:
            mine = [c for c in self._problem.candidates_of(demand.model) if c in column]
            if demand.total > 0:
                rows.add({column_of_z: -demand.total / self._total, **{column[c]: rps[c] for c in mine}}, lower=0.0)


def _stages(problem: PlanningProblem, c: int) -> list[_Stage]:
    """The stages of a candidate; all its GPUs with all layers if it does not say."""
    candidate = problem.candidates[c]
    if candidate.spec is None:
        return [_Stage(candidate.model, candidate.gpus, 0, 1)]
    stages = []
    first = 0
    for stage in candidate.spec.stages:
        gpus = ((stage.gpu_type.pool, stage.n_taken),)
        stages.append(_Stage(candidate.model, gpus, first, first + stage.n_layers))
        first += stage.n_layers
    return stages
