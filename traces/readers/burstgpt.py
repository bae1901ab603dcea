"""BurstGPT's trace."""

from __future__ import annotations

from typing import Any

from traces.readers.files import PathLike, open_csv
from traces.readers.reading import Layout, Reading
from traces.readers.table import make_trace
from traces.trace import Trace


def read_burstgpt(path: PathLike, **options: Any) -> Trace:
    """Read a file of BurstGPT (`BurstGPT_{1,2}.csv`, `BurstGPT_without_fails_{1,2}.csv`).

    Schema: github.com/HPMLL/BurstGPT, README.md (CC BY 4.0; cite Wang et al., arXiv:2401.17644): `Timestamp` (s from
    0:00 of the first day), `Model` (ChatGPT, GPT-4), `Request tokens`, `Response tokens`, `Total tokens`, `Log Type`.
    Other columns are ignored.

    Rows with 0 response tokens are failures, as its README says: they are left out and counted, unless `drop_failed` is
    false. Requests keep the model that was asked for; `models` maps it to one that you serve.

    Raises:
        TraceError: The file cannot be read, or does not hold valid requests.
    """
    columns = {
        "arrival_s": "Timestamp",
        "model": "Model",
        "prompt_tokens": "Request tokens",
        "output_tokens": "Response tokens",
    }
    layout = Layout("burstgpt", columns, time_unit="s", drops_failed=True)
    return make_trace(open_csv(path), layout, Reading.of(path, options))
