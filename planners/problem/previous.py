"""The fleet that runs already, and what is lost if it is changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from planners.problem.candidate import Candidate


@dataclass(frozen=True, slots=True)
class Previous:
    """A fleet that runs already, and for how long the next one is to stay.

    A replica that is started is paid for at once, but serves nothing for the first `start_s` of the `hold_s`; one that
    is stopped is paid for `drain_s` longer than it is wanted, while it finishes its requests. Both are spread over the
    `hold_s`: of s replicas that are started, s (1 - start_s / hold_s) count as serving, and none if it takes longer to
    start them. That two replicas hold the same GPUs while one drains is left out.

    Replicas that the market takes back stop whatever is planned: they are not to be listed.

    Attributes:
        counts: Pairs of a candidate's name and how many replicas of it run, sorted by name.
        start_s: Time from renting a replica until it serves, boot and loading of weights: for all candidates, or a
            function that gives that of a candidate.
        drain_s: Time from deciding to stop a replica until it is no longer paid for.
        hold_s: How long the next fleet is to stay.
    """

    counts: tuple[tuple[str, int], ...]
    start_s: float | Callable[[Candidate], float] = 0.0
    drain_s: float = 0.0
    hold_s: float = 3600.0

    def counts_of(self, candidates: Iterable[Candidate]) -> tuple[int, ...]:
        """Replicas that run of each candidate."""
        running = dict(self.counts)
        return tuple(running.get(candidate.name, 0) for candidate in candidates)

    def start_share(self, candidate: Candidate) -> float:
        """The share of `hold_s` in which a replica that is started serves nothing; 1 at most."""
        start_s = self.start_s(candidate) if callable(self.start_s) else self.start_s
        return min(1.0, start_s / self.hold_s)

    @property
    def drain_share(self) -> float:
        """How much longer a replica that is stopped is paid for, in units of `hold_s`."""
        return self.drain_s / self.hold_s

    def working(self, candidates: Sequence[Candidate], counts: Sequence[int]) -> tuple[float, ...]:
        """How many replicas of each candidate of the next fleet serve, on average over `hold_s`.

        >>> from planners.problem.candidate import Candidate
        >>> two = [Candidate(name, "m", (("L40", 1),), 0.9, (1.0,)) for name in ("a", "b")]
        >>> Previous((("a", 3),), start_s=900.0, hold_s=3600.0).working(two, (4, 2))
        (3.75, 1.5)
        """
        lost = (
            max(0, count - running) * self.start_share(candidate)
            for candidate, count, running in zip(candidates, counts, self.counts_of(candidates), strict=True)
        )
        return tuple(count - idle for count, idle in zip(counts, lost, strict=True))

    def drain_usd_per_h(self, candidates: Sequence[Candidate], counts: Iterable[int]) -> float:
        """What the replicas that the next fleet stops cost, spread over `hold_s`.

        >>> from planners.problem.candidate import Candidate
        >>> two = [Candidate(name, "m", (("L40", 1),), 2.0, (1.0,)) for name in ("a", "b")]
        >>> Previous((("a", 3),), drain_s=900.0, hold_s=3600.0).drain_usd_per_h(two, (1, 5))
        1.0
        """
        triples = zip(candidates, counts, self.counts_of(candidates), strict=True)
        stopped = (max(0, running - count) * candidate.usd_per_h for candidate, count, running in triples)
        return math.fsum(stopped) * self.drain_share

    def among(self, candidates: Iterable[Candidate]) -> Self:
        """The part of the fleet that some candidates are, for a problem with no others."""
        names = {candidate.name for candidate in candidates}
        return replace(self, counts=tuple((name, count) for name, count in self.counts if name in names))

    def problems_of(self, candidates: Sequence[Candidate]) -> Iterable[str]:
        """All that is wrong with it in a problem with these candidates."""
        from traces.errors import nearest

        known = [candidate.name for candidate in candidates]
        listed = [name for name, _ in self.counts]
        if listed != sorted(set(listed)):
            yield f"previous names {', '.join(listed)}; each candidate must stand there once, sorted by name"
        for name, count in self.counts:
            if name not in known:
                yield f"previous: unknown candidate {name!r}: {nearest(name, known)}"
            if count < 0:
                yield f"previous: {count} replicas of {name!r}; it must be 0 or more"
        if not 0 < self.hold_s < math.inf:
            yield f"previous: hold_s is {self.hold_s!r}; it must be more than 0"
            return
        if not 0 <= self.drain_s < math.inf:
            yield f"previous: drain_s is {self.drain_s!r}; it must be 0 or more"
        if not callable(self.start_s):
            if not self.start_s >= 0:
                yield f"previous: start_s is {self.start_s!r}; it must be 0 or more"
            return
        for candidate in candidates:
            if not self.start_s(candidate) >= 0:
                yield f"previous: start_s of {candidate.name!r} is {self.start_s(candidate)!r}; it must be 0 or more"
