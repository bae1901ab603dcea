"""What candidates can do in worlds where service times are off, and the cases for planners that these make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from planners import Case
from planners.capacity.candidates import capacities_of
from scenarios.file import schema
from scenarios.inputs.settings import make_goals, make_service_time, uncertainties_of
from scenarios.inputs.workload import stream_seed
from sim.timing.worlds import World, draw_worlds

if TYPE_CHECKING:
    from planners import Candidate, Demand
    from planners.problem.candidate import Capacities
    from scenarios.file.loaded import LoadedScenario

PLANNED_WORLDS_STREAM = 403
"""Number of the random stream of worlds to plan for: others than those in which plans are weighed."""


class WorldCapacities:
    """Capacities of candidates in worlds: their own, times what the closed form says of the world and of the model.

    Args:
        loaded: The scenario; its capacities depend on service times.
        candidates: The candidates, with a `spec`.
        demands: What is asked of each model.

    Raises:
        ProfileError, SettingsError: See `make_service_time`.
    """

    def __init__(self, loaded: LoadedScenario, candidates: Sequence[Candidate], demands: Sequence[Demand]) -> None:
        self._loaded = loaded
        self._candidates = candidates
        self._demands = demands
        self._modelled = self._closed_form(None)

    def of(self, world: World) -> Capacities:
        """Requests/s by candidate and workload type."""
        rows = zip(self._candidates, self._closed_form(world), self._modelled, strict=True)
        return tuple(
            tuple(
                rps * (there / modelled) if modelled > 0 else 0.0
                for rps, there, modelled in zip(candidate.capacity_rps, of_world, of_model, strict=True)
            )
            for candidate, of_world, of_model in rows
        )

    def _closed_form(self, world: World | None) -> Capacities:
        capacity = self._loaded.scenario.planning.capacity
        beside_mix = not isinstance(capacity, schema.GivenCapacity) and capacity.beside_mix
        service_time, slo = make_service_time(self._loaded, world), make_goals(self._loaded.scenario)
        return capacities_of(self._candidates, self._demands, service_time, slo, beside_mix=beside_mix)


def world_cases(
    loaded: LoadedScenario,
    candidates: Sequence[Candidate],
    demands: Sequence[Demand],
    available: tuple[tuple[str, int], ...],
    seed: int,
) -> tuple[Case, ...]:
    """A case for each of the scenario's `uncertain_cases`: the market and requests of now, with other capacities."""
    n_worlds = loaded.scenario.planning.uncertain_cases
    if n_worlds == 0:
        return ()
    worlds = draw_worlds(uncertainties_of(loaded), n_worlds, stream_seed(seed, PLANNED_WORLDS_STREAM))
    capacities = WorldCapacities(loaded, candidates, demands)
    names = [candidate.name for candidate in candidates]
    amounts = tuple(demand.amounts for demand in demands)
    return tuple(
        Case(f"world {k}", available, amounts, tuple(zip(names, capacities.of(world), strict=True)))
        for k, world in enumerate(worlds, start=1)
    )
