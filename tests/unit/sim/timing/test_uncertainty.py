from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest

from sim.catalog.gpus import UNCERTAINTY_OF_BASIS, Uncertainty
from sim.catalog.read import Catalog
from sim.timing.fit import fit_all, leave_one_gpu_out, leave_one_model_out, usable_rows
from sim.timing.measured import read_profile
from sim.timing.uncertainty import by_basis, by_gpu_type, uncertainty


def errors(*rows: tuple[str, str, int, str, float]) -> pl.DataFrame:
    """Rows of GPU type, model, `tp`, phase, and by how much measured times are longer than modelled ones."""
    frame = pl.DataFrame(rows, ["gpu", "model", "tp", "phase", "factor"], orient="row")
    return frame.with_columns(error_pct=100 * (1 / pl.col("factor") - 1))


def test_what_cancels_within_a_model_is_no_error_of_a_run() -> None:
    rows = errors(("A", "m", 1, "decode", 1.25), ("A", "m", 1, "decode", 0.8), ("A", "m", 1, "prefill", 1.1))
    found = uncertainty(rows)
    assert found.decode == pytest.approx(0, abs=1e-12)
    assert found.prefill == pytest.approx(math.log(1.1))


def test_the_bias_counts_and_so_does_what_differs_from_model_to_model() -> None:
    rows = errors(("A", "m", 1, "decode", 1.2), ("A", "n", 1, "decode", 1.1), ("A", "n", 2, "decode", 1.1))
    logs = [math.log(1.2), math.log(1.1), math.log(1.1)]
    assert uncertainty(rows).decode == pytest.approx(math.sqrt(sum(x**2 for x in logs) / 3))


def test_each_gpu_type_counts_the_same() -> None:
    of_a = [("A", model, 1, "decode", 1.2) for model in ("m", "n", "o")]
    rows = errors(*of_a, ("B", "m", 1, "decode", 1.1))
    squares = [math.log(1.2) ** 2, math.log(1.1) ** 2]
    assert uncertainty(rows).decode == pytest.approx(math.sqrt(sum(squares) / 2))


@pytest.mark.parametrize(("prefill", "correlation"), [(1.2, 1.0), (1 / 1.2, -1.0)])
def test_phases_that_are_off_together(prefill: float, correlation: float) -> None:
    rows = errors(("A", "m", 1, "decode", 1.1), ("A", "m", 1, "prefill", prefill))
    assert uncertainty(rows).correlation == pytest.approx(correlation)


def test_what_is_partly_estimated_lies_halfway() -> None:
    by_model, by_gpu = errors(("A", "m", 1, "decode", 1.1)), errors(("A", "m", 1, "decode", 1.3))
    found = by_basis(by_model, by_gpu)
    halfway = math.sqrt((math.log(1.1) ** 2 + math.log(1.3) ** 2) / 2)
    assert found["partly_estimated"].decode == pytest.approx(halfway)
    assert found["fitted"].decode < halfway < found["extrapolated"].decode


@pytest.mark.data
def test_the_catalog_has_what_the_measurements_say(data_dir: Path) -> None:
    rows, _ = usable_rows(read_profile(data_dir / "profiles/iteration_times_slim.csv", ("gpu", "model", "tp")))
    names = rows["gpu"].unique(maintain_order=True).to_list()
    by_model = leave_one_model_out(rows, names)
    by_gpu = leave_one_gpu_out(rows, fit_all(rows, names))
    for basis, found in by_basis(by_model, by_gpu).items():
        assert_close(UNCERTAINTY_OF_BASIS[basis], found, basis)
    gpus = Catalog.default().gpus
    own = by_gpu_type(by_model)
    assert own
    for name, found in own.items():
        coefficients = gpus[name].coefficients
        assert coefficients is not None
        assert coefficients.own_uncertainty is not None, name
        assert_close(coefficients.uncertainty, found, name)
    others = {name for name, gpu in gpus.items() if gpu.coefficients and gpu.coefficients.own_uncertainty}
    assert others == own.keys()


def assert_close(known: Uncertainty, found: Uncertainty, name: str) -> None:
    """To the digits that the catalog has."""
    assert known.decode == pytest.approx(found.decode, abs=0.001), name
    assert known.prefill == pytest.approx(found.prefill, abs=0.001), name
    assert known.correlation == pytest.approx(found.correlation, abs=0.01), name
