"""Time of matrix products with weights, of what reading and computing take by themselves; of numbers and of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Seconds = TypeVar("Seconds", float, "NDArray[np.float64]")

SUSTAINED_LAYER_S = 2.5e-3
"""Computing for so long in each layer, at the datasheet's rate, a GPU has lost half of what it loses in the long run.

Found in NVIDIA's kernel measurements (aiconfigurator-core 0.12.0, vLLM): on H100, H200, B200 and L40S the linear layers
of models from 8B to 70B, on one to four GPUs, lose 5 to 9 % of their rate where a layer passes about 2 to 3 ms. Power
limits do that to long kernels. A100 and RTX PRO 6000 lose less.
"""


def overlapped(read_s: Seconds, flops_s: Seconds, exposed_flops_share: float, exposed_read_share: float) -> Seconds:
    """What is longer, reading or computing, and the part of the other one that it does not hide.

    >>> overlapped(10.0, 1.0, 0.3, 0.1), overlapped(1.0, 10.0, 0.3, 0.1)
    (10.3, 10.1)
    """
    reading = read_s + exposed_flops_share * flops_s
    computing = flops_s + exposed_read_share * read_s
    # The larger one, of arrays too.
    return 0.5 * (reading + computing + abs(reading - computing))


def sustained(layer_s: Seconds, slowdown: float) -> Seconds:
    """By which factor computing takes longer in layers that compute for `layer_s` at the datasheet's rate.

    >>> sustained(0.0, 0.1), sustained(SUSTAINED_LAYER_S, 0.1), round(sustained(1.0, 0.1), 6)
    (1.0, 1.05, 1.1)
    """
    power = (layer_s / SUSTAINED_LAYER_S) ** 4
    return 1.0 + slowdown * power / (1.0 + power)
