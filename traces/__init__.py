"""Data in: request traces and timelines of the market, from files or drawn at random, and workload types.

Importing this package imports none of its modules but the errors: names are loaded when they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from traces.errors import TraceError, nearest

if TYPE_CHECKING:
    from traces.availability import AvailabilityTimeline, Supply
    from traces.availability_readers import (
        read_alibaba_spot_gpu,
        read_availability_csv,
        read_gpu_market,
        read_spot_trace,
    )
    from traces.availability_synth import (
        constant_availability,
        correlated_drops,
        diurnal_availability,
        markov_availability,
        scheduled_drops,
    )
    from traces.bootstrap import block_bootstrap
    from traces.closed_loop import ClosedLoop, Sessions
    from traces.readers import (
        READERS,
        Reading,
        detect,
        read,
        read_azure_2023,
        read_csv,
        read_jsonl,
        read_mooncake,
        read_parquet,
    )
    from traces.schema import AVAILABILITY_SCHEMA, REQUEST_SCHEMA, Column, validate_availability, validate_requests
    from traces.synth import (
        AllAtOnce,
        ArrivalProcess,
        DiurnalArrivals,
        FixedTypes,
        GammaArrivals,
        HistogramLengths,
        LengthSampler,
        LogNormalLengths,
        PiecewiseArrivals,
        PoissonArrivals,
        azure_conv_like,
        synthesize,
    )
    from traces.trace import Trace
    from traces.workload import PAPER_GRID, WorkloadGrid, WorkloadMix, WorkloadType

_LAZY = {
    "AVAILABILITY_SCHEMA": "traces.schema",
    "AllAtOnce": "traces.synth",
    "ArrivalProcess": "traces.synth",
    "AvailabilityTimeline": "traces.availability",
    "ClosedLoop": "traces.closed_loop",
    "Column": "traces.schema",
    "DiurnalArrivals": "traces.synth",
    "FixedTypes": "traces.synth",
    "GammaArrivals": "traces.synth",
    "HistogramLengths": "traces.synth",
    "LengthSampler": "traces.synth",
    "LogNormalLengths": "traces.synth",
    "Supply": "traces.availability",
    "PAPER_GRID": "traces.workload",
    "PiecewiseArrivals": "traces.synth",
    "PoissonArrivals": "traces.synth",
    "READERS": "traces.readers",
    "Reading": "traces.readers",
    "REQUEST_SCHEMA": "traces.schema",
    "Sessions": "traces.closed_loop",
    "Trace": "traces.trace",
    "WorkloadGrid": "traces.workload",
    "WorkloadMix": "traces.workload",
    "WorkloadType": "traces.workload",
    "azure_conv_like": "traces.synth",
    "block_bootstrap": "traces.bootstrap",
    "constant_availability": "traces.availability_synth",
    "correlated_drops": "traces.availability_synth",
    "detect": "traces.readers",
    "diurnal_availability": "traces.availability_synth",
    "markov_availability": "traces.availability_synth",
    "read": "traces.readers",
    "read_alibaba_spot_gpu": "traces.availability_readers",
    "read_availability_csv": "traces.availability_readers",
    "read_azure_2023": "traces.readers",
    "read_csv": "traces.readers",
    "read_gpu_market": "traces.availability_readers",
    "read_jsonl": "traces.readers",
    "read_mooncake": "traces.readers",
    "read_parquet": "traces.readers",
    "read_spot_trace": "traces.availability_readers",
    "scheduled_drops": "traces.availability_synth",
    "synthesize": "traces.synth",
    "validate_availability": "traces.schema",
    "validate_requests": "traces.schema",
}

__all__ = [
    "AVAILABILITY_SCHEMA",
    "PAPER_GRID",
    "READERS",
    "REQUEST_SCHEMA",
    "AllAtOnce",
    "ArrivalProcess",
    "AvailabilityTimeline",
    "ClosedLoop",
    "Column",
    "DiurnalArrivals",
    "FixedTypes",
    "GammaArrivals",
    "HistogramLengths",
    "LengthSampler",
    "LogNormalLengths",
    "PiecewiseArrivals",
    "PoissonArrivals",
    "Reading",
    "Sessions",
    "Supply",
    "Trace",
    "TraceError",
    "WorkloadGrid",
    "WorkloadMix",
    "WorkloadType",
    "azure_conv_like",
    "block_bootstrap",
    "constant_availability",
    "correlated_drops",
    "detect",
    "diurnal_availability",
    "markov_availability",
    "nearest",
    "read",
    "read_alibaba_spot_gpu",
    "read_availability_csv",
    "read_azure_2023",
    "read_csv",
    "read_gpu_market",
    "read_jsonl",
    "read_mooncake",
    "read_parquet",
    "read_spot_trace",
    "scheduled_drops",
    "synthesize",
    "validate_availability",
    "validate_requests",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(_LAZY[name]), name)
