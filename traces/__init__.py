"""Data in: request traces and timelines of the market, from files or drawn at random, and workload types."""

from traces.availability import AvailabilityTimeline, Offer
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

__all__ = [
    "AVAILABILITY_SCHEMA",
    "PAPER_GRID",
    "READERS",
    "REQUEST_SCHEMA",
    "AllAtOnce",
    "ArrivalProcess",
    "AvailabilityTimeline",
    "Column",
    "DiurnalArrivals",
    "FixedTypes",
    "GammaArrivals",
    "HistogramLengths",
    "LengthSampler",
    "LogNormalLengths",
    "Offer",
    "PiecewiseArrivals",
    "PoissonArrivals",
    "Trace",
    "TraceError",
    "WorkloadGrid",
    "WorkloadMix",
    "WorkloadType",
    "azure_conv_like",
    "constant_availability",
    "correlated_drops",
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
