from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from sim.timing.monotone import DecodeLines, Floats, fit_nonnegative, level, line

times = st.floats(0.1, 100.0)
grids = npst.arrays(np.float64, npst.array_shapes(min_dims=1, max_dims=2, max_side=6), elements=times)


def never_falls(values: Floats) -> bool:
    return all(bool((np.diff(values, axis=axis) >= 0).all()) for axis in range(values.ndim))


@given(grids)
def test_levelled_times_never_fall_along_any_axis(values: Floats) -> None:
    levelled = level(values)
    assert never_falls(levelled)
    assert level(levelled) == pytest.approx(levelled)
    assert values.min() <= levelled.min()
    assert levelled.max() <= values.max()


@given(grids)
def test_times_that_never_fall_stay_what_they_are(values: Floats) -> None:
    for axis in range(values.ndim):
        values = np.maximum.accumulate(values, axis=axis)
    assert level(values) == pytest.approx(values)


@given(st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3), st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3))
def test_lines_that_never_fall_are_found(bases: list[float], slopes: list[float]) -> None:
    base, slope = np.cumsum(bases), np.cumsum(slopes)
    n, i = np.repeat([1.0, 4.0, 16.0], 3), np.repeat([0, 1, 2], 3)
    context = n * np.tile([1.0, 10.0, 100.0], 3)
    lines = DecodeLines.fit(n, context, base[i] + slope[i] * context)
    assert lines.batches == [1, 4, 16]
    assert lines.bases == pytest.approx(base, rel=1e-6)
    assert lines.slopes == pytest.approx(slope, rel=1e-6)
    assert lines.n_held == 0
    assert lines.at(10) == pytest.approx(((base[1] + base[2]) / 2, (slope[1] + slope[2]) / 2), rel=1e-6)


def test_lines_that_would_fall_are_held() -> None:
    n, context = np.array([1.0, 1.0, 2.0, 2.0]), np.array([10.0, 20.0, 20.0, 40.0])
    lines = DecodeLines.fit(n, context, np.where(n == 1, 5.0, 3.0) + 0.1 * context)
    assert lines.n_held > 0
    assert lines.bases[0] == pytest.approx(lines.bases[1])


def test_errors_are_relative_to_the_whole() -> None:
    """A part that is small beside the rest may be wrong."""
    design, time_s = np.ones((2, 1)), np.array([1.0, 2.0])
    assert fit_nonnegative(design, time_s)[0] == pytest.approx([1.2])
    assert fit_nonnegative(design, time_s, np.array([1.0, 1e6]))[0] == pytest.approx([1.0])
    assert fit_nonnegative(design, time_s, np.array([1e6, 2.0]))[0] == pytest.approx([2.0])


@pytest.mark.parametrize(("x", "y"), [(0, 0.0), (1, 1.0), (1.5, 1.5), (2, 2.0), (3, 4.0), (5, 8.0)])
def test_a_line_goes_on_beyond_its_knots(x: float, y: float) -> None:
    assert line([1, 2, 3], [1.0, 2.0, 4.0], x) == pytest.approx(y)
