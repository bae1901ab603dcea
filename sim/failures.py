"""Replicas that fail and are repaired."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

import numpy as np

from sim.errors import SettingsError

_STREAM = 202  # number of the random stream; 200 to 299 are this package's


@dataclass(frozen=True, slots=True)
class Failures:
    """Failures of replicas, each by itself and without warning, and their repair.

    A failed replica loses what it holds, and stays rented and paid for. When it has been repaired it loads its weights
    again, and then takes requests. Both times are exponential, so that a replica works for a share
    mtbf / (mtbf + mttr + loading) of the time in the long run. While it boots or is repaired it does not fail.

    Attributes:
        mtbf_s: Mean time that a replica works until it fails.
        mttr_s: Mean time that its repair takes.
        seed: For both. Each replica has a random stream of its own, by its number.

    Raises:
        SettingsError: A time is not positive and finite.
    """

    mtbf_s: float
    mttr_s: float
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("mtbf_s", "mttr_s"):
            if not 0 < getattr(self, name) < inf:
                msg = f"failures: {name} is {getattr(self, name)}; it must be more than 0, and finite"
                raise SettingsError(msg)

    def of_replica(self, replica_id: int) -> Iterator[tuple[float, float]]:
        """How long a replica works and how long its repair then takes, again and again.

        >>> times = Failures(mtbf_s=100.0, mttr_s=10.0).of_replica(7)
        >>> [round(time_s, 1) for time_s in (*next(times), *next(times))]
        [3.1, 0.7, 17.7, 1.6]
        """
        seed = np.random.SeedSequence(entropy=self.seed, spawn_key=(_STREAM, replica_id))
        rng = np.random.Generator(np.random.PCG64(seed))
        while True:
            yield float(rng.exponential(self.mtbf_s)), float(rng.exponential(self.mttr_s))
