"""What the objective `latency` makes least, and what is known of latencies on loaded replicas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from planners.problem.candidate import Candidate
from planners.problem.mixes import MixTimes

Metric = Literal["e2e", "ttft", "tpot"]
"""From arrival to the last token; from arrival to the first; between tokens, in the mean of a request."""

Statistic = Literal["mean", "p50", "p90", "p99"]
"""The mean over all requests, or the time within which 50, 90 or 99 % of them are done."""

STATISTICS: tuple[Statistic, ...] = ("mean", "p50", "p90", "p99")
"""All of them."""

_QUANTILES: dict[Statistic, float] = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
_METRICS: dict[Metric, str] = {"e2e": "end-to-end time", "ttft": "TTFT", "tpot": "TPOT"}


@dataclass(frozen=True, slots=True)
class LatencyGoal:
    """The latency to make least, over the requests of all models.

    Attributes:
        metric: Of a request.
        statistic: Over the requests.
        headroom: By which share the rates could grow until a replica has no time left: none is busy for more than
            1 / (1 + headroom) of its time.
    """

    metric: Metric = "e2e"
    statistic: Statistic = "p99"
    headroom: float = 0.1

    @property
    def late_share(self) -> float | None:
        """Largest share of the requests that may take longer; None for the mean.

        >>> round(LatencyGoal(statistic="p90").late_share, 9)
        0.1
        """
        return None if self.statistic == "mean" else 1.0 - _QUANTILES[self.statistic]

    @property
    def most_utilisation(self) -> float:
        """Share of its time that a replica may be busy."""
        return 1.0 / (1.0 + self.headroom)

    @property
    def in_words(self) -> str:
        """What it is called.

        >>> LatencyGoal().in_words
        'P99 of end-to-end time'
        """
        name = "mean" if self.statistic == "mean" else self.statistic.upper()
        return f"{name} of {self.of_metric}"

    @property
    def of_metric(self) -> str:
        """What the metric is called."""
        return _METRICS[self.metric]

    def problems(self) -> Iterator[str]:
        """What is wrong with it."""
        if not self.headroom >= 0:
            yield f"headroom is {self.headroom!r}; it must be 0 or more"


class Loaded(Protocol):
    """A replica that serves a mix at less than its full rate; w counts the workload types of its model."""

    def mean_s(self, w: int, metric: Metric) -> float:
        """Mean of a metric over requests of a type that is part of the mix."""
        ...

    def late_share(self, w: int, metric: Metric, limit_s: float) -> float:
        """Share of the requests of a type that is part of the mix for which a metric is more than a limit."""
        ...

    def rough_late_share(self, w: int, metric: Metric, limit_s: float) -> float:
        """As `late_share`, to a few per cent of the limit, and soon: for a search."""
        ...


class Loads(MixTimes, Protocol):
    """The times of mixes without any goals, and latencies at less than the full rate of a mix."""

    def loaded(self, candidate: Candidate, mix: Sequence[float], utilisation: float) -> Loaded:
        """A replica at a share of its full rate of a mix.

        Args:
            candidate: With a `spec`.
            mix: Amounts of each workload type of its model, in any unit; all of which it can serve.
            utilisation: The share, more than 0 and less than 1.
        """
        ...
