"""Requests of ServeGen: drawn by it, and its traces of batch jobs."""

from __future__ import annotations

from typing import Any

from traces.errors import TraceError
from traces.readers.files import PathLike, open_csv, open_jsonl
from traces.readers.reading import Layout, Reading
from traces.readers.table import make_trace
from traces.trace import Trace

_LENGTHS = {"prompt_tokens": "input_tokens", "output_tokens": "output_tokens"}


def read_servegen(path: PathLike, **options: Any) -> Trace:
    """Read requests that were drawn from ServeGen's distributions.

    Schema: what `save_requests_to_csv` of github.com/alibaba/ServeGen writes, as its tests/test_utils.py says (read in
    the copy github.com/azaj01/ServeGen; Apache-2.0; cite Xiang et al., arXiv:2505.09999): `request_id`, `timestamp`
    (s), `input_tokens`, `output_tokens`; or the same with `arrival_s`, `model`, `client_id`. Output tokens include
    those of reasoning. Clients are ignored.

    Raises:
        TraceError: The file cannot be read, or does not hold valid requests.
    """
    table = open_csv(path)
    columns = {"arrival_s": "arrival_s" if "arrival_s" in table.schema else "timestamp", **_LENGTHS}
    columns |= {name: name for name in ("model", "request_id") if name in table.schema}
    layout = Layout("servegen", columns, time_unit="s")
    return make_trace(table, layout, Reading.of(path, options))


def read_servegen_offline(path: PathLike, **options: Any) -> Trace:
    """Read a trace of a batch job (`data/offline/trace_{d,e,f}.jsonl`): lengths, without times of arrival.

    Schema: github.com/alibaba/ServeGen, data/offline/README.md: `request_id`, `type`, `input_length`, `output_length`,
    `duration` (ms, ignored). It needs an arrival process. Traces a to c have no output lengths and are refused.

    Raises:
        TraceError: The file cannot be read, has no output lengths, or does not hold valid requests.
    """
    table = open_jsonl(path)
    if "output_length" not in table.schema:
        msg = f"{path}: has no output_length: of ServeGen's offline traces only d, e and f tell how long answers are"
        raise TraceError(msg)
    columns = {"request_id": "request_id", "prompt_tokens": "input_length", "output_tokens": "output_length"}
    return make_trace(table, Layout("servegen_offline", columns), Reading.of(path, options))
