"""What the engine asks of others while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from sim.deployment import Deployment, ReplicaSpec
    from sim.records import RequestLog
    from traces.availability import Supply


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known at a moment of a run.

    Attributes:
        now_s: The time.
        cause: Why the question is asked: the market has a `change`, or it is time for a `check`.
        offers: GPUs that can be rented, with those that are, and their prices, by type; types that are not named are
            always there, at the catalog's price.
        deployment: What is to run: the last decision that took effect, or what the run began with.
        running: Replicas that serve or will soon, without those that are under notice or drain, and how many of each.
        n_arrived: How many requests have arrived: that many rows of the trace, from the first, unless some wait for
            others; then `log.sent_s` says when each was sent.
        log: What has happened to them.
    """

    now_s: float
    cause: Literal["change", "check"]
    offers: Mapping[str, Supply]
    deployment: Deployment
    running: Sequence[tuple[ReplicaSpec, int]]
    n_arrived: int
    log: RequestLog


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to run from now on.

    Attributes:
        deployment: The new fleet and its routing tables.
        trigger: What made it necessary, for the records.
        cause_s: When that happened.
    """

    deployment: Deployment
    trigger: str
    cause_s: float


class Replanner(Protocol):
    """Decides whether another deployment is to run."""

    @property
    def delay_s(self) -> float:
        """From the question until the answer is known and takes effect."""
        ...

    def next_check_s(self, now_s: float) -> float | None:
        """When it is to be asked again though nothing has changed; None if never."""
        ...

    def replan(self, situation: Situation) -> Decision | None:
        """Decide; None if all stays as it is."""
        ...
