"""A replica that is rented: since when, whether it takes requests, and until when."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.replica import Replica


@dataclass(slots=True, eq=False)
class Lease:
    """A replica that is or was rented.

    Attributes:
        replica: The replica.
        rented_s: Since when it costs.
        open_s: From when on it takes requests; None while it boots.
        notice_s: Since when it takes no more, because of the market or of another plan; None if it still does.
        released_s: When it was gone; None if it is still there.
        is_draining: Whether it goes when its requests have ended, whatever the market says.
        is_ahead: Whether it is for the next deployment, and waits for all else that is.
        outages: When it failed and when it was to take requests again, for each failure.
        is_down: Whether it has failed and does not take requests yet.
    """

    replica: Replica
    rented_s: float
    open_s: float | None = None
    notice_s: float | None = None
    released_s: float | None = None
    is_draining: bool = False
    is_ahead: bool = False
    outages: list[tuple[float, float]] = field(default_factory=list)
    is_down: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it takes requests."""
        return self.open_s is not None and self.notice_s is None and not self.is_ahead and not self.is_down
