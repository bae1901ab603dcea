"""Data in: request traces read from files or drawn at random, and the workload types in them."""

from traces.errors import TraceError, nearest
from traces.readers import (
    READERS,
    read,
    read_azure_2023,
    read_csv,
    read_jsonl,
    read_mooncake,
    read_parquet,
)
from traces.schema import REQUEST_SCHEMA, Column, validate_requests
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

__all__ = [
    "PAPER_GRID",
    "READERS",
    "REQUEST_SCHEMA",
    "AllAtOnce",
    "ArrivalProcess",
    "Column",
    "DiurnalArrivals",
    "FixedTypes",
    "GammaArrivals",
    "HistogramLengths",
    "LengthSampler",
    "LogNormalLengths",
    "PiecewiseArrivals",
    "PoissonArrivals",
    "Trace",
    "TraceError",
    "WorkloadGrid",
    "WorkloadMix",
    "WorkloadType",
    "azure_conv_like",
    "nearest",
    "read",
    "read_azure_2023",
    "read_csv",
    "read_jsonl",
    "read_mooncake",
    "read_parquet",
    "synthesize",
    "validate_requests",
]
