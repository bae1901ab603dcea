"""Random numbers for planners: a stream of its own for each, from the problem's seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

RANDOM_STREAM = 301  # numbers of the random streams; 300 to 399 are this package's
ADAPTIVE_GREEDY_STREAM = 302
HEXGEN_STREAM = 303
TRIAL_ORDER_STREAM = 304
TRIAL_ARRIVALS_STREAM = 305


def generator(seed: int, stream: int) -> np.random.Generator:
    """The generator of a stream.

    >>> int(generator(0, RANDOM_STREAM).integers(100)) == int(generator(0, RANDOM_STREAM).integers(100))
    True
    """
    import numpy as np

    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy=seed, spawn_key=(stream,))))
