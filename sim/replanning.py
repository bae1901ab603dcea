"""When a replanner is asked, and when its answer takes effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Literal, NamedTuple

from sim.clock import Clock, Order

if TYPE_CHECKING:
    from sim.deployment import Deployment
    from sim.protocols import Decision, Replanner, Situation


class Moves(NamedTuple):
    """How a fleet becomes another one: replicas that stay, that are to be started, and that get no more requests."""

    kept: int
    started: int
    drained: int


@dataclass(frozen=True, slots=True)
class Replan:
    """A change of deployment, for the records.

    Attributes:
        trigger: What made it necessary.
        cause_s: When that happened.
        t_s: When it was noticed.
        applied_s: When the new deployment took effect.
        kept: Replicas that stayed.
        started: Replicas that were missing, and are rented as soon as they can be.
        drained: Replicas that get no more requests, and go when they have ended theirs.
    """

    trigger: str
    cause_s: float
    t_s: float
    applied_s: float
    kept: int
    started: int
    drained: int


class Replanning:
    """Asks a replanner when the market changes and when it is time for a check, and carries out what it says.

    A decision takes effect `delay_s` after the question. If the market changes in between, it is void, and the
    replanner is asked again.

    Args:
        replanner: Decides.
        clock: The simulation's clock.
        look: Says what is known.
        adopt: Makes a deployment the one that is to run.
        is_over: Whether all requests have ended, so that checks can end, too.

    Attributes:
        replans: The changes so far.
    """

    def __init__(
        self,
        replanner: Replanner,
        clock: Clock,
        look: Callable[[Literal["change", "check"]], Situation],
        adopt: Callable[[Deployment], Moves],
        is_over: Callable[[], bool],
    ) -> None:
        self._replanner = replanner
        self._clock = clock
        self._look = look
        self._adopt = adopt
        self._is_over = is_over
        self._pending: Decision | None = None
        self.replans: list[Replan] = []
        self._plan_check()

    def on_change(self) -> None:
        """The market has changed."""
        self._pending = None
        self._ask("change")

    def _plan_check(self) -> None:
        check_s = self._replanner.next_check_s(self._clock.now)
        if check_s is not None:
            self._clock.at(check_s, Order.AVAILABILITY, lambda _: self._check())

    def _check(self) -> None:
        if self._is_over():
            return
        if self._pending is None:
            self._ask("check")
        if self._pending is not None or self._clock.peek() < inf:  # else requests wait for what never comes
            self._plan_check()

    def _ask(self, cause: Literal["change", "check"]) -> None:
        decision = self._pending = self._replanner.replan(self._look(cause))
        if decision is None:
            return
        asked_s = self._clock.now

        def apply() -> None:
            if self._pending is decision:
                self._pending = None
                moves = self._adopt(decision.deployment)
                self.replans.append(Replan(decision.trigger, decision.cause_s, asked_s, self._clock.now, *moves))

        if self._replanner.delay_s > 0:
            self._clock.at(asked_s + self._replanner.delay_s, Order.AVAILABILITY, lambda _: apply())
        else:
            apply()
