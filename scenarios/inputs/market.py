"""From a scenario to its market: what can be rented over time, and the rules of taking it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scenarios.inputs.settings import make_gpu_types
from sim import Failures, Market
from sim.units import GIGA, HOUR_S
from traces import constant_availability

if TYPE_CHECKING:
    from scenarios.file.loaded import LoadedScenario


def make_market(loaded: LoadedScenario, seed: int) -> Market | None:
    """The market, its rules and failures; None if what is rented does not change and nothing fails.

    Nodes that are reserved are paid, used or not, and nodes of offers with reclaims come and go: both need a market.

    Raises:
        TraceError: See `make_timeline`.
    """
    scenario = loaded.scenario
    timeline = loaded.timeline
    given = scenario.sim.failures
    offers = scenario.cluster.all_offers
    reserved = [name for name, offer in offers.items() if offer.tenure == "reserved"]
    if timeline is None:
        if given is None and not reserved and not any(offer.reclaims_per_h for offer in offers.values()):
            return None
        counts = {name: offer.n_gpus for name, offer in offers.items()}
        timeline = constant_availability(counts, market=scenario.cluster.market)
    gpu_types = make_gpu_types(loaded) if reserved else {}
    rules = scenario.sim.interruption
    return Market(
        timeline,
        kind=scenario.cluster.market,
        victims=rules.victims,
        interrupted=rules.interrupted,
        load_bandwidth_bytes_per_s=rules.load_bandwidth_gb_per_s * GIGA,
        failures=None if given is None else Failures(given.mtbf_h * HOUR_S, given.mttr_s, seed),
        reserved=tuple((gpu_types[name], offers[name].n_gpus) for name in reserved),
        reclaims_seed=seed,
    )
